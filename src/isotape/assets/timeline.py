"""Whose clock says what: RTP ticks of an Epoch → the sender's NTP clock → the session's clock. Pure NumPy.

Before it: order.py, stalls.py and reports.py. After it: sound.py lays the audio out, pictures.py puts each picture beside the sound of
its moment.
The session's clock is the server's arrival clock. Sound and picture of one peer meet on the sender's NTP clock, so the network's
jitter never comes between them; without sender reports the earliest arrivals stand in. Times of different clocks are never mixed:
ticks are the RTP clock's, ntp_ns the sender's, session_ns the server's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from isotape.assets.order import Epoch
from isotape.assets.packets import Array, TrackLog
from isotape.assets.reports import NS_PER_S, Reports, reports_of

# With fewer reports, or over less time, a slope is noise: Chromium's audio reports jitter by 10 ms, and 8 of them take 40 s.
_LEAST_REPORTS = 8
_LEAST_SPAN_NS = 20 * NS_PER_S
# Crystal oscillators stay within 100 ppm; ten times that is a broken report, not a clock.
_STEEPEST = 1e-3
# Medians of so many bins make a robust slope at bounded cost, however many reports came.
_BINS = 200
# A clock that bends away from its straight line by more than 5 ms, the error that sync may have, is followed piece by piece.
_BEND_NS = 5_000_000
_PIECE_NS = 300 * NS_PER_S
# The session's clock drifts against the sender's by tens of ppm: 600 s show it above the jitter of the delay floor.
_DRIFT_SPAN_NS = 600 * NS_PER_S
_DRIFT_BIN_NS = 60 * NS_PER_S


@dataclass(frozen=True, slots=True)
class EpochClock:
    """The session time of an Epoch's ticks: straight lines between knots, the last one going on.

    session_ns of tick t is base_ns + the interpolated value; ntp_ns is there when sender reports were. uncertainty_ns is the spread of
    the reports around the line, or of the arrivals when there were none.
    """

    knots: Array
    values_ns: Array
    base_ns: int
    uncertainty_ns: float
    reports: int
    ntp_offset_ns: int | None

    def session_ns(self, ticks: Array) -> Array:
        """Session time in ns (int64) of each tick."""
        inside = np.interp(ticks, self.knots, self.values_ns)
        slope = np.diff(self.values_ns) / np.diff(self.knots)
        before, after = ticks < self.knots[0], ticks > self.knots[-1]
        inside[before] = self.values_ns[0] + (ticks[before] - self.knots[0]) * slope[0]
        inside[after] = self.values_ns[-1] + (ticks[after] - self.knots[-1]) * slope[-1]
        return self.base_ns + np.rint(inside).astype(np.int64)

    def at(self, tick: int) -> int:
        """Session time of one tick."""
        return int(self.session_ns(np.array([tick], np.int64))[0])


@dataclass(frozen=True, slots=True)
class TimedEpoch:
    """An Epoch and its clock."""

    epoch: Epoch
    clock: EpochClock

    @property
    def start_ns(self) -> int:
        return self.clock.at(int(self.epoch.ticks[0]))

    @property
    def end_ns(self) -> int:
        return self.clock.at(int(self.epoch.ticks[-1]))


@dataclass(frozen=True, slots=True)
class _Fit:
    """ticks → ns on some clock, not yet moved onto the session's: value = nominal + offset, offset piecewise linear."""

    epoch: Epoch
    knots: Array
    values_ns: Array
    base_ns: int
    spread_ns: float
    reports: int

    def delays(self) -> Array:
        """Arrival minus the clock's own time, for each packet: the network's delay plus what the two clocks differ."""
        own = np.interp(self.epoch.ticks, self.knots, self.values_ns)
        return (self.epoch.packets["arrival_ns"] - self.base_ns) - own


def clocks(logs: Sequence[TrackLog], epochs: Sequence[Epoch]) -> list[TimedEpoch]:
    """Every Epoch with its clock. Epochs whose journals overlap in time are of one connection and share the delay floor."""
    fits = [_fit(epoch, reports_of(logs[epoch.log], epoch)) for epoch in epochs]
    timed: list[TimedEpoch] = []
    for group in _connections([fit for fit in fits if fit.reports]):
        timed += _onto_session(group)
    for fit in fits:
        if not fit.reports:
            timed += _onto_session([fit])
    return sorted(timed, key=lambda one: one.start_ns)


def _fit(epoch: Epoch, reports: Reports) -> _Fit:
    """The sender's clock by its reports; by its ticks alone when there are none."""
    ticks, ntp_ns = reports.ticks, reports.ntp_ns
    first, last = int(epoch.ticks[0]), int(epoch.ticks[-1]) + 1
    per_tick = NS_PER_S / epoch.rate
    ends = np.array([first, last], np.int64)
    if not len(ticks):
        return _Fit(epoch, ends, (ends - first) * per_tick, epoch.first_arrival_ns, 0.0, 0)
    base = int(ntp_ns[0])
    elapsed = (ticks - first) * per_tick
    offsets = (ntp_ns - base) - elapsed
    knots_ns, knot_offsets = _line(elapsed, offsets, (last - first) * per_tick)
    spread = _spread(offsets - np.interp(elapsed, knots_ns, knot_offsets))
    knots = first + knots_ns / per_tick
    return _Fit(epoch, knots, knots_ns + knot_offsets, base, spread, len(ticks))


