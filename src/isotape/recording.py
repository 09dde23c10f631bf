"""The recording policy: who is recorded, which Track goes into which Asset, and when an Asset is over. Pure: no I/O,
no clock.

rooms/ asks it at every offer and does what the Decision says, before the engine opens a journal. A Track belongs to
an Asset by its peer, source and kind; its ids only tell two tracks of one moment apart, since clients change them
when they connect anew.

* Source `regular` (camera and microphone): one Asset from the first of them until the peer leaves, across mutes,
  device changes, reconnects.
* Source `screen`: one Asset a share, that is a stream; over when the share's last track is gone. A second share is a
  second Asset.
* Any other source: one Asset a stream, like a share.

An Asset holds at most one audio and one video track at a time; a further one at the same moment gets an Asset of its
own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from isotape.ids import AssetId, StreamId, TrackId
from isotape.model import AssetKind, Json, MediaKind, Source, StreamRecording, Template, Track

_DEFAULTS = StreamRecording()


@dataclass(frozen=True, slots=True)
class OpenAsset:
    """An Asset in the making. `tracks` are those that are being written into it now; empty while its peer is away."""

    id: AssetId
    kind: AssetKind
    source: str
    stream_id: StreamId
    part: int = 1
    tracks: Mapping[TrackId, Track] = field(default_factory=dict)

    def takes(self, track: Track) -> bool:
        """Whether its place for this kind of media is free."""
        return all(present.kind != track.kind for present in self.tracks.values())


@dataclass(frozen=True, slots=True)
class History:
    """What a decision needs to know of the peer's past.

    parts: how many Assets it has had of each stream, finished ones included · is_renewing: its client is making its
    connections anew, so that every track goes and comes back under other ids · new_id: makes the id of an Asset.
    """

    new_id: Callable[[], AssetId]
    parts: Mapping[StreamId, int] = field(default_factory=dict)
    is_renewing: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows from an offer.

    assets: all that are open afterwards, those of `created` included · created: new ones, in the order of their
    tracks · promoted: audio Assets that got a picture · begun: tracks that need a new journal, with their Asset ·
    ended: tracks whose journals are to be sealed · finished: Assets that nothing will be added to.
    """

    assets: tuple[OpenAsset, ...]
    created: tuple[OpenAsset, ...] = ()
    promoted: tuple[AssetId, ...] = ()
    begun: tuple[tuple[Track, AssetId], ...] = ()
    ended: tuple[TrackId, ...] = ()
    finished: tuple[AssetId, ...] = ()


def policy_of(template: Template) -> StreamRecording:
    """What the template says about stream recording; taken once, at the first join of a Session."""
    if not template.recordings:
        return _DEFAULTS
    config = template.recordings[0]  # The API allows one configuration.
    stream = config.get("streamRecording") or {}
    return StreamRecording(
        enabled=bool(stream.get("enabled", False)),
        width=_number(stream, "width", _DEFAULTS.width),
        height=_number(stream, "height", _DEFAULTS.height),
        max_duration_s=_number(config, "maxDuration", _DEFAULTS.max_duration_s),
        presign_duration_s=_number(config, "presignDuration", _DEFAULTS.presign_duration_s),
    )


def decide(
    assets: Sequence[OpenAsset],
    published: Sequence[Track],
    history: History,
) -> Decision:
    """Assigns everything that one peer publishes now.

    assets: the peer's open ones, oldest first · published: the complete list of its tracks.
    """
    listed = {track.track_id for track in published}
    ended = tuple(track_id for asset in assets for track_id in asset.tracks if track_id not in listed)
    kept = [_without(asset, ended) for asset in assets]
    running = {track_id for asset in kept for track_id in asset.tracks}
    desk = _Desk(kept, history)
    for track in published:
        if track.track_id not in running:
            desk.assign(track)
    return desk.decision(ended)


class _Desk:
    """The Assets while one offer is worked through."""

    def __init__(self, assets: list[OpenAsset], history: History) -> None:
        self._assets = assets
        self._history = history
        self._parts = dict(history.parts)
        self._created: list[AssetId] = []
        self._promoted: list[AssetId] = []
        self._begun: list[tuple[Track, AssetId]] = []

    def assign(self, track: Track) -> None:
        place = self._place_of(track)
        if place is None:
            self._assets.append(self._create(track))
            place = len(self._assets) - 1
        asset = self._assets[place]
        if asset.kind is AssetKind.AUDIO and track.kind is MediaKind.VIDEO:
            asset = replace(asset, kind=AssetKind.REGULAR)
            if asset.id not in self._created:
                self._promoted.append(asset.id)
        self._assets[place] = replace(asset, tracks={**asset.tracks, track.track_id: track})
        self._begun.append((track, asset.id))

    def decision(self, ended: tuple[TrackId, ...]) -> Decision:
        camera = next((asset.id for asset in self._assets if asset.source == Source.REGULAR), None)
        over = {asset.id for asset in self._assets if not asset.tracks and asset.id != camera}
        if self._history.is_renewing:
            over = set()
        return Decision(
            assets=tuple(asset for asset in self._assets if asset.id not in over),
            created=tuple(asset for asset in self._assets if asset.id in self._created),
            promoted=tuple(self._promoted),
            begun=tuple(self._begun),
            ended=ended,
            finished=tuple(asset.id for asset in self._assets if asset.id in over),
        )

    def _place_of(self, track: Track) -> int | None:
        free = [
            place for place, asset in enumerate(self._assets) if asset.source == track.source and asset.takes(track)
        ]
        same_stream = [place for place in free if self._assets[place].stream_id == track.stream_id]
        if same_stream:
            return same_stream[0]
        if self._history.is_renewing:
            free.sort(key=lambda place: len(self._assets[place].tracks))
        # Camera and microphone usually share a stream, but a new device or connection may bring a new one.
        return free[0] if free and (track.source == Source.REGULAR or self._history.is_renewing) else None

    def _create(self, track: Track) -> OpenAsset:
        part = self._parts[track.stream_id] = self._parts.get(track.stream_id, 0) + 1
        asset = OpenAsset(self._history.new_id(), kind_of(track), track.source, track.stream_id, part)
        self._created.append(asset.id)
        return asset


def kind_of(track: Track) -> AssetKind:
    """What an Asset is that begins with this Track."""
    if track.source == Source.SCREEN:
        return AssetKind.SCREEN
    return AssetKind.REGULAR if track.kind is MediaKind.VIDEO else AssetKind.AUDIO


def _without(asset: OpenAsset, ended: tuple[TrackId, ...]) -> OpenAsset:
    return replace(asset, tracks={key: track for key, track in asset.tracks.items() if key not in ended})


def _number(config: Json, name: str, default: int) -> int:
    value: Any = config.get(name)
    # 0 and absent both mean "the default" in the 100ms API, which leaves out empty values.
    return value if isinstance(value, int) and value > 0 else default
