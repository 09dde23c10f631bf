"""One socket's talk with its client: who it is, where it sits, what is to be said after the reply under way."""

from dataclasses import dataclass, field
from enum import Enum, auto

from isotape.auth.tokens import AppToken
from isotape.errors import Conflict, Forbidden, NotFound
from isotape.ids import PeerId
from isotape.rooms import Entry, Seat
from isotape.signalling.fanout import Outbox, present, recording_mark
from isotape.signalling.negotiation import Negotiation
from isotape.signalling.parts import SignallingParts
from isotape.wire import client as wire


class _Due(Enum):
    """What is to be said when the reply under way is out."""

    NOTHING = auto()
    WELCOME = auto()  # who is there
    OFFERS = auto()  # the subscribing connection's offers
    RENEWAL = auto()  # that its connections are a dead server's


@dataclass(slots=True, eq=False)
class Conversation:
    """`seat` is None before the join and after the leave: a connected socket alone is a preview, not a participant."""

    parts: SignallingParts
    negotiation: Negotiation
    token: AppToken
    peer_id: PeerId
    entry: Entry
    box: Outbox
    seat: Seat | None = None
    _due: _Due = field(default=_Due.NOTHING, init=False)

    def open(self) -> None:
        """The policy, without which a client does nothing, then what a preview or a returned peer is to see."""
        room = self.parts.rooms.live_room(self.entry.room.id)
        recording = room.policy if room is not None else None
        picture = (recording.width, recording.height) if recording is not None and recording.enabled else None
        template = room.template if room is not None else self.entry.template
        self.say(wire.Notice.POLICY, wire.policy(template, self.entry.role, picture))
        if self.entry.seat is not None:
            self.sit(self.entry.seat)
            self.flush()
        else:
            present_peers = [present(peer) for peer in room.peers.values()] if room is not None else []
            self.say(wire.Notice.ROOM_STATE, wire.room_state(present_peers, self._room_entry()))

    def sit(self, seat: Seat) -> None:
        """The peer is in. The list of the others follows when the reply under way has been said."""
        self.seat = seat
        self.parts.rooms.socket_changed(seat, connected=True)
        self._due = _Due.WELCOME

    def require_current(self) -> None:
        """Conflict when the peer has a newer socket by now: what is said there holds."""
        if not self.parts.fanout.is_current(self.peer_id, self.box):
            raise Conflict(f"peer {self.peer_id}: has opened another socket")

    def listen_after_reply(self) -> None:
        """An offer was answered: the client may be sent offers."""
        if self._due is _Due.NOTHING:
            self._due = _Due.OFFERS

    def renew_after_reply(self) -> None:
        """An offer was refused because the server it was made to is gone."""
        self._due = _Due.RENEWAL

    def flush(self) -> None:
        """Says what the reply had to come before: a client must know its own join before it hears of the room."""
        if self.seat is None:
            return
        due, self._due = self._due, _Due.NOTHING
        if due is _Due.WELCOME:
            self._welcome(self.seat)
        elif due is _Due.OFFERS:
            self.negotiation.listen(self.peer_id)
        elif due is _Due.RENEWAL:
            self.negotiation.renew(self.peer_id)

    def _welcome(self, seat: Seat) -> None:
        room = seat.room
        others = [present(peer) for peer in room.others(self.peer_id)]
        self.say(wire.Notice.PEER_LIST, wire.peer_list(others, self._room_entry()))
        everybody = [present(peer) for peer in room.peers.values()]
        self.say(wire.Notice.SESSION_INFO, wire.session_info(room.session, everybody))
        # A peer that the engine does not know yet is one of before a restart: it gets offers after its own.
        if seat.peer.in_engine:
            self.negotiation.listen(self.peer_id)

    def hang_up(self, is_current: bool) -> None:
        """The socket is gone. is_current: the peer has no newer one."""
        if is_current:
            self.negotiation.pause(self.peer_id)
        # A client that gives a socket up may have joined through it while it opened the next one.
        seat = self.seat or self.parts.rooms.seat(self.peer_id)
        if seat is not None:
            self.parts.rooms.socket_changed(seat, connected=self.parts.fanout.is_attached(self.peer_id))

    def say(self, method: str, params: wire.Message) -> None:
        self.box.push(wire.notice(method, params))

    def required_seat(self) -> Seat:
        """NotFound when the peer has not joined, or has left by another hand."""
        if self.seat is None or not self.seat.peer.is_in:
            raise NotFound("peer: has not joined")
        return self.seat

    def require_permission(self, permission: str) -> Seat:
        """The seat, when its role has the permission."""
        seat = self.required_seat()
        role = seat.room.template.roles.get(seat.peer.peer.role) or {}
        if not (role.get("permissions") or {}).get(permission):
            raise Forbidden(f"role {seat.peer.peer.role}: has no permission {permission}")
        return seat

    def _room_entry(self) -> wire.Message:
        room = self.parts.rooms.live_room(self.entry.room.id)
        session = room.session if room is not None else None
        return wire.room_entry(self.entry.room, session, recording_mark(room))
