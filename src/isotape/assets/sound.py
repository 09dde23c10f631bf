"""Lays the audio of an Asset on one sample line without holes, from zero. Pure NumPy.

Before it: timeline.py. After it: pictures.py, which takes its times from this line, and plan.py.
Chromium counts samples and ignores timestamps, so every hole is filled with Opus packets and no packet is ever stretched: inside an
Epoch the sender's own ticks decide where a packet stands, between Epochs the session's clock does.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from isotape.assets.causes import cause_between, cause_of_loss, mutes_of
from isotape.assets.packets import UNPARSABLE, Array, TrackLog
from isotape.assets.samples import (
    AUDIO_RATE,
    PACKET_REF,
    Cause,
    Filler,
    Gap,
    Literals,
    SampleLine,
    TrackRows,
    in_order,
)
from isotape.assets.tape import LEAST, STEREO, Tape, round_to_frame
from isotape.assets.timeline import TimedEpoch
from isotape.model import MediaKind

# A decoder conceals a loss of up to 100 ms from the sound before it; beyond that silence is the honest answer.
_CONCEALED = AUDIO_RATE // 10
# Chromium sends a packet at least each 400 ms while it only hears noise (DTX); a longer stillness is a pause.
_PAUSE = 2 * AUDIO_RATE
_STALLED = "the sender's sound device stood still"


@dataclass(frozen=True, slots=True)
class SoundTrack:
    """The finished line: rows for the core, length in samples, and where every moment of the session lies.

    overlapping packets came twice over for one moment (two Epochs at once) and are left out; unreadable ones are holes.
    """

    rows: TrackRows
    line: SampleLine
    length: int
    channels: int
    real_packets: int
    overlapping: int
    unreadable: int
    gaps: tuple[Gap, ...]
    fillers: tuple[Filler, ...]


@dataclass(frozen=True, slots=True)
class _Audible:
    """The packets of an Epoch that hold sound, and where they stand. missing and corrupt count what lacks before each one."""

    timed: TimedEpoch
    refs: Array
    samples: Array
    positions: Array
    missing: Array
    corrupt: Array
    arrivals: Array
    toc: Array
    stalled: frozenset[int]


@dataclass(slots=True)
class _Layer:
    """Lays Epoch after Epoch."""

    logs: Sequence[TrackLog]
    file_bases: Sequence[int]
    zero_ns: int
    tape: Tape
    anchors: list[tuple[int, float]] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    before: TimedEpoch | None = None
    real_packets: int = 0
    overlapping: int = 0
    unreadable: int = 0

    def lay(self, timed: TimedEpoch) -> None:
        """Puts one Epoch behind what is there, with silence between."""
        audible = _audible(timed, self._start_of(timed), self.file_bases[timed.epoch.log])
        self.unreadable += int(np.count_nonzero(_unreadable(timed.epoch.packets)))
        begin = int(np.searchsorted(audible.positions, self.tape.end - LEAST))
        self.overlapping += begin
        if begin >= len(audible.positions):
            return
        self._bridge(timed, int(audible.positions[begin]))
        self._lay_packets(audible, begin)
        self._anchor(audible)
        self.before = timed

    def _start_of(self, timed: TimedEpoch) -> float:
        """The position of the Epoch's first tick."""
        moment, position = self.anchors[-1] if self.anchors else (self.zero_ns, 0.0)
        return position + (timed.start_ns - moment) * (AUDIO_RATE / 1e9)

    def _bridge(self, timed: TimedEpoch, position: int) -> None:
        """Silence up to an Epoch; a Gap when it is not the first."""
        start, hole = self.tape.end, position - self.tape.end
        if self.before is None:
            self.tape.silence(hole, "late_start")
            return
        cause, note = cause_between(self.logs, self.before.epoch, timed.epoch)
        self.tape.silence(hole, cause)
        if self.tape.end > start:
            self.gaps.append(Gap(start, self.tape.end, cause, note=note))

    def _lay_packets(self, audible: _Audible, begin: int) -> None:
        """The packets of an Epoch; only where something lacks does it go packet by packet."""
        expected = audible.positions[:-1] + audible.samples[:-1]
        holes = (np.abs(audible.positions[1:] - expected) >= LEAST / 2) | (
            audible.missing[1:] + audible.corrupt[1:] > 0
        )
        run = begin
        for after in (np.flatnonzero(holes[begin:]) + begin + 1).tolist():
            self._add(audible, run, after)
            self._fill_before(audible, after)
            run = after
        self._add(audible, run, len(audible.positions))

    def _add(self, audible: _Audible, start: int, stop: int) -> None:
        self.tape.add(audible.refs[start:stop], audible.samples[start:stop])
        self.real_packets += stop - start

    def _fill_before(self, audible: _Audible, packet: int) -> None:
        """What lacks before one packet: first what was lost or is unreadable, then what was never sent."""
        start = self.tape.end
        hole = round_to_frame(int(audible.positions[packet]) - start)
        missing, corrupt = int(audible.missing[packet]), int(audible.corrupt[packet])
        lost = min(hole, (missing + corrupt) * int(audible.samples[packet - 1]))
        if missing + corrupt:
            log = self.logs[audible.timed.epoch.log]
            cause = cause_of_loss(log, int(audible.arrivals[packet - 1]), int(audible.arrivals[packet]))
            self._fill_loss(lost, int(audible.toc[packet - 1]), cause if missing else Cause.CORRUPT)
            self.gaps.append(Gap(start, self.tape.end, cause if missing else Cause.CORRUPT, packets=missing + corrupt))
        self._fill_stillness(hole - lost, stalled=packet in audible.stalled)

    def _fill_loss(self, length: int, toc: int, cause: Cause) -> None:
        if length <= _CONCEALED:
            self.tape.conceal(length, toc)
        else:
            self.tape.silence(length, cause)

    def _fill_stillness(self, length: int, *, stalled: bool) -> None:
        start = self.tape.end
        paused = stalled or length >= _PAUSE
        self.tape.silence(length, Cause.PAUSED if paused else "dtx")
        if paused and self.tape.end > start:
            self.gaps.append(Gap(start, self.tape.end, Cause.PAUSED, note=_STALLED if stalled else ""))

    def _anchor(self, audible: _Audible) -> None:
        """Ties the line to the session's clock at the knots of the Epoch's own clock."""
        epoch, clock = audible.timed.epoch, audible.timed.clock
        first, last = int(epoch.ticks[0]), int(epoch.ticks[-1]) + int(audible.samples[-1])
        inside = clock.knots[(clock.knots > first) & (clock.knots < last)].astype(np.int64)
        ticks = np.unique(np.concatenate(([first], inside, [last])))
        origin = float(audible.positions[0]) - float(epoch.ticks[_sounds(epoch.packets)][0] - first)
        moments = clock.session_ns(ticks).tolist()
        self.anchors += zip(moments, (origin + (ticks - first)).tolist(), strict=True)


