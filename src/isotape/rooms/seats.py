"""Who sits where: what a client says when it joins, the seat it gets, and whose seat it is. Values and questions; nothing waits here.

Before it: signalling/, which fills a Joining. After it: `Rooms`, which gives and takes seats.
"""

from dataclasses import dataclass

from isotape.auth.tokens import AppToken
from isotape.errors import NotFound
from isotape.ids import PeerId
from isotape.model import Room, Template
from isotape.rooms.live import LivePeer, LiveRoom


@dataclass(frozen=True, slots=True)
class Joining:
    """What a client says about itself when it joins."""

    peer_id: PeerId
    name: str
    metadata: str


@dataclass(frozen=True, slots=True)
class Seat:
    """A live Peer and its room."""

    room: LiveRoom
    peer: LivePeer

    @property
    def names(self) -> dict[str, str]:
        """What a log line calls it."""
        return {"room": self.room.room.id, "session": self.room.session.id, "peer": self.peer.id}

    def is_of(self, token: AppToken) -> bool:
        """A peer id is bound to the room, user and token that first used it: ids are made by clients and not secret."""
        return (
            self.room.room.id == token.room_id
            and self.peer.peer.user_id == token.user_id
            and self.peer.token_id == token.token_id
        )

    def require_in(self) -> None:
        """NotFound when the Peer has left meanwhile."""
        if not self.peer.is_in:
            raise NotFound(f"peer {self.peer.id}: has left")


@dataclass(frozen=True, slots=True)
class Entry:
    """What a token opens. `seat` is there when its peer is in the room already: a socket that comes back."""

    room: Room
    template: Template
    role: str
    seat: Seat | None
