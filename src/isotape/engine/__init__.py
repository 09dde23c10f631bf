"""The Engine seam: what the control plane asks of a media plane, and what it hears back. No word of any WebRTC library.

Before it: signalling/ and rooms.py, which know peers and tracks. After it: the journals on disk. `embedded.py` drives the Rust core in
this process. Nothing here touches a packet.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from isotape.ids import JournalId, PeerId, RoomId, TrackId
from isotape.model import Json, Track

Connection = Literal["publish", "subscribe"]
Layer = Literal["none", "low", "medium", "high"]


@dataclass(frozen=True, slots=True)
class JournalPlace:
    """Where the packets of one Track go: an id, an absolute folder that does not exist yet, and facts for its first record."""

    id: JournalId
    folder: Path
    meta: Json


@dataclass(frozen=True, slots=True)
class PublishedTrack:
    """A Track of an offer, and its journal when it is recorded."""

    track: Track
    journal: JournalPlace | None = None


@dataclass(frozen=True, slots=True)
class SealReport:
    """What a sealed journal holds. Arrival times are Unix ns, None when no packet came; `lost_to_queue` never reached the disk."""

    packets: int
    size_bytes: int
    first_arrival_ns: int | None
    last_arrival_ns: int | None
    lost_to_queue: int
    # Why it is not sealed yet: then the counts are of now, and the engine tries on as long as the process lives.
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class SubscribeOffer:
    peer: PeerId
    sdp: str


@dataclass(frozen=True, slots=True)
class ChannelData:
    """A text message of the peer's `ion-sfu` data channel."""

    peer: PeerId
    text: str


@dataclass(frozen=True, slots=True)
class ConnectionChanged:
    peer: PeerId
    connection: Connection
    connected: bool


@dataclass(frozen=True, slots=True)
class MediaStarted:
    """The first packet of a Track arrived."""

    peer: PeerId
    track_id: TrackId


@dataclass(frozen=True, slots=True)
class Speaker:
    peer: PeerId
    track_id: TrackId
    level: int  # 0..100


@dataclass(frozen=True, slots=True)
class SpeakersChanged:
    room: RoomId
    speakers: Sequence[Speaker]


@dataclass(frozen=True, slots=True)
class JournalFailed:
    """A journal cannot be written any more; what was durable before stays."""

    journal: JournalId
    error: str


@dataclass(frozen=True, slots=True)
class PeerFailed:
    """The core gave up this peer after an internal error; other peers are untouched."""

    peer: PeerId
    error: str


EngineEvent = (
    SubscribeOffer | ChannelData | ConnectionChanged | MediaStarted | SpeakersChanged | JournalFailed | PeerFailed
)


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """bind is `address:port` of the UDP socket and, with tcp, of the listener beside it; announce the addresses put into SDP answers."""

    bind: str
    announce: Sequence[str]
    journal_root: Path
    video_codecs: Sequence[str]
    sync_interval_ms: int = 250
    tcp: bool = True
    extra: Json = field(default_factory=dict)


class Engine(Protocol):
    """A media plane. Commands raise EngineError with the core's message; events come in order through `events()`."""

    @property
    def media_port(self) -> int: ...

    def events(self) -> AsyncIterator[EngineEvent]:
        """All events until `close`; to be read by exactly one task."""

    async def add_peer(self, room: RoomId, peer: PeerId) -> None: ...

    async def publish_offer(self, peer: PeerId, sdp: str, tracks: Sequence[PublishedTrack]) -> str:
        """Answers the peer's offer. `tracks` is everything it publishes now; tracks that are missing now are taken from the subscribers."""

    async def subscribe_answer(self, peer: PeerId, sdp: str) -> None: ...

    async def add_candidate(self, peer: PeerId, connection: Connection, candidate: str) -> None: ...

    async def set_muted(self, peer: PeerId, track_id: TrackId, muted: bool) -> None: ...

    async def open_journal(self, peer: PeerId, track_id: TrackId, journal: JournalPlace) -> None: ...

    async def seal(self, journal: JournalId, reason: str) -> SealReport:
        """Stops appending, makes the journal durable and closes it."""

    async def prefer_layer(self, peer: PeerId, track_id: TrackId, layer: Layer) -> None: ...

    async def prefer_audio(self, peer: PeerId, track_id: TrackId, subscribed: bool) -> None: ...

    async def send_data(self, peer: PeerId, text: str) -> None: ...

    async def restart_subscribe(self, peer: PeerId) -> None: ...

    async def remove_peer(self, peer: PeerId) -> None:
        """Closes both connections. Journals that are still open stay open: seal them first."""

    def metrics(self) -> dict[str, int]: ...

    async def close(self) -> None: ...
