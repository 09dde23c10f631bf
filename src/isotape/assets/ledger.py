"""The ledger of a Track: every run of packets that is missing, exactly, and how exactly its time is known. Pure NumPy.

Before it: timeline.py. After it: sidecar.py. gaps say what a viewer lacks; the ledger says what the network or the server lost, packet by
packet, whether or not anything can be seen of it. Its runs add up to the `lost` of the packet counts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np

from isotape.assets.causes import cause_of_loss
from isotape.assets.packets import TrackLog
from isotape.assets.samples import Cause
from isotape.assets.timeline import TimedEpoch


@dataclass(frozen=True, slots=True)
class Loss:
    """Packets first..last (RTP sequence numbers, wrapping) of one SSRC that never came.

    after_ns and before_ns are the session times of the packets around them.
    """

    ssrc: int
    first: int
    last: int
    packets: int
    after_ns: int
    before_ns: int
    cause: Cause


def losses(logs: Sequence[TrackLog], epochs: Sequence[TimedEpoch]) -> tuple[Loss, ...]:
    """All runs of missing packets of some Epochs, in order of time."""
    by_sender = sorted(epochs, key=lambda one: (_sender(one), int(one.epoch.sequence[0])))
    found: list[Loss] = []
    for (log, _), group in groupby(by_sender, key=_sender):
        whole = list(group)
        for timed in whole:
            found += _within(logs[log], timed)
        for before, after in pairwise(whole):
            found += _between(logs[log], before, after)
    return tuple(sorted(found, key=lambda loss: (loss.after_ns, loss.ssrc, loss.first)))


def _sender(timed: TimedEpoch) -> tuple[int, int]:
    return timed.epoch.log, timed.epoch.ssrc


def _within(log: TrackLog, timed: TimedEpoch) -> Iterator[Loss]:
    epoch = timed.epoch
    rows = np.flatnonzero(np.diff(epoch.sequence) > 1)
    before, after = timed.clock.session_ns(epoch.ticks[rows]), timed.clock.session_ns(epoch.ticks[rows + 1])
    for row, after_ns, before_ns in zip(rows.tolist(), before.tolist(), after.tolist(), strict=True):
        arrivals = int(epoch.packets["arrival_ns"][row]), int(epoch.packets["arrival_ns"][row + 1])
        cause = cause_of_loss(log, *arrivals)
        yield _loss(epoch.ssrc, epoch.sequence[row], epoch.sequence[row + 1], (after_ns, before_ns), cause)


def _between(log: TrackLog, before: TimedEpoch, after: TimedEpoch) -> Iterator[Loss]:
    last, first = before.epoch.sequence[-1], after.epoch.sequence[0]
    if first - last > 1:
        cause = cause_of_loss(log, before.epoch.last_arrival_ns, after.epoch.first_arrival_ns)
        yield _loss(before.epoch.ssrc, last, first, (before.end_ns, after.start_ns), cause)


def _loss(ssrc: int, last_before: int, first_after: int, moments_ns: tuple[int, int], cause: Cause) -> Loss:
    first, last = int(last_before) + 1, int(first_after) - 1
    return Loss(ssrc, first % 65_536, last % 65_536, last - first + 1, *moments_ns, cause)
