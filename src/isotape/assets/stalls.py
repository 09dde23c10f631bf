"""Puts back the time in which a sender's sound device stood still. Pure NumPy.

Before it: order.py. After it: timeline.py, which may then trust the ticks. A starved browser makes no sound for a while and counts no
samples for it: its RTP time stands, sequence numbers go on, and all later sound would be too early beside the pictures. The arrivals
show it as a step that stays. So does a network that slows down, which must not be taken for it: the sender's own reports or the other
Tracks of the same connection tell the two apart.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from isotape.assets.order import Epoch, Stall
from isotape.assets.packets import Array, TrackLog
from isotape.assets.reports import Reports, reports_of

NS_PER_MS = 1_000_000

# Chromium's sound jitters by a sawtooth of 10 ms when nothing is wrong (docs/measured.md); sync may be off by 40 ms.
_LEAST_NS = 25 * NS_PER_MS
# A sender report's own error is up to 10 ms either way, so half of a step is proof enough beside the arrivals.
_PROVEN = 0.5
# Without reports on both sides the other Tracks must not have become later by more than this part of the step.
_DOUBTFUL = 0.25
# With neither reports nor another Track to ask, only what no network's queue holds for long is a stall.
_UNPROVEN_NS = 1000 * NS_PER_MS
_BIN_NS = 250 * NS_PER_MS
# A step stays for at least four bins, 1 s; it is measured against the ten seconds before it, in which no clock drifts visibly.
_STAYS = 4
_LOOK_BACK = 40
_NEAR_NS = 10_000 * NS_PER_MS
# The step is where the means of so many packets on both sides differ most.
_SIDE = 8
# As many reports on either side speak, by their median.
_WITNESSES = 3


def heal(log: TrackLog, epoch: Epoch, others: Sequence[Epoch]) -> Epoch:
    """The Epoch with ticks that count the time in which the device stood still, and the list of these stalls.

    `others` are Epochs of other Tracks of the same peer; those that were received at the same time are asked about the network.
    """
    found: list[Stall] = []
    lateness = _lateness(epoch)
    reports = reports_of(log, epoch)
    bins = _Bins(epoch, lateness)
    begin = 0
    for step in bins.candidates():
        if step < begin:
            continue
        rise = bins.rise(begin, step)
        if rise <= _LEAST_NS:
            continue
        packet = bins.packet_of_step(begin, step, rise)
        stood_ns = _proven(rise, _reported_step(reports, epoch, packet), _network_share(others, bins, step))
        if stood_ns > _LEAST_NS:
            found.append(Stall(packet, round(stood_ns)))
            begin = bins.of(packet) + 1
    return _with_time_put_back(epoch, found)


class _Bins:
    """Arrivals in bins of time: the least lateness of each bin that holds packets."""

    def __init__(self, epoch: Epoch, lateness: Array) -> None:
        self.lateness = lateness
        self.arrivals = epoch.packets["arrival_ns"]
        number = (self.arrivals - self.arrivals.min()) // _BIN_NS
        self.numbers, self.rows = np.unique(number, return_inverse=True)
        self.least = np.full(len(self.numbers), np.inf)
        np.minimum.at(self.least, self.rows, lateness)

    def candidates(self) -> list[int]:
        """Bins from which on all is later than before."""
        count = len(self.least)
        if count <= _STAYS:
            return []
        ahead = np.lib.stride_tricks.sliding_window_view(self.least, _STAYS).min(axis=1)
        padded = np.concatenate((np.full(_LOOK_BACK, np.inf), self.least))
        behind = np.lib.stride_tricks.sliding_window_view(padded, _LOOK_BACK).min(axis=1)[: len(ahead)]
        with np.errstate(invalid="ignore"):
            return [int(step) for step in np.flatnonzero(ahead - behind > _LEAST_NS)]

    def rise(self, begin: int, step: int) -> float:
        """How much later the bins from `step` on are than those before it, not looking behind `begin`."""
        before = self.least[max(begin, step - _LOOK_BACK) : step]
        return float(self.least[step : step + _STAYS].min() - before.min()) if len(before) else 0.0

    def of(self, packet: int) -> int:
        return int(self.rows[packet])

    def packet_of_step(self, begin: int, step: int, rise: float) -> int:
        """The packet before which time stood still: where the means of both sides differ most, near a bin."""
        floor = float(self.least[max(begin, step - _LOOK_BACK) : step].min())
        low = np.flatnonzero(self.least[begin:step] <= floor + rise * _PROVEN)
        near = np.flatnonzero((self.rows >= begin + int(low[-1])) & (self.rows <= step))
        first, last = max(int(near[0]), 1), int(near[-1]) + 1
        clipped = np.clip(self.lateness, floor, floor + rise)
        total = np.concatenate(([0.0], np.cumsum(clipped)))
        at = np.arange(first, last)
        left, right = np.maximum(at - _SIDE, 0), np.minimum(at + _SIDE, len(clipped))
        steps = (total[right] - total[at]) / (right - at) - (total[at] - total[left]) / (at - left)
        return int(at[np.argmax(steps)])

    def time(self, number: int) -> tuple[int, int]:
        """First and last arrival (ns) of the bins in which a step that begins with bin `number` must stay."""
        start = int(self.arrivals.min()) + int(self.numbers[number]) * _BIN_NS
        end = int(self.arrivals.min()) + (int(self.numbers[min(number + _STAYS, len(self.numbers)) - 1]) + 1) * _BIN_NS
        return start, end


def _lateness(epoch: Epoch) -> Array:
    """By how many ns each packet arrives later than the first one's arrival and its ticks say."""
    elapsed = (epoch.ticks - epoch.ticks[0]) * (1e9 / epoch.rate)
    lateness: Array = (epoch.packets["arrival_ns"] - epoch.packets["arrival_ns"][0]) - elapsed
    return lateness


