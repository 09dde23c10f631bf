"""The picture of a session: one lane per peer, one row per source, every bar in percent of first join to last leave. Pure.

Before it: the rows of one session. After it: session.html, which draws the bars in percent, so that they fit any width.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from isotape.dashboard.sidecar import StatedGap
from isotape.model import AssetState, Journal, Track

# At most this many marks on the axis: their labels do not touch at 360 px.
_MARKS = 4
# Round steps between two marks, in seconds; above them whole hours.
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
# A bar of a second in a session of an hour must still be seen and pointed at.
_LEAST_PERCENT = 0.4

SOURCES: Mapping[tuple[str, str], str] = {
    ("video", "regular"): "camera",
    ("audio", "regular"): "mic",
    ("video", "screen"): "screen",
    ("audio", "screen"): "screen sound",
}
_ORDER = [*SOURCES.values()]


@dataclass(frozen=True, slots=True)
class Bar:
    """left and width in percent; look is the CSS class's end."""

    left: float
    width: float
    look: str
    title: str


@dataclass(frozen=True, slots=True)
class Row:
    label: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Lane:
    name: str
    role: str
    peer_id: str
    present: Bar
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    left: float
    at_ms: float


@dataclass(frozen=True, slots=True)
class Timeline:
    marks: tuple[Mark, ...]
    lanes: tuple[Lane, ...]


@dataclass(frozen=True, slots=True)
class Span:
    """From first join to last leave, or to now."""

    start: datetime
    end: datetime

    @property
    def length_ms(self) -> float:
        return max((self.end - self.start).total_seconds() * 1000, 1.0)

    def percent(self, at: datetime) -> float:
        return min(max((at - self.start).total_seconds() * 100_000 / self.length_ms, 0.0), 100.0)

    def bar(self, since: datetime, until: datetime | None, look: str, title: str) -> Bar:
        left, right = self.percent(since), self.percent(until or self.end)
        return Bar(round(left, 3), round(max(right - left, _LEAST_PERCENT), 3), look, title)


def draw(
    span: Span, peers: Sequence[Any], journals: Sequence[Journal], gaps: Mapping[str, Sequence[StatedGap]]
) -> Timeline:
    """peers and journals are rows of the session; gaps are the stated holes by asset id, each with since, until and a title."""
    lanes = tuple(_lane(span, peer, [j for j in journals if j.peer_id == peer.id], gaps) for peer in peers)
    return Timeline(tuple(_marks(span.length_ms)), lanes)


def _lane(span: Span, peer: Any, journals: Sequence[Journal], gaps: Mapping[str, Sequence[StatedGap]]) -> Lane:
    labels = sorted({source_of(j.track) for j in journals}, key=lambda label: (_rank(label), label))
    rows = (
        Row(label, tuple(_bars(span, [j for j in journals if source_of(j.track) == label], gaps))) for label in labels
    )
    return Lane(
        peer.name, peer.role, peer.id, span.bar(peer.joined_at, peer.left_at, "present", "in the room"), tuple(rows)
    )


def _bars(span: Span, journals: Sequence[Journal], gaps: Mapping[str, Sequence[StatedGap]]) -> Iterable[Bar]:
    for journal in journals:
        label = source_of(journal.track)
        yield span.bar(
            journal.opened_at, journal.sealed_at, label.replace(" ", "-") if label in _ORDER else "other", label
        )
    for asset_id in dict.fromkeys(journal.asset_id for journal in journals):
        for gap in gaps.get(asset_id, ()):
            if gap.kind == journals[0].track.kind:
                yield span.bar(gap.since, gap.until, gap.look, gap.title)


def as_received(journals: Iterable[Journal], assets: Iterable[Any]) -> list[Journal]:
    """The journals, each ending no later than its finished file does: a lost peer's stay open through its grace.

    assets are rows of the session.
    """
    ends = {asset.id: end for asset in assets if (end := _end_of(asset)) is not None}
    return [_cut(journal, ends.get(journal.asset_id)) for journal in journals]


def _end_of(asset: Any) -> datetime | None:
    started = asset.metadata.get("started_at")
    if asset.state != AssetState.COMPLETED or not isinstance(started, str):
        return None
    return datetime.fromisoformat(started) + timedelta(milliseconds=asset.duration_ms)


def _cut(journal: Journal, end: datetime | None) -> Journal:
    if end is None or journal.sealed_at is None or journal.sealed_at <= end:
        return journal
    return replace(journal, sealed_at=max(end, journal.opened_at))


def source_of(track: Track) -> str:
    """What people call a Track: camera, mic, screen, screen sound, or the source a client made up."""
    return SOURCES.get((track.kind, track.source), f"{track.source} {track.kind}")


def _rank(label: str) -> int:
    return _ORDER.index(label) if label in _ORDER else len(_ORDER)


def _marks(length_ms: float) -> Iterable[Mark]:
    seconds = length_ms / 1000
    step = next((s for s in _STEPS if seconds / s <= _MARKS), None) or 3600 * -(-seconds // (3600 * _MARKS))
    at = 0.0
    while at <= seconds:
        yield Mark(round(at * 100 / seconds, 3), at * 1000)
        at += step
