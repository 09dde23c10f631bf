"""Who is told what: the outboxes of all sockets, and the news of rooms/ as notices of the client protocol.

Before it: rooms/, which calls its Listener after something happened. After it: the writer of each socket. Sending
never waits: an outbox that is full belongs to a client that reads nothing, and its socket is closed, so that the
client comes back and gets the whole picture.
"""

import asyncio
import json
from collections.abc import Callable, Iterable

from isotape.ids import PeerId, SessionId
from isotape.rooms import LeaveReason, LivePeer, LiveRoom
from isotape.rooms.live import RecordingState, TrackChanges
from isotape.signalling.session_store import SessionStore
from isotape.wire import client as wire
from isotape.wire.client import Message, Notice, Present

# Messages waiting for a slow client. A busy room of 100 says about 20 a second, so this is half a minute.
_OUTBOX_BOUND = 512
# Close code of a socket whose client does not read (RFC 6455 registry: "try again later").
CLOSE_OVERFLOW = 1013
# Close code of a socket whose peer has opened another one.
CLOSE_REPLACED = 4000
# Close code of a socket whose client is to open another one ("service restart").
CLOSE_COME_BACK = 1012


class Outbox:
    """Messages on their way to one socket, in order. `close` ends it with a close code after what was said before."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[str | None] = asyncio.Queue()
        self.close_code = 1000
        self._closed = False

    def push(self, message: Message) -> bool:
        """Queues a message; False when it could not be queued."""
        if self._closed:
            return False
        if self._waiting.qsize() >= _OUTBOX_BOUND:
            self.close(CLOSE_OVERFLOW)
            return False
        self._waiting.put_nowait(json.dumps(message, separators=(",", ":")))
        return True

    def close(self, code: int = 1000) -> None:
        if not self._closed:
            self._closed = True
            self.close_code = code
            self._waiting.put_nowait(None)

    async def next(self) -> str | None:
        """The next message, None when the socket is to be closed."""
        return await self._waiting.get()


class Fanout:
    """All outboxes by peer, as the Listener of rooms/."""

    def __init__(self) -> None:
        self.store = SessionStore()
        self._boxes: dict[PeerId, Outbox] = {}
        self._overflowed = 0
        self._when_left: list[Callable[[PeerId], None]] = []

    def when_left(self, forget: Callable[[PeerId], None]) -> None:
        """Calls `forget` with each peer that has left, for whoever else keeps something about peers."""
        self._when_left.append(forget)

    def attach(self, peer_id: PeerId, box: Outbox) -> None:
        """Makes `box` the peer's. An older socket of the same peer is a dead one that has not noticed yet."""
        if (older := self._boxes.get(peer_id)) is not None:
            older.close(CLOSE_REPLACED)
        self._boxes[peer_id] = box

    def detach(self, peer_id: PeerId, box: Outbox) -> bool:
        """Forgets `box`; False when the peer has another one by now."""
        if self._boxes.get(peer_id) is not box:
            return False
        del self._boxes[peer_id]
        return True

    def is_attached(self, peer_id: PeerId) -> bool:
        """Whether the peer has a socket."""
        return peer_id in self._boxes

    def is_current(self, peer_id: PeerId, box: Outbox) -> bool:
        """Whether `box` is of the peer's newest socket."""
        return self._boxes.get(peer_id) is box

    def drop(self, peer_id: PeerId) -> None:
        """Closes the peer's socket; its client comes back by itself."""
        if (box := self._boxes.get(peer_id)) is not None:
            box.close(CLOSE_COME_BACK)

    def send(self, peer_id: PeerId, method: str, params: Message) -> None:
        box = self._boxes.get(peer_id)
        if box is not None and not box.push(wire.notice(method, params)) and box.close_code == CLOSE_OVERFLOW:
            self._overflowed += 1

    def send_all(self, peers: Iterable[LivePeer], method: str, params: Message) -> None:
        for peer in peers:
            self.send(peer.id, method, params)

    def counts(self) -> dict[str, int]:
        """Numbers for /metrics."""
        return {"sockets": len(self._boxes), "outboxes_overflowed": self._overflowed}

    def peer_joined(self, room: LiveRoom, peer: LivePeer) -> None:
        self.send_all(room.others(peer.id), Notice.PEER_JOIN, wire.peer_entry(present(peer)))
        self._tell_count(room, room.others(peer.id), room.peers.values())

    def peer_left(self, room: LiveRoom, peer: LivePeer, reason: LeaveReason) -> None:
        others = room.others(peer.id)
        self.send_all(others, Notice.PEER_LEAVE, wire.peer_entry(present(peer)))
        self._tell_count(room, others, others)
        self.store.peer_left(room.session.id, peer.id)
        for forget in self._when_left:
            forget(peer.id)
        if reason is LeaveReason.SERVER:
            self.send(peer.id, Notice.PEER_LEAVE_REQUEST, {"reason": str(reason), "room_end": True})

    def _tell_count(self, room: LiveRoom, told: Iterable[LivePeer], here: Iterable[LivePeer]) -> None:
        """How many are here now: the SDK's peer count believes this notice alone."""
        self.send_all(told, Notice.SESSION_INFO, wire.session_info(room.session, [present(peer) for peer in here]))

    def peer_changed(self, room: LiveRoom, peer: LivePeer) -> None:
        self.send_all(room.peers.values(), Notice.PEER_UPDATE, wire.peer_entry(present(peer)))

    def tracks_changed(self, room: LiveRoom, peer: LivePeer, changes: TrackChanges) -> None:
        told = (
            (Notice.TRACK_ADD, changes.added),
            (Notice.TRACK_UPDATE, changes.updated),
            (Notice.TRACK_REMOVE, changes.removed),
        )
        for method, tracks in told:
            if tracks:
                self.send_all(room.others(peer.id), method, wire.track_notice(present(peer), tracks))

    def recording_changed(self, room: LiveRoom) -> None:
        self.send_all(room.peers.values(), Notice.RECORDING, wire.recording_update(recording_mark(room)))

    def session_closed(self, session_id: SessionId) -> None:
        self.store.session_closed(session_id)


def present(peer: LivePeer) -> Present:
    """The peer as the wire shows it."""
    return Present(peer.peer, peer.groups, tuple(peer.tracks.values()))


def recording_mark(room: LiveRoom | None) -> wire.RecordingMark:
    """The red mark of a room; a room without a Session has none."""
    if room is None or room.recording is RecordingState.NONE:
        return wire.RecordingMark(RecordingState.NONE.value, None)
    return wire.RecordingMark(room.recording.value, room.session.created_at)
