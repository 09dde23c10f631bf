"""Puts each picture of an Asset beside the sound of its moment, and states what is missing between them. Pure NumPy.

Before it: frames.py and layers.py with the pictures to show, and sound.py, whose sample line is the only time there is in the file. After
it: plan.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from isotape.assets.causes import cause_between, cause_of_loss, mutes_of
from isotape.assets.frames import Frames, same_sender
from isotape.assets.packets import Array, TrackLog
from isotape.assets.samples import (
    AUDIO_RATE,
    KEY_FRAME,
    PACKET_REF,
    SAMPLE,
    VIDEO_RATE,
    Cause,
    Gap,
    SampleLine,
    TrackRows,
    in_order,
    unexplained,
)
from isotape.model import MediaKind

# Cameras send at least one picture a second even when muted; a screen that stands still sends none and is not paused.
_PAUSE = 2 * AUDIO_RATE
# What a last picture lasts when nothing says how long: 30 a second.
_USUAL = VIDEO_RATE // 30
# Arrivals lag by the network's jitter: a sender that was heard less than 0.5 s after its last picture tells nothing about it.
_STILL = VIDEO_RATE // 2
# Between two layers or two SSRCs of one sender a picture may be missing, or stand for this long (0.5 s).
_SWITCH = AUDIO_RATE // 2
# A first picture this close behind zero (5 ms, the error that sync may have) is shown from zero on.
NEAR_ZERO = AUDIO_RATE // 200


@dataclass(frozen=True, slots=True)
class Resolution:
    """The size of the pictures from a position (48 kHz samples) on."""

    start: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class LayerStart:
    """The SSRC of the pictures from a position (48 kHz samples) on."""

    start: int
    ssrc: int


@dataclass(frozen=True, slots=True)
class PictureTrack:
    """Rows for the core (without any placeholder), the size of each first picture, and what is missing.

    incomplete and before_key frames are left out; unseen ones are of another codec than the track's.
    """

    rows: TrackRows
    codec: int
    resolutions: tuple[Resolution, ...]
    frames: int
    key_frames: int
    incomplete: int
    before_key: int
    layers: tuple[LayerStart, ...]
    gaps: tuple[Gap, ...]

    @property
    def starts_late(self) -> bool:
        return bool(self.rows.samples["pts"][0] > 0)

    @property
    def end(self) -> int:
        """In samples of 48 kHz."""
        last = self.rows.samples[-1]
        return round((int(last["pts"]) + int(last["duration"])) * AUDIO_RATE / VIDEO_RATE)


@dataclass(slots=True)
class _Reel:
    """Frames one behind another, and what is missing between them."""

    logs: Sequence[TrackLog]
    line: SampleLine
    screen: bool
    gaps: list[Gap] = field(default_factory=list)
    before: Frames | None = None
    end: int = 0

    def add(self, frames: Frames) -> None:
        """States the holes of one Epoch, and the one before it."""
        positions = np.maximum(np.rint(self.line.positions_of(frames.session_ns)), 0).astype(np.int64)
        kept = np.flatnonzero(frames.kept)
        if len(kept):
            self._state_between(frames, int(positions[kept[0]]))
        self._state_losses(frames, positions, kept)
        if len(kept):
            self._state_pauses(positions[kept])
            self.before, self.end = frames, int(positions[kept[-1]])

    def _state_between(self, frames: Frames, start: int) -> None:
        if self.before is None or same_sender(self.before.timed, frames.timed):
            return
        if self.before.timed.epoch.log == frames.timed.epoch.log and start - self.end < _SWITCH:
            return
        cause, note = cause_between(self.logs, self.before.timed.epoch, frames.timed.epoch)
        self.gaps.append(Gap(self.end, max(start, self.end), cause, note=note))

    def _state_losses(self, frames: Frames, positions: Array, kept: Array) -> None:
        """One Gap for each run of frames that are not kept, from the picture before it to the next one that is."""
        holes = frames.kept & (frames.lacking > 0)
        bad = ~frames.kept | holes
        starts = np.flatnonzero(bad & ~np.concatenate(([False], bad[:-1] & ~frames.kept[:-1])))
        for start in starts.tolist():
            behind = kept[np.searchsorted(kept, start) :]
            stop = int(behind[0]) if len(behind) else len(positions)
            self._state_loss(frames, positions, start, stop)

    def _state_loss(self, frames: Frames, positions: Array, start: int, stop: int) -> None:
        log = self.logs[frames.timed.epoch.log]
        until = min(stop, len(positions) - 1)
        lacking = int(frames.lacking[start : until + 1].sum())
        cause = cause_of_loss(log, int(frames.arrivals[max(start - 1, 0)]), int(frames.arrivals[until]))
        if not lacking and frames.corrupt[start:stop].any():
            cause = Cause.CORRUPT
        early = not frames.kept[: start + 1].any() and frames.whole[start:stop].any()
        note = "before the first key frame" if early else ""
        # What is missing ahead of a frame's first packet may have been pictures of their own.
        begin = int(positions[max(start - 1, 0)] if frames.kept[start] or frames.ahead[start] else positions[start])
        self.gaps.append(Gap(begin, int(positions[until]), cause, lacking, stop - start, note))

    def _state_pauses(self, positions: Array) -> None:
        if self.screen:
            return
        for number in np.flatnonzero(np.diff(positions) >= _PAUSE).tolist():
            start, end = int(positions[number]), int(positions[number + 1])
            if not any(gap.start < end and gap.end > start and (gap.frames or gap.packets) for gap in self.gaps):
                self.gaps.append(Gap(start, end, Cause.PAUSED))


def show(
    logs: Sequence[TrackLog], bases: Sequence[int], all_frames: Sequence[Frames], line: SampleLine, *, screen: bool
) -> PictureTrack:
    """The track of all frames that are kept; there must be one. Times are the line's, made strictly rising."""
    reel = _Reel(logs, line, screen)
    for frames in all_frames:
        reel.add(frames)
    shown = [frames for frames in all_frames if frames.kept.any()]
    session_ns = np.concatenate([frames.session_ns[frames.kept] for frames in shown])
    pts = _rising(np.rint(_placed(line, session_ns) * (VIDEO_RATE / AUDIO_RATE)).astype(np.int64))
    rows = _rows(shown, bases, pts)
    last_sign = max(logs[frames.timed.epoch.log].last_sign_ns for frames in shown[-1:])
    rows.samples["duration"] = np.append(np.diff(pts), _last_duration(pts, line, last_sign))
    positions = (pts * AUDIO_RATE // VIDEO_RATE).astype(np.int64)
    end = round((int(pts[-1]) + int(rows.samples["duration"][-1])) * AUDIO_RATE / VIDEO_RATE)
    mutes = _muted(logs, line, end)
    return PictureTrack(
        rows=rows,
        codec=shown[0].timed.epoch.codec,
        resolutions=_resolutions(shown, positions),
        frames=len(pts),
        key_frames=int(np.count_nonzero(rows.samples["flags"] & KEY_FRAME)),
        incomplete=sum(int(np.count_nonzero(~frames.whole)) for frames in all_frames),
        before_key=sum(int(np.count_nonzero(frames.whole & ~frames.kept)) for frames in all_frames),
        layers=_layers(shown, positions),
        gaps=in_order([*_without_mutes(reel.gaps, mutes), *mutes]),
    )


def _placed(line: SampleLine, session_ns: Array) -> Array:
    """Positions from 0 on; what is a few ms before or behind zero stands at zero."""
    positions = np.maximum(line.positions_of(session_ns), 0.0)
    if positions[0] <= NEAR_ZERO:
        positions[0] = 0.0
    return positions


def _rising(pts: Array) -> Array:
    """Each at least one tick behind the one before."""
    steps = np.arange(len(pts))
    return np.maximum.accumulate(pts - steps) + steps


def _rows(shown: Sequence[Frames], bases: Sequence[int], pts: Array) -> TrackRows:
    refs, samples, before = [], [], 0
    for frames in shown:
        ref = np.zeros(len(frames.packets), PACKET_REF)
        ref["file"] = frames.packets["file"] + bases[frames.timed.epoch.log]
        ref["length"], ref["offset"] = frames.packets["length"], frames.packets["offset"]
        sample = np.zeros(int(np.count_nonzero(frames.kept)), SAMPLE)
        sample["first"], sample["count"] = before + frames.first[frames.kept], frames.count[frames.kept]
        sample["flags"] = np.where(frames.key[frames.kept], KEY_FRAME, 0)
        refs.append(ref)
        samples.append(sample)
        before += len(ref)
    rows = TrackRows(np.concatenate(refs), np.concatenate(samples))
    rows.samples["pts"] = pts
    return rows


def _last_duration(pts: Array, line: SampleLine, last_sign_ns: int) -> int:
    """As pictures usually last; when the picture stood still while its sender was heard, until then."""
    usual = min(int(np.median(np.diff(pts))), VIDEO_RATE) if len(pts) > 1 else _USUAL
    heard = round(line.position_of(last_sign_ns) * (VIDEO_RATE / AUDIO_RATE)) - int(pts[-1])
    return heard if heard > _STILL else max(usual, 1)


def _resolutions(shown: Sequence[Frames], positions: Array) -> tuple[Resolution, ...]:
    found: list[Resolution] = []
    sizes = np.concatenate([frames.sizes[frames.kept] for frames in shown])
    for number in np.flatnonzero(sizes[:, 0]).tolist():
        width, height = sizes[number].tolist()
        if not found or (found[-1].width, found[-1].height) != (width, height):
            found.append(Resolution(int(positions[number]), width, height))
    return tuple(found)


def _layers(shown: Sequence[Frames], positions: Array) -> tuple[LayerStart, ...]:
    """One entry each time the SSRC changes."""
    found: list[LayerStart] = []
    first = 0
    for frames in shown:
        if not found or found[-1].ssrc != frames.timed.epoch.ssrc:
            found.append(LayerStart(int(positions[first]), frames.timed.epoch.ssrc))
        first += int(np.count_nonzero(frames.kept))
    return tuple(found)


def _without_mutes(gaps: Sequence[Gap], mutes: Sequence[Gap]) -> list[Gap]:
    """Some browsers send no black pictures for a camera that is off: that is the mute, not a pause besides."""
    return [gap for gap in gaps if gap.cause is not Cause.PAUSED or gap.note or unexplained(gap, mutes) >= _PAUSE]


def _muted(logs: Sequence[TrackLog], line: SampleLine, end: int) -> list[Gap]:
    """Each time the camera was off: the pictures in it are the black ones that the sender makes."""
    gaps = []
    for log in logs:
        if log.kind is not MediaKind.VIDEO:
            continue
        for start_ns, end_ns in mutes_of(log, log.last_sign_ns):
            start, stop = max(line.position_of(start_ns), 0), min(line.position_of(end_ns), end)
            if stop > start:
                gaps.append(Gap(start, stop, Cause.MUTED))
    return gaps
