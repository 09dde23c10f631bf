"""The nouns of isotape: Template, Room, Session, Peer, Track, Journal, Asset. Frozen values and their states; no I/O.

A state is an enum; the table beside it says which step may follow which, and `advance` is the only way to take one.
The stored text of a state is the enum's value.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from isotape.errors import Conflict
from isotape.ids import (
    AssetId,
    JobId,
    JournalId,
    PeerId,
    RoomId,
    SessionId,
    StreamId,
    TemplateId,
    TrackId,
    WorkspaceId,
)

Json = Mapping[str, Any]


class MediaKind(StrEnum):
    """What a Track carries."""

    AUDIO = "audio"
    VIDEO = "video"


class Source(StrEnum):
    """Where a Track comes from. Clients may name any other source; those are kept as text and recorded as their own stream."""

    REGULAR = "regular"
    SCREEN = "screen"


class AssetKind(StrEnum):
    """What an Asset holds: camera + microphone, a screen share, or a microphone alone."""

    REGULAR = "regular"
    SCREEN = "screen"
    AUDIO = "audio"


class SessionState(StrEnum):
    OPEN = "open"
    CLOSED = "closed"


class PeerState(StrEnum):
    """JOINED: in the room, or within the grace of a lost connection. LEFT: over; the same id never comes back."""

    JOINED = "joined"
    LEFT = "left"


class JournalState(StrEnum):
    OPEN = "open"
    SEALED = "sealed"


class AssetState(StrEnum):
    """How far an Asset is on its way from journals to a known file.

    `DISCARDED`: the journals hold no packet, so there is nothing to keep (a track that was announced and never sent).
    """

    RECORDING = "recording"
    SEALED = "sealed"
    PLANNED = "planned"
    RENDERED = "rendered"
    VERIFIED = "verified"
    STORED = "stored"
    COMPLETED = "completed"
    FAILED = "failed"
    DISCARDED = "discarded"


# A job that starts again after a crash begins at the plan, so each unfinished step may fall back to PLANNED.
ASSET_STEPS: Mapping[AssetState, frozenset[AssetState]] = {
    AssetState.RECORDING: frozenset({AssetState.SEALED}),
    AssetState.SEALED: frozenset({AssetState.PLANNED, AssetState.FAILED, AssetState.DISCARDED}),
    AssetState.PLANNED: frozenset({AssetState.PLANNED, AssetState.RENDERED, AssetState.FAILED, AssetState.DISCARDED}),
    AssetState.RENDERED: frozenset({AssetState.PLANNED, AssetState.VERIFIED, AssetState.FAILED}),
    AssetState.VERIFIED: frozenset({AssetState.PLANNED, AssetState.STORED, AssetState.FAILED}),
    AssetState.STORED: frozenset({AssetState.PLANNED, AssetState.COMPLETED, AssetState.FAILED}),
    AssetState.COMPLETED: frozenset(),
    # A failed Asset keeps its journals; it may be rendered again.
    AssetState.FAILED: frozenset({AssetState.PLANNED}),
    AssetState.DISCARDED: frozenset(),
}


def advance(current: AssetState, to: AssetState) -> AssetState:
    """`to`, when the table allows that step; Conflict otherwise."""
    if to not in ASSET_STEPS[current]:
        raise Conflict(f"asset state {current} cannot become {to}")
    return to


@dataclass(frozen=True, slots=True)
class StreamRecording:
    """A template's recording policy as one Session took it at its first join.

    width and height are the picture size that publishers are asked for; media is never transcoded.
    """

    enabled: bool = False
    width: int = 1280
    height: int = 720
    max_duration_s: int = 14_400  # the 100ms dashboard's default: 240 min
    presign_duration_s: int = 259_200  # the 100ms dashboard's default: 72 h


@dataclass(frozen=True, slots=True)
class Template:
    """The policy of rooms. `roles`, `settings`, `destinations` and `recordings` keep the 100ms template shape (camelCase)."""

    id: TemplateId
    workspace_id: WorkspaceId
    name: str
    roles: Json
    settings: Json
    destinations: Json
    plugins: Json
    recordings: tuple[Json, ...]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Room:
    """The named place. `options` holds the documented room fields that isotape stores but does not act on."""

    id: RoomId
    workspace_id: WorkspaceId
    template_id: TemplateId
    name: str
    description: str
    enabled: bool
    options: Json
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class RoomCode:
    code: str
    room_id: RoomId
    role: str
    enabled: bool
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Session:
    """One occupancy of a Room, first join to last leave. `job_id` is the recording job that all its Assets name."""

    id: SessionId
    workspace_id: WorkspaceId
    room_id: RoomId
    template_id: TemplateId
    job_id: JobId
    state: SessionState
    recording: StreamRecording
    created_at: datetime
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Peer:
    """One connection with its client-made id. A resumed socket is the same Peer; a rejoin is a new one of the same user."""

    id: PeerId
    session_id: SessionId
    user_id: str
    name: str
    role: str
    metadata: str
    state: PeerState
    joined_at: datetime
    left_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Track:
    """One published source of a Peer as its client names it. The ids change on migration: never a key of a recording."""

    track_id: TrackId
    stream_id: StreamId
    kind: MediaKind
    source: str
    muted: bool = False
    description: str = ""


@dataclass(frozen=True, slots=True)
class Journal:
    """The packet log of one Track over one connection. `folder` is relative to the data folder."""

    id: JournalId
    session_id: SessionId
    peer_id: PeerId
    asset_id: AssetId
    track: Track
    folder: str
    state: JournalState
    opened_at: datetime
    sealed_at: datetime | None = None
    packets: int = 0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Asset:
    """One finished (or coming) file of one Peer.

    path is the store's URI once stored; duration_ms and size_bytes are of the file; `metadata` is what API and webhook show
    beside the four documented keys (see docs/guide/assets.md).
    """

    id: AssetId
    workspace_id: WorkspaceId
    room_id: RoomId
    session_id: SessionId
    job_id: JobId
    peer_id: PeerId
    user_id: str
    stream_id: StreamId
    kind: AssetKind
    state: AssetState
    created_at: datetime
    part: int = 1
    path: str = ""
    size_bytes: int = 0
    duration_ms: int = 0
    sha256: str = ""
    error: str = ""
    metadata: Json = field(default_factory=dict)
    completed_at: datetime | None = None
