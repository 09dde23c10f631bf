"""What is going on in a room right now, and who wants to hear about it. Held in memory; the rows that survive a crash
are in db/.

`Listener` is how rooms/ speaks upwards: signalling/ implements it and tells the clients. Its calls return at once.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from isotape.ids import JournalId, PeerId, SessionId, StreamId, TrackId
from isotape.model import Peer, PeerState, Room, Session, StreamRecording, Template, Track
from isotape.recording import OpenAsset


class RecordingState(StrEnum):
    """What the red mark of the clients shows. The values are those of the client protocol."""

    NONE = "none"
    STARTED = "started"
    STOPPED = "stopped"
    FAILED = "failed"


class LeaveReason(StrEnum):
    """Why a Peer left, in the words of the 100ms webhooks."""

    CLIENT = "client request"
    KICKED = "peer kicked"
    SOCKET = "websocket closed"
    MEDIA = "ice connection state closed"
    SERVER = "server removed peer"


@dataclass(slots=True, eq=False)
class LivePeer:
    """A Peer in its room.

    has_socket and has_media say what of its connections stands; with neither, `farewell` runs and removes it when the
    grace is over. in_engine is False after a restart until its client offers again; last_sign is when it was last known to
    be there, until it is back. `lock` orders everything that changes its tracks.
    """

    peer: Peer
    token_id: str
    tracks: dict[TrackId, Track] = field(default_factory=dict)
    groups: set[str] = field(default_factory=set)
    has_socket: bool = False
    has_media: bool = False
    in_engine: bool = False
    is_renewing: bool = False
    assets: tuple[OpenAsset, ...] = ()
    journals: dict[TrackId, JournalId] = field(default_factory=dict)
    parts: dict[StreamId, int] = field(default_factory=dict)
    farewell: asyncio.TimerHandle | None = None
    last_sign: datetime | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def id(self) -> PeerId:
        return self.peer.id

    @property
    def is_in(self) -> bool:
        return self.peer.state is PeerState.JOINED


@dataclass(slots=True, eq=False)
class LiveRoom:
    """A Room while a Session is open in it.

    failing: journals that are not written now, with the loop's time when that was said last. is_written: its Session stands in the
    rows. leaving: Peers that are gone for everybody, whose leave is not in the rows yet; the Session closes with the last of them.
    """

    room: Room
    template: Template
    session: Session
    peers: dict[PeerId, LivePeer] = field(default_factory=dict)
    recording: RecordingState = RecordingState.NONE
    recording_end: asyncio.TimerHandle | None = None
    leaving: set[PeerId] = field(default_factory=set)
    failing: dict[JournalId, float] = field(default_factory=dict)
    is_written: bool = False

    @property
    def policy(self) -> StreamRecording:
        return self.session.recording

    @property
    def is_recording(self) -> bool:
        return self.recording in (RecordingState.STARTED, RecordingState.FAILED)

    def others(self, peer_id: PeerId) -> list[LivePeer]:
        return [peer for peer in self.peers.values() if peer.id != peer_id]

    def owner_of(self, track_id: TrackId) -> LivePeer | None:
        return next((peer for peer in self.peers.values() if track_id in peer.tracks), None)


@dataclass(frozen=True, slots=True)
class TrackChanges:
    """How a Peer's published tracks changed by one message."""

    added: Sequence[Track] = ()
    updated: Sequence[Track] = ()
    removed: Sequence[Track] = ()


class Listener(Protocol):
    """Hears what happened, after it happened."""

    def peer_joined(self, room: LiveRoom, peer: LivePeer) -> None: ...

    def peer_left(self, room: LiveRoom, peer: LivePeer, reason: LeaveReason) -> None: ...

    def peer_changed(self, room: LiveRoom, peer: LivePeer) -> None: ...

    def tracks_changed(self, room: LiveRoom, peer: LivePeer, changes: TrackChanges) -> None: ...

    def recording_changed(self, room: LiveRoom) -> None: ...

    def session_closed(self, session_id: SessionId) -> None: ...
