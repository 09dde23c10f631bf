"""Why a hole is there: what mutes, seals and the recorder's own notes say about a stretch of time. Pure.

Before it: packets.py, whose notes it reads. After it: sound.py and pictures.py, which state a cause with every Gap.
"""

from collections.abc import Iterator, Sequence

from isotape.assets.order import Epoch
from isotape.assets.packets import TrackLog
from isotape.assets.samples import Cause

# The recorder notes an overflow within its own queue's length of the packets it concerns.
NOTE_NEAR_NS = 2_000_000_000
# Journals that the server itself ended while the peer would have gone on.
_RESTART_SEALS = frozenset({"recovered", "shutdown", "restart"})


def mutes_of(log: TrackLog, end_ns: int) -> Iterator[tuple[int, int]]:
    """Start and end (session ns) of each time the Track was muted; a mute that was never undone ends at `end_ns`."""
    since = _opened_ns(log) if log.meta.get("muted") else None
    for change in log.mutes:
        if change.muted and since is None:
            since = change.arrival_ns
        elif not change.muted and since is not None:
            yield since, change.arrival_ns
            since = None
    if since is not None:
        yield since, max(end_ns, since)


def muted_throughout(log: TrackLog) -> bool:
    """Whether no packet of the Track was sent unmuted: a camera that was never on."""
    if not len(log.packets):
        return True
    first, last = int(log.packets["arrival_ns"].min()), int(log.packets["arrival_ns"].max())
    return any(start <= first and end >= last for start, end in mutes_of(log, last))


def _opened_ns(log: TrackLog) -> int:
    """The Track was there, with its first mute state, before its first packet."""
    known = [change.arrival_ns for change in log.mutes] + [report.arrival_ns for report in log.reports]
    first = [int(log.packets["arrival_ns"].min())] if len(log.packets) else []
    return min(known + first, default=0)


def cause_of_loss(log: TrackLog, after_ns: int, until_ns: int) -> Cause:
    """Packets missing between two arrivals: lost on the way, unless the journal says that it could not keep or cannot read them."""
    for note in log.gap_notes:
        near = after_ns - NOTE_NEAR_NS <= note.arrival_ns <= until_ns + NOTE_NEAR_NS
        if near and note.cause in (Cause.SERVER, Cause.CORRUPT):
            return Cause(note.cause)
    return Cause.LOST


def cause_between(logs: Sequence[TrackLog], before: Epoch, after: Epoch) -> tuple[Cause, str]:
    """Why nothing was recorded between two Epochs, and a note for people."""
    ended, begun = logs[before.log], logs[after.log]
    if before.log == after.log and before.ssrc != after.ssrc:
        return Cause.PAUSED, "no layer could be shown"
    if before.log == after.log:
        return Cause.PAUSED, "the sender set its clock anew"
    restarted = any(note.cause == Cause.RESTART for note in ended.gap_notes)
    if restarted or ended.seal_reason in _RESTART_SEALS:
        return Cause.RESTART, "the server was away"
    last_ns = before.last_arrival_ns
    if any(start <= last_ns <= end for start, end in mutes_of(ended, last_ns)):
        return Cause.MUTED, ""
    if ended.meta.get("track_id") == begun.meta.get("track_id"):
        return Cause.LOST, "the connection broke and came back"
    return Cause.PAUSED, "the source was published anew"
