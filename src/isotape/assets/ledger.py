"""The ledger of a Track: every run of packets that is missing, exactly, and how exactly its time is known. Pure NumPy.

Before it: timeline.py. After it: sidecar.py. gaps say what a viewer lacks; the ledger says what the network or the server lost, packet by
packet, whether or not anything can be seen of it. Its runs add up to the `lost` of the packet counts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np

from isotape.assets.causes import NOTE_NEAR_NS, cause_of_loss
from isotape.assets.order import unwrap
from isotape.assets.packets import TrackLog
from isotape.assets.samples import Cause
from isotape.assets.timeline import TimedEpoch


@dataclass(frozen=True, slots=True)
class Loss:
    """Packets first..last (RTP sequence numbers, wrapping) of one SSRC that never came.

    after_ns and before_ns are the session times of the packets around them; the same one twice when nothing came behind them.
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
    for number in sorted({one.epoch.log for one in epochs}):
        mine = [one for one in epochs if one.epoch.log == number]
        found += _at_end(logs[number], max(mine, key=lambda one: one.epoch.last_arrival_ns))
    return tuple(sorted(found, key=lambda loss: (loss.after_ns, loss.ssrc, loss.first)))


def dropped_at_end(log: TrackLog) -> int:
    """Packets that the recorder itself dropped behind the last one it kept: only its own notes know of them, no sequence number does.

    A note may stand a moment later than the packets it counts, so what is missing shortly before the end is taken to be in the notes.
    """
    last_ns = int(log.packets["arrival_ns"].max())
    since_ns = last_ns - NOTE_NEAR_NS
    notes = [note for note in log.gap_notes if note.cause == Cause.SERVER and note.arrival_ns > since_ns]
    behind = sum(note.packets for note in notes if note.arrival_ns > last_ns)
    late = log.packets[log.packets["arrival_ns"] > since_ns]
    seen = [unwrap(late["sequence"][late["ssrc"] == ssrc], np.int16) for ssrc in np.unique(late["ssrc"])]
    missing = sum(int(np.ptp(numbers)) + 1 - len(np.unique(numbers)) for numbers in seen)
    return min(max(sum(note.packets for note in notes) - missing, 0), behind)


def _at_end(log: TrackLog, last: TimedEpoch) -> Iterator[Loss]:
    dropped = dropped_at_end(log)
    if dropped:
        number = int(last.epoch.sequence[-1])
        yield _loss(last.epoch.ssrc, number, number + dropped + 1, (last.end_ns, last.end_ns), Cause.SERVER)


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
