"""The live rooms of this node: join, resume, publish, leave, last leave.

Before it: signalling/, which has checked the token and parsed the message. After it: `recording` (the policy),
`recorder` (rows and journals), the engine (media), and the `Listener` (what other clients are told). A Session opens
at the first join and closes at the last leave; both are one transaction with what they change. Nothing here knows a
field name of the client protocol.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from weakref import WeakValueDictionary

from sqlalchemy.exc import IntegrityError

from isotape.auth.tokens import AppToken
from isotape.db import peers, sessions
from isotape.db import rooms as room_rows
from isotape.db import templates as template_rows
from isotape.db.engine import Tx
from isotape.engine import Connection
from isotape.errors import Conflict, EngineError, Forbidden, IsotapeError, NotFound, Unavailable
from isotape.events import PeerJoined, PeerLeft, SessionClosed, SessionOpened
from isotape.ids import JobId, JournalId, PeerId, RoomId, SessionId, TrackId, WorkspaceId, new_object_id
from isotape.logs import logger
from isotape.model import Peer, PeerState, Session, SessionState, Track
from isotape.recording import policy_of
from isotape.rooms.chores import Chores
from isotape.rooms.live import LeaveReason, Listener, LivePeer, LiveRoom, RecordingState, TrackChanges
from isotape.rooms.mark import RedMark
from isotape.rooms.parts import RoomsParts
from isotape.rooms.pulse import Pulse
from isotape.rooms.recorder import JOURNALS, Ending, Recorder, insist
from isotape.rooms.restore import Restored, last_sign, read_open_sessions, read_stranded
from isotape.rooms.rights import check_publishing
from isotape.rooms.seats import Entry, Joining, Seat

__all__ = ["Entry", "Joining", "LeaveReason", "LivePeer", "LiveRoom", "Rooms", "RoomsParts", "Seat"]

log = logger(part="rooms")

# A client that makes its connections anew publishes its tracks one by one again, each with a round trip: 0.5 s
# measured on a fast link.
_RENEWAL_S = 15.0
# A stop waits this long for what was begun. A journal thread on a full disk tries a seal for 10 s; what is not done by
# then stays open in the rows, and the next start ends it.
_CLOSE_WITHIN_S = 15.0


class Rooms:
    """All live rooms.

    Every method that changes a Peer's tracks holds that Peer's lock; the door lock orders joins and leaves of a room.
    A join, a publish and a leave go on to their end when their caller is cancelled.
    """

    def __init__(self, parts: RoomsParts, listener: Listener) -> None:
        self._parts = parts
        self._listener = listener
        self._chores = Chores()
        self._recorder = Recorder(parts, self._chores)
        self._mark = RedMark(parts.data_dir / JOURNALS, self._chores, listener)
        self._rooms: dict[RoomId, LiveRoom] = {}
        self._seats: dict[PeerId, Seat] = {}
        self._doors: WeakValueDictionary[RoomId, asyncio.Lock] = WeakValueDictionary()
        self._pulse = Pulse(parts.data_dir, parts.clock)
        self._closing = False

    # -- looking

    def seat(self, peer_id: PeerId) -> Seat | None:
        """Where the live Peer of that id sits."""
        return self._seats.get(peer_id)

    def seats(self) -> Iterable[Seat]:
        """Every live Peer of this node."""
        return self._seats.values()

    def live_room(self, room_id: RoomId) -> LiveRoom | None:
        """The room, while a Session is open in it."""
        return self._rooms.get(room_id)

    def has_sessions(self) -> bool:
        """Whether anybody is here: sooner or later they leave, and then files are made."""
        return bool(self._rooms)

    def is_live(self, peer_id: PeerId, token: AppToken) -> bool:
        """Whether this very token's Peer is in a room: its client may come back with it even after it has expired."""
        seat = self._seats.get(peer_id)
        return seat is not None and seat.is_of(token)

    def counts(self) -> dict[str, int]:
        """Numbers for /metrics."""
        tracks = sum(len(seat.peer.tracks) for seat in self._seats.values())
        journals = sum(len(seat.peer.journals) for seat in self._seats.values())
        return {"rooms": len(self._rooms), "peers": len(self._seats), "tracks": tracks, "journals": journals}

    # -- entering

    async def admit(self, token: AppToken, peer_id: PeerId) -> Entry:
        """What the token opens for this peer id. Forbidden, NotFound or Conflict when it opens nothing."""
        if (seat := self._seats.get(peer_id)) is not None:
            if not seat.is_of(token):
                raise Conflict("duplicate peer id")
            return Entry(seat.room.room, seat.room.template, seat.peer.peer.role, seat)
        if self._closing:
            raise Unavailable("server: stopping, try again")
        workspace = WorkspaceId(token.workspace_id)
        async with self._parts.database.connect() as tx:
            room = await room_rows.find(tx, workspace, token.room_id)
            template = await template_rows.find(tx, workspace, room.template_id) if room else None
            former = await peers.find(tx, peer_id)
        if room is None or template is None:
            raise NotFound(f"room {token.room_id}: not found")
        if not room.enabled:
            raise Forbidden(f"room {room.id}: disabled")
        if token.role not in template.roles:
            raise Forbidden("role not allowed")
        if former is not None:
            raise Conflict(f"peer {peer_id}: has left, join with a new id")
        return Entry(room, template, token.role, None)

    async def join(self, token: AppToken, joining: Joining) -> Seat:
        """Takes a Peer in, opening the Session when it is the first. The same Peer joining again gets its seat back."""
        return await self._chores.finish(self._join(token, joining), f"join of {joining.peer_id}")

    async def _join(self, token: AppToken, joining: Joining) -> Seat:
        entry = await self.admit(token, joining.peer_id)
        seat = entry.seat or await self._enter(entry, token, joining)
        # Of two joins of one Peer the later one gets the seat of the earlier one, once the engine knows it.
        async with seat.peer.lock:
            seat.require_in()
        return seat

    async def _enter(self, entry: Entry, token: AppToken, joining: Joining) -> Seat:
        async with self._door(entry.room.id):
            if (taken := self._seats.get(joining.peer_id)) is not None:
                if not taken.is_of(token):
                    raise Conflict("duplicate peer id")
                return taken
            seat = await self._sit_down(entry, token, joining)
        await self._introduce(seat)
        return seat

    async def _introduce(self, seat: Seat) -> None:
        """Tells the engine, then the others. The lock keeps a leave until the engine knows whom it is to forget."""
        try:
            async with seat.peer.lock:
                if self._closing:
                    raise Unavailable("server: stopping, try again")
                await self._parts.engine.add_peer(seat.room.room.id, seat.peer.id)
                seat.peer.in_engine = True
        except (EngineError, Unavailable):
            await self._leave(seat, LeaveReason.SERVER)
            raise
        log.info("peer joined", **seat.names)
        self._listener.peer_joined(seat.room, seat.peer)

    async def _sit_down(self, entry: Entry, token: AppToken, joining: Joining) -> Seat:
        room = self._rooms.get(entry.room.id) or self._new_room(entry)
        try:
            seat = await self._write_join(room, token, joining)
        except IntegrityError:
            if (opened := await self._opened_elsewhere(entry)) is None:
                raise
            room = opened
            seat = await self._write_join(room, token, joining)
        if room.room.id not in self._rooms:
            self._rooms[room.room.id] = room
            self._start_recording(room)
        self._take_seat(seat)
        return seat

    async def _write_join(self, room: LiveRoom, token: AppToken, joining: Joining) -> Seat:
        peer = Peer(
            id=joining.peer_id,
            session_id=room.session.id,
            user_id=token.user_id,
            name=joining.name,
            role=token.role,
            metadata=joining.metadata,
            state=PeerState.JOINED,
            joined_at=self._parts.clock.now(),
        )
        async with self._parts.database.begin() as tx:
            if not room.is_written:
                await sessions.insert(tx, room.session)
                await self._parts.events.append(tx, SessionOpened(room.room, room.session))
            await peers.insert(tx, peer, token.token_id)
            await self._parts.events.append(tx, PeerJoined(room.room, room.session, peer))
        room.is_written = True
        return Seat(room, LivePeer(peer, token.token_id))

    async def _opened_elsewhere(self, entry: Entry) -> LiveRoom | None:
        """The room with the Session that somebody else opened in the meantime, or a commit whose answer was lost."""
        async with self._parts.database.connect() as tx:
            session = await sessions.find_open(tx, entry.room.id)
        return None if session is None else LiveRoom(entry.room, entry.template, session, is_written=True)

    def _new_room(self, entry: Entry) -> LiveRoom:
        session = Session(
            id=SessionId(new_object_id()),
            workspace_id=entry.room.workspace_id,
            room_id=entry.room.id,
            template_id=entry.template.id,
            job_id=JobId(new_object_id()),
            state=SessionState.OPEN,
            recording=policy_of(entry.template),
            created_at=self._parts.clock.now(),
        )
        return LiveRoom(entry.room, entry.template, session)

    def _take_seat(self, seat: Seat) -> None:
        seat.room.peers[seat.peer.id] = seat.peer
        self._seats[seat.peer.id] = seat

    # -- publishing

    async def publish(self, seat: Seat, sdp: str, tracks: Sequence[Track]) -> str:
        """Answers a publish offer. `tracks` is everything the Peer publishes now. Forbidden when its role may not."""
        return await self._chores.finish(self._publish(seat, sdp, tracks), f"offer of {seat.peer.id}")

    async def _publish(self, seat: Seat, sdp: str, tracks: Sequence[Track]) -> str:
        async with seat.peer.lock:
            seat.require_in()
            check_publishing(seat.room, seat.peer, tracks)
            if not seat.peer.in_engine:
                await self._come_back(seat)
            beginning = await self._recorder.begin(seat.room, seat.peer, tracks)
            try:
                answer = await self._parts.engine.publish_offer(seat.peer.id, sdp, beginning.published(tracks))
            except (EngineError, Unavailable, asyncio.CancelledError) as refusal:
                # A 4xx says that nothing was opened. After anything else a journal may stand open: its rows must stay.
                if isinstance(refusal, EngineError) and refusal.status < 500:
                    await self._recorder.take_back(beginning)
                else:
                    await self._recorder.adopt(seat.peer, beginning)
                raise
            await self._recorder.adopt(seat.peer, beginning)
            changes = _compare(seat.peer.tracks, tracks)
            seat.peer.tracks = {track.track_id: track for track in tracks}
        self._listener.tracks_changed(seat.room, seat.peer, changes)
        return answer

    async def _come_back(self, seat: Seat) -> None:
        """The first offer after a restart of this server: the engine has to learn the Peer anew."""
        await self._parts.engine.add_peer(seat.room.room.id, seat.peer.id)
        seat.peer.in_engine = True
        seat.peer.is_renewing = True
        asyncio.get_running_loop().call_later(_RENEWAL_S, self._renewal_over, seat)
        log.info("peer came back after a restart", **seat.names)

    def _renewal_over(self, seat: Seat) -> None:
        self._chores.spawn(self._end_renewal(seat), f"end of the renewal of {seat.peer.id}")

    async def _end_renewal(self, seat: Seat) -> None:
        """What did not come back by now is over."""
        async with seat.peer.lock:
            seat.peer.is_renewing = False
            if seat.peer.is_in:
                tracks = tuple(seat.peer.tracks.values())
                await self._recorder.adopt(seat.peer, await self._recorder.begin(seat.room, seat.peer, tracks))

    async def update_tracks(self, seat: Seat, tracks: Sequence[Track]) -> None:
        """Takes over mute states.

        Unknown tracks are passed over: the client names them before their offer is answered.
        """
        changed: list[Track] = []
        async with seat.peer.lock:
            for track in tracks:
                known = seat.peer.tracks.get(track.track_id)
                if known is None or known.muted == track.muted:
                    continue
                await self._parts.engine.set_muted(seat.peer.id, track.track_id, track.muted)
                seat.peer.tracks[track.track_id] = replace(known, muted=track.muted)
                changed.append(seat.peer.tracks[track.track_id])
        if changed:
            self._listener.tracks_changed(seat.room, seat.peer, TrackChanges(updated=changed))

    async def describe(self, seat: Seat, name: str | None, metadata: str | None) -> None:
        """Changes what a Peer says about itself."""
        peer = seat.peer.peer
        described = replace(
            peer,
            name=peer.name if name is None else name,
            metadata=peer.metadata if metadata is None else metadata,
        )
        async with self._parts.database.begin() as tx:
            await peers.describe(tx, described)
        seat.peer.peer = replace(seat.peer.peer, name=described.name, metadata=described.metadata)
        self._listener.peer_changed(seat.room, seat.peer)

    def set_group(self, seat: Seat, group: str, member: bool) -> None:
        """Puts the Peer into a group or takes it out; a raised hand is a group."""
        if member:
            seat.peer.groups.add(group)
        else:
            seat.peer.groups.discard(group)
        self._listener.peer_changed(seat.room, seat.peer)

    async def lock(self, room: LiveRoom) -> None:
        """Closes the room for later joins; the Session goes on."""
        async with self._parts.database.begin() as tx:
            stored = await room_rows.get(tx, room.room.workspace_id, room.room.id)
            await room_rows.update(tx, replace(stored, enabled=False, updated_at=self._parts.clock.now()))

    # -- staying and leaving

    def socket_changed(self, seat: Seat, connected: bool) -> None:
        """The Peer's socket came or went."""
        seat.peer.has_socket = connected
        seat.peer.last_sign = None
        self._watch(seat)

    def media_changed(self, peer_id: PeerId, connection: Connection, connected: bool) -> None:
        """A media connection came or went. Only the publishing one says that the Peer is still there."""
        seat = self._seats.get(peer_id)
        if seat is not None and connection == "publish":
            seat.peer.has_media = connected
            seat.peer.last_sign = None
            self._watch(seat)

    def _watch(self, seat: Seat) -> None:
        """Starts the grace when nothing of the Peer is left, and stops it when something is back."""
        peer = seat.peer
        if peer.farewell is not None:
            peer.farewell.cancel()
            peer.farewell = None
        if peer.is_in and not peer.has_socket and not peer.has_media:
            loop = asyncio.get_running_loop()
            peer.farewell = loop.call_later(self._parts.peer_grace_s, self._grace_over, seat)

    def _grace_over(self, seat: Seat) -> None:
        self._chores.spawn(self._leave(seat, LeaveReason.SOCKET), f"leave of {seat.peer.id}")

    async def leave(self, seat: Seat, reason: LeaveReason) -> None:
        """Takes a Peer out: its journals are sealed, its Assets' jobs enqueued; the last one closes the Session."""
        await self._chores.finish(self._leave(seat, reason), f"leave of {seat.peer.id}")

    async def _leave(self, seat: Seat, reason: LeaveReason) -> None:
        """Gone for the others at once; sealed and written as soon as disk and database allow it."""
        async with seat.peer.lock:
            if not seat.peer.is_in:
                return
            left_at = seat.peer.last_sign or self._parts.clock.now()
            seat.peer.peer = replace(seat.peer.peer, state=PeerState.LEFT, left_at=left_at)
            self._vacate(seat)
            self._listener.peer_left(seat.room, seat.peer, reason)
            ending = await self._recorder.end(seat.peer, str(reason))
        if seat.peer.in_engine:
            await self._forget_media(seat)
        await insist(lambda: self._write_leave(seat, ending, reason))
        log.info("peer left", reason=str(reason), assets=len(ending.assets), **seat.names)

    def _vacate(self, seat: Seat) -> None:
        seat.room.peers.pop(seat.peer.id, None)
        seat.room.leaving.add(seat.peer.id)
        self._seats.pop(seat.peer.id, None)
        if seat.peer.farewell is not None:
            seat.peer.farewell.cancel()

    async def _write_leave(self, seat: Seat, ending: Ending, reason: LeaveReason) -> None:
        room, peer = seat.room, seat.peer.peer
        async with self._door(room.room.id):
            is_last = not room.peers and room.leaving <= {peer.id}
            async with self._parts.database.begin() as tx:
                await self._recorder.record(tx, ending)
                await peers.leave(tx, peer, str(reason), peer.left_at or self._parts.clock.now())
                await self._parts.events.append(tx, PeerLeft(room.room, room.session, peer, str(reason)))
                if is_last:
                    await self._close_session(tx, room)
            room.leaving.discard(peer.id)
            if is_last:
                self._shut(room)

    def _shut(self, room: LiveRoom) -> None:
        self._rooms.pop(room.room.id, None)
        if room.recording_end is not None:
            room.recording_end.cancel()
        self._listener.session_closed(room.session.id)

    async def _close_session(self, tx: Tx, room: LiveRoom) -> None:
        """A Session ends with its last leave, which after a crash is before now."""
        leaves = [peer.left_at for peer in await peers.of_sessions(tx, [room.session.id]) if peer.left_at is not None]
        ended_at = max(leaves, default=room.session.created_at)
        await sessions.close(tx, room.session.id, ended_at)
        ended = replace(room.session, state=SessionState.CLOSED, ended_at=ended_at)
        await self._parts.events.append(tx, SessionClosed(room.room, ended))

    async def _forget_media(self, seat: Seat) -> None:
        try:
            await self._parts.engine.remove_peer(seat.peer.id)
        except IsotapeError as error:
            log.warning("peer not removed from the engine", error=error.message, **seat.names)

    # -- recording

    def _start_recording(self, room: LiveRoom) -> None:
        if not room.policy.enabled:
            return
        room.recording = RecordingState.STARTED
        age_s = (self._parts.clock.now() - room.session.created_at).total_seconds()
        left_s = max(0.0, room.policy.max_duration_s - age_s)
        room.recording_end = asyncio.get_running_loop().call_later(left_s, self._time_over, room)

    def _time_over(self, room: LiveRoom) -> None:
        self._chores.spawn(self._stop_recording(room), f"end of recording of {room.session.id}")

    async def _stop_recording(self, room: LiveRoom) -> None:
        """The template's maximum is reached: what was recorded becomes Assets, the Session goes on."""
        room.recording = RecordingState.STOPPED
        for peer in list(room.peers.values()):
            async with peer.lock:
                ending = await self._recorder.end(peer, "maximum duration")
            self._chores.spawn(self._recorder.commit(ending), f"end of the recording of {peer.id}")
        log.info("recording stopped at its maximum", session=room.session.id, room=room.room.id)
        self._listener.recording_changed(room)

    def journal_failed(self, journal_id: JournalId, error: str) -> None:
        """The engine cannot write a journal. Said truthfully to everybody in the room; what was durable before stays."""
        for seat in self._seats.values():
            if journal_id in seat.peer.journals.values():
                log.error("journal failed", journal=journal_id, error=error, **seat.names)
                self._mark.journal_failed(seat.room, seat.peer, journal_id)

    def peer_failed(self, peer_id: PeerId, error: str) -> None:
        """The engine gave a Peer up. Its client is sent away; what it published is kept."""
        seat = self._seats.get(peer_id)
        if seat is not None:
            log.error("peer failed in the engine", error=error, **seat.names)
            self._chores.spawn(self._leave(seat, LeaveReason.SERVER), f"leave of {peer_id}")

    # -- start and stop

    async def restore(self) -> None:
        """Takes up the Sessions that the last stop or crash left open. Their Peers have the grace to come back."""
        await self._recorder.end_left_open(await read_stranded(self._parts))
        alive_at = self._pulse.last()
        for restored in await read_open_sessions(self._parts):
            await self._restore(restored, alive_at)
        self._pulse.begin(self.has_sessions)

    async def _restore(self, restored: Restored, alive_at: datetime | None) -> None:
        room = restored.room
        self._rooms[room.room.id] = room
        for peer in restored.peers:
            self._take_seat(Seat(room, peer))
        reports = await self._recorder.end_left_open(restored.unended)
        if not restored.peers:
            async with self._parts.database.begin() as tx:
                await self._close_session(tx, room)
            self._rooms.pop(room.room.id)
            return
        self._start_recording(room)
        for peer in restored.peers:
            peer.last_sign = last_sign(peer, restored.unended, reports, alive_at)
            self._watch(Seat(room, peer))
        log.info("session taken up again", session=room.session.id, room=room.room.id, peers=len(restored.peers))

    async def close(self) -> None:
        """Refuses joins, takes every Peer out and waits for what was begun.

        Each Asset is sealed and enqueued when this returns; what a disk or a database held up too long is left to `restore`.
        """
        self._closing = True
        for seat in list(self._seats.values()):
            self._chores.spawn(self._leave(seat, LeaveReason.SERVER), f"leave of {seat.peer.id}")
        await self._chores.close(_CLOSE_WITHIN_S)
        await self._pulse.close()

    def _door(self, room_id: RoomId) -> asyncio.Lock:
        door = self._doors.get(room_id)
        if door is None:
            door = self._doors[room_id] = asyncio.Lock()
        return door


def _compare(before: dict[TrackId, Track], tracks: Sequence[Track]) -> TrackChanges:
    now = {track.track_id for track in tracks}
    return TrackChanges(
        added=[track for track in tracks if track.track_id not in before],
        updated=[track for track in tracks if track.track_id in before and track != before[track.track_id]],
        removed=[track for track in before.values() if track.track_id not in now],
    )