def _proven(rise: float, reported: float | None, network: float | None) -> float:
    """The part of a rise that is the sender's: 0 when its reports or its other Tracks say that the network slowed down."""
    if reported is None and network is None:
        return rise if rise > _UNPROVEN_NS else 0.0
    if reported is None:
        return rise - network if network is not None and network <= rise * _DOUBTFUL else 0.0
    if reported < rise * _PROVEN:
        return 0.0
    seen = rise - (network or 0.0)
    return seen if abs(seen - reported) <= _LEAST_NS else reported


def _reported_step(reports: Reports, epoch: Epoch, packet: int) -> float | None:
    """The step of the sender's own clock at a packet, by its reports on both sides; None when a side has none."""
    offsets = (reports.ntp_ns - reports.ntp_ns[:1]) - (reports.ticks - epoch.ticks[0]) * (1e9 / epoch.rate)
    before = reports.arrivals < epoch.packets["arrival_ns"][packet]
    if before.all() or not before.any():
        return None
    return float(np.median(offsets[~before][:_WITNESSES]) - np.median(offsets[before][-_WITNESSES:]))


def _network_share(others: Sequence[Epoch], bins: _Bins, step: int) -> float | None:
    """How much above its best of these seconds the network was in the bins after a step, as other Tracks saw it."""
    start, end = bins.time(step)
    shares = [share for other in others if (share := _above_best(other, start, end)) is not None]
    return min(shares, default=None)


def _above_best(other: Epoch, start: int, end: int) -> float | None:
    arrivals = other.packets["arrival_ns"]
    near = np.flatnonzero((arrivals >= start - _NEAR_NS) & (arrivals <= end + _NEAR_NS))
    lateness = arrivals[near] - other.ticks[near] * (1e9 / other.rate)
    inside = (arrivals[near] >= start) & (arrivals[near] <= end)
    return float(lateness[inside].min() - lateness.min()) if inside.any() else None


def _with_time_put_back(epoch: Epoch, stalls: Sequence[Stall]) -> Epoch:
    ticks = epoch.ticks.copy()
    for stall in stalls:
        ticks[stall.packet :] += round(stall.ns * epoch.rate / 1e9)
    return replace(epoch, ticks=ticks, stalls=tuple(stalls))