def _line(elapsed: Array, offsets: Array, end: float) -> tuple[Array, Array]:
    """Knots and their offsets over 0..end: flat for few reports, straight for many, bent where the clock bends."""
    flat = float(np.median(offsets))
    if len(offsets) < _LEAST_REPORTS or np.ptp(elapsed) < _LEAST_SPAN_NS:
        return np.array([0.0, end]), np.array([flat, flat])
    slope, height = _robust_line(elapsed, offsets)
    residuals = offsets - (height + slope * elapsed)
    pieces = _bins(elapsed, residuals, _PIECE_NS)
    if len(pieces[0]) >= 3 and np.abs(pieces[1]).max() > _BEND_NS:
        knots = np.concatenate(([0.0], pieces[0], [end]))
        bends = np.concatenate((pieces[1][:1], pieces[1], pieces[1][-1:]))
        inside = np.diff(knots, prepend=-1.0) > 0
        return knots[inside], (height + slope * knots + bends)[inside]
    knots = np.array([0.0, end])
    return knots, height + slope * knots


def _robust_line(x: Array, y: Array) -> tuple[float, float]:
    """Theil-Sen: the median of all slopes between binned medians, then the median height. Half the points may be wrong."""
    bin_x, bin_y = _bins(x, y, float(np.ptp(x)) / _BINS)
    rise, run = np.subtract.outer(bin_y, bin_y), np.subtract.outer(bin_x, bin_x)
    upper = np.triu_indices(len(bin_x), 1)
    slope = float(np.median(rise[upper] / run[upper])) if len(bin_x) > 1 else 0.0
    slope = slope if abs(slope) <= _STEEPEST else 0.0
    return slope, float(np.median(y - slope * x))


def _bins(x: Array, y: Array, width: float) -> tuple[Array, Array]:
    """Medians of x and y over bins of x."""
    order = np.argsort(x, kind="stable")
    x, y = x[order], y[order]
    number = np.floor((x - x[0]) / max(width, 1.0)).astype(np.int64)
    starts = np.flatnonzero(np.diff(number, prepend=-1))
    groups = zip(np.split(x, starts[1:]), np.split(y, starts[1:]), strict=True)
    medians = np.array([(float(np.median(one)), float(np.median(other))) for one, other in groups])
    return medians[:, 0], medians[:, 1]


def _spread(residuals: Array) -> float:
    """The standard deviation as the median absolute deviation tells it."""
    return 1.4826 * float(np.median(np.abs(residuals - np.median(residuals)))) if len(residuals) > 1 else 0.0


def _connections(fits: Sequence[_Fit]) -> list[list[_Fit]]:
    """Groups of Epochs that overlap in time, directly or through others: the tracks of one connection."""
    groups: list[list[_Fit]] = []
    end_ns = -1
    for fit in sorted(fits, key=lambda one: one.epoch.first_arrival_ns):
        if groups and fit.epoch.first_arrival_ns <= end_ns:
            groups[-1].append(fit)
        else:
            groups.append([fit])
        end_ns = max(end_ns, fit.epoch.last_arrival_ns)
    return groups


def _onto_session(group: Sequence[_Fit]) -> list[TimedEpoch]:
    """Moves clocks that agree with one another onto the session's by the least delay of any of their packets."""
    base = group[0].base_ns
    own = np.concatenate([np.interp(fit.epoch.ticks, fit.knots, fit.values_ns) + (fit.base_ns - base) for fit in group])
    delays = np.concatenate([fit.delays() for fit in group])
    # delays are relative to each fit's own base, and so are the times: the sum is the arrival in every case.
    drift, floor = _floor(own, delays)
    timed = []
    for fit in group:
        relative = fit.values_ns + (fit.base_ns - base)
        values = fit.values_ns + (relative * drift)
        spread = fit.spread_ns if fit.reports else _spread(fit.delays())
        offset = fit.base_ns + round(floor)
        clock = EpochClock(fit.knots, values, offset, spread, fit.reports, round(floor) if fit.reports else None)
        timed.append(TimedEpoch(fit.epoch, clock))
    return timed


def _floor(own: Array, delays: Array) -> tuple[float, float]:
    """Drift and least delay: the line below all (time, delay) points. Level for short spans."""
    if np.ptp(own) < _DRIFT_SPAN_NS:
        return 0.0, float(delays.min())
    number = np.floor((own - own.min()) / _DRIFT_BIN_NS).astype(np.int64)
    least = np.full(int(number.max()) + 1, np.inf)
    np.minimum.at(least, number, delays)
    seen = np.flatnonzero(np.isfinite(least))
    drift, _ = _robust_line(own.min() + (seen + 0.5) * _DRIFT_BIN_NS, least[seen])
    return drift, float((delays - drift * own).min())
