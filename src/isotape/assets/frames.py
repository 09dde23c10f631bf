"""Finds the whole pictures of an Asset among its packets. Pure NumPy.

Before it: timeline.py. After it: layers.py, which chooses among simulcast layers, and pictures.py, which shows them.
A frame with a hole in it is left out and stated; later ones are kept. Decoding begins at a key frame, so what comes before the first
one of a sender is left out and stated too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from isotape.assets.packets import ENDS_FRAME, MARKER, STARTS_FRAME, STARTS_KEY_FRAME, UNPARSABLE, Array
from isotape.assets.timeline import TimedEpoch


@dataclass(frozen=True, slots=True)
class Frames:
    """The frames of one Epoch. first and count are rows of `packets` (those with a payload); lacking counts packets missing in sequence
    since the frame before, those ahead of its first packet included; sizes are width and height that each shows, 0 where it shows none."""

    timed: TimedEpoch
    packets: Array
    first: Array
    count: Array
    key: Array
    sizes: Array
    whole: Array
    corrupt: Array
    ahead: Array
    lacking: Array
    arrivals: Array
    session_ns: Array
    kept: Array


def frames_of(epochs: Sequence[TimedEpoch]) -> list[Frames]:
    """The frames of each Epoch of one codec, with those marked that can be decoded."""
    found: list[Frames] = []
    for timed in epochs:
        frames = _frames(timed)
        if frames is None:
            continue
        goes_on = bool(found) and same_sender(found[-1].timed, timed) and bool(found[-1].kept.any())
        begin = 0 if goes_on else _first_key(frames)
        frames.kept[:] = frames.whole
        frames.kept[:begin] = False
        found.append(frames)
    return found


def first_picture(all_frames: Sequence[Frames]) -> int | None:
    """Session time of the first frame that is kept."""
    return min((int(frames.session_ns[frames.kept][0]) for frames in all_frames if frames.kept.any()), default=None)


def main_codec(epochs: Sequence[TimedEpoch]) -> int | None:
    """The codec of most packets: a file holds one codec, and this keeps the most of the recording."""
    sizes: dict[int, int] = {}
    for timed in epochs:
        if timed.epoch.codec:
            sizes[timed.epoch.codec] = sizes.get(timed.epoch.codec, 0) + len(timed.epoch.ticks)
    return max(sizes, key=lambda codec: sizes[codec], default=None)


def same_sender(before: TimedEpoch, after: TimedEpoch) -> bool:
    """Whether two Epochs are of one SSRC of one journal."""
    return (before.epoch.log, before.epoch.ssrc) == (after.epoch.log, after.epoch.ssrc)


def _first_key(frames: Frames) -> int:
    """A decoder needs the parameter sets too; a key frame that shows its size has them."""
    keys = frames.key & frames.whole
    sized = keys & (frames.sizes[:, 0] > 0)
    found = np.flatnonzero(sized if sized.any() else keys)
    return int(found[0]) if len(found) else len(frames.first)


def _frames(timed: TimedEpoch) -> Frames | None:
    """Groups packets of one RTP time; a frame is whole when nothing is missing from its start to its end."""
    epoch = timed.epoch
    filled = np.flatnonzero(epoch.packets["length"] > 0)
    if not len(filled):
        return None
    packets, ticks, flags = epoch.packets[filled], epoch.ticks[filled], epoch.packets["flags"][filled]
    # Counted over all packets, so that probes without payload are no holes.
    missing = np.cumsum(np.diff(epoch.sequence, prepend=epoch.sequence[0] - 1) - 1)[filled]
    first = np.flatnonzero(np.diff(ticks, prepend=ticks[0] - 1))
    last = np.append(first[1:], len(ticks)) - 1
    before = np.diff(missing[first], prepend=missing[0]) - np.concatenate(([0], (missing[last] - missing[first])[:-1]))
    inside = missing[last] - missing[first]
    after = np.append(before[1:], 1)
    known_start = np.concatenate(([False], before[1:] == 0))
    key = np.logical_or.reduceat(flags & STARTS_KEY_FRAME > 0, first)
    sizes = np.stack([np.maximum.reduceat(packets[side], first) for side in ("width", "height")], axis=1)
    starts = known_start | ((flags[first] & STARTS_FRAME > 0) & ~_beheaded(key, sizes, before))
    ends = (flags[last] & (MARKER | ENDS_FRAME) > 0) | (after == 0)
    corrupt = np.logical_or.reduceat(flags & UNPARSABLE > 0, first)
    return Frames(
        timed=timed,
        packets=packets,
        first=first,
        count=last - first + 1,
        key=key,
        sizes=sizes,
        whole=starts & ends & (inside == 0) & ~corrupt,
        corrupt=corrupt,
        ahead=before,
        lacking=before + inside,
        arrivals=packets["arrival_ns"][first],
        session_ns=timed.clock.session_ns(ticks[first]),
        kept=np.zeros(len(first), bool),
    )


def _beheaded(key: Array, sizes: Array, before: Array) -> Array:
    """Key frames without the packet of their parameter sets: H264 has one of its own for these, and what follows looks whole."""
    sized = sizes[:, 0] > 0
    beheaded: Array = key & ~sized & (before > 0) & bool((key & sized).any())
    return beheaded