def lay(
    logs: Sequence[TrackLog], bases: Sequence[int], epochs: Sequence[TimedEpoch], zero_ns: int, literals: Literals
) -> SoundTrack:
    """The line of all audio Epochs of an Asset, in order of time; position 0 is `zero_ns`. There must be a packet with sound."""
    channels = 2 if any((timed.epoch.toc[_sounds(timed.epoch.packets)] & STEREO).any() for timed in epochs) else 1
    layer = _Layer(logs, bases, zero_ns, Tape(channels, literals))
    for timed in epochs:
        layer.lay(timed)
    moments, positions = zip(*_rising(layer.anchors), strict=True)
    line = SampleLine(np.array(moments, np.int64), np.array(positions))
    return SoundTrack(
        rows=layer.tape.rows(),
        line=line,
        length=layer.tape.end,
        channels=channels,
        real_packets=layer.real_packets,
        overlapping=layer.overlapping,
        unreadable=layer.unreadable,
        gaps=in_order([*layer.gaps, *_muted(logs, line, layer.tape.end)]),
        fillers=tuple(layer.tape.fillers),
    )


def first_sound(epochs: Sequence[TimedEpoch]) -> int | None:
    """Session time of the first packet that holds sound."""
    starts = [timed.clock.at(int(timed.epoch.ticks[_sounds(timed.epoch.packets)][0])) for timed in epochs]
    return min(starts, default=None)


def audible_epochs(epochs: Sequence[TimedEpoch]) -> list[TimedEpoch]:
    """The Epochs with at least one packet that holds sound."""
    return [timed for timed in epochs if _sounds(timed.epoch.packets).any()]


def _sounds(packets: Array) -> Array:
    sounds: Array = (packets["samples"] > 0) & (packets["length"] > 0) & (packets["flags"] & UNPARSABLE == 0)
    return sounds


def _unreadable(packets: Array) -> Array:
    unreadable: Array = (packets["length"] > 0) & ~_sounds(packets)
    return unreadable


def _audible(timed: TimedEpoch, start: float, file_base: int) -> _Audible:
    epoch = timed.epoch
    sounds = np.flatnonzero(_sounds(epoch.packets))
    packets = epoch.packets[sounds]
    refs = np.zeros(len(sounds), PACKET_REF)
    refs["file"] = packets["file"] + file_base
    refs["length"], refs["offset"] = packets["length"], packets["offset"]
    lost = np.cumsum(np.diff(epoch.sequence, prepend=epoch.sequence[0] - 1) - 1)[sounds]
    corrupt = np.cumsum(_unreadable(epoch.packets))[sounds]
    return _Audible(
        timed=timed,
        refs=refs,
        samples=packets["samples"].astype(np.int64),
        positions=np.rint(start + (epoch.ticks[sounds] - epoch.ticks[0])).astype(np.int64),
        missing=np.diff(lost, prepend=lost[0]),
        corrupt=np.diff(corrupt, prepend=corrupt[0]),
        arrivals=packets["arrival_ns"],
        toc=epoch.toc[sounds],
        stalled=frozenset(int(np.searchsorted(sounds, stall.packet)) for stall in epoch.stalls),
    )


def _rising(anchors: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Anchors whose moments and positions both go forward: where two Epochs overlap, the earlier one holds."""
    kept = [anchors[0]]
    for moment, position in anchors[1:]:
        if moment > kept[-1][0] and position > kept[-1][1]:
            kept.append((moment, position))
    return kept


def _muted(logs: Sequence[TrackLog], line: SampleLine, length: int) -> list[Gap]:
    """Every mute as a Gap: the packets in it hold silence that the sender made."""
    gaps = []
    for log in logs:
        if log.kind is not MediaKind.AUDIO:
            continue
        for start_ns, end_ns in mutes_of(log, log.last_sign_ns):
            start = max(line.position_of(start_ns), 0)
            end = min(line.position_of(end_ns), length)
            if end > start:
                gaps.append(Gap(start, end, Cause.MUTED))
    return gaps
