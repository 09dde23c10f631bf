"""The sender reports that belong to an Epoch: what the sender's own clock said of its ticks. Pure NumPy.

Before it: order.py. After it: stalls.py and timeline.py.
"""

from dataclasses import dataclass

import numpy as np

from isotape.assets.order import Epoch
from isotape.assets.packets import Array, TrackLog

NS_PER_S = 1_000_000_000

# A report whose ticks are this far from those of the packet beside it belongs to the clock before or after, or to none: some senders
# report before they have sent anything.
_REPORT_OFF_NS = 5 * NS_PER_S


@dataclass(frozen=True, slots=True)
class Reports:
    """ticks (unwrapped as the Epoch's), the sender's time of each, and when it arrived. In order of arrival."""

    ticks: Array
    ntp_ns: Array
    arrivals: Array

    def __len__(self) -> int:
        return len(self.ticks)


def reports_of(log: TrackLog, epoch: Epoch) -> Reports:
    """Those of the Epoch's SSRC and time whose ticks fit."""
    earliest, latest = epoch.first_arrival_ns - _REPORT_OFF_NS, epoch.last_arrival_ns + _REPORT_OFF_NS
    mine = [one for one in log.reports if one.ssrc == epoch.ssrc and earliest <= one.arrival_ns <= latest]
    arrivals = np.array([report.arrival_ns for report in mine], np.int64)
    ntp_ns = np.array([report.ntp_ns for report in mine], np.int64)
    by_arrival = np.argsort(epoch.packets["arrival_ns"], kind="stable")
    # A report goes on from the packet before it, on the other side of a stall too.
    before = np.searchsorted(epoch.packets["arrival_ns"][by_arrival], arrivals) - 1
    packets = by_arrival[np.maximum(before, 0)]
    timestamps = np.array([report.timestamp for report in mine], np.uint32)
    distances = (timestamps - epoch.packets["timestamp"][packets]).view(np.int32).astype(np.int64)
    near = np.abs(distances) * (NS_PER_S / epoch.rate) < _REPORT_OFF_NS
    return Reports((epoch.ticks[packets] + distances)[near], ntp_ns[near], arrivals[near])
