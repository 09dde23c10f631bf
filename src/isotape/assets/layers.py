"""Which simulcast layer the file follows: the highest one that was alive, changed only at key frames. Pure NumPy.

Before it: pictures.py with the frames of each SSRC. After it: pictures.py again, which lays the chosen pieces one behind another. A Track
that was sent once has one SSRC at a time and passes through unchanged.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from isotape.assets.frames import Frames
from isotape.assets.packets import Array

NS_PER_MS = 1_000_000

# A camera sends 30 pictures a second and a muted one 1; a layer without any for this long was switched off by its sender.
_ALIVE_NS = 1_100 * NS_PER_MS
# Standing still for so long is less of a loss than a smaller picture for seconds.
_PATIENCE_NS = 500 * NS_PER_MS
# A higher layer that lasts less than this is not worth two changes of size.
_WORTH_NS = 1_000 * NS_PER_MS


@dataclass(frozen=True, slots=True)
class _Layer:
    """One SSRC. keys and ends are times: of its key frames, and of the last frame before it fell silent (or its end)."""

    frames: Frames
    pixels: int
    keys: Array
    ends: Array

    def next_key(self, moment: int) -> int | None:
        at = int(np.searchsorted(self.keys, moment))
        return int(self.keys[at]) if at < len(self.keys) else None

    def last_key(self, after: int, until: int) -> int | None:
        """The last key frame in after < time <= until."""
        at = int(np.searchsorted(self.keys, until, side="right")) - 1
        return int(self.keys[at]) if at >= 0 and self.keys[at] > after else None

    def alive_until(self, moment: int) -> int:
        """When a layer that is alive at a moment falls silent."""
        return int(self.ends[np.searchsorted(self.ends, moment)])


def follow(all_frames: Sequence[Frames]) -> list[Frames]:
    """The frames of a Track in order of time, those of simulcast layers cut into the pieces that the file shows."""
    found: list[Frames] = []
    for group in _together(all_frames):
        layers = [layer for frames in group if (layer := _layer(frames)) is not None]
        found += list(_pieces(layers)) if len(layers) > 1 else group
    return found


def _together(all_frames: Sequence[Frames]) -> list[list[Frames]]:
    """Frames of one journal whose times overlap: layers of each other."""
    groups: list[list[Frames]] = []
    until = 0
    for frames in sorted(all_frames, key=lambda one: int(one.session_ns[0])):
        mine = groups and groups[-1][0].timed.epoch.log == frames.timed.epoch.log
        if mine and int(frames.session_ns[0]) < until:
            groups[-1].append(frames)
            until = max(until, int(frames.session_ns[-1]))
        else:
            groups.append([frames])
            until = int(frames.session_ns[-1])
    return groups


def _layer(frames: Frames) -> _Layer | None:
    """None when nothing of it can be decoded."""
    if not frames.kept.any():
        return None
    times = frames.session_ns[frames.kept]
    silent = np.flatnonzero(np.diff(times) > _ALIVE_NS)
    return _Layer(
        frames=frames,
        pixels=int(frames.sizes[frames.kept].astype(np.int64).prod(axis=1).max()),
        keys=frames.session_ns[frames.kept & frames.key],
        ends=np.append(times[silent], times[-1]),
    )


def _pieces(layers: Sequence[_Layer]) -> Iterator[Frames]:
    """One piece after another, each beginning with a key frame of its layer."""
    moment = min(int(layer.keys[0]) for layer in layers)
    current = max((layer for layer in layers if layer.keys[0] == moment), key=lambda layer: layer.pixels)
    while True:
        change = _next_change(layers, current, moment)
        if change is None:
            yield _cut(current.frames, moment, None)
            return
        following, at = change
        yield _cut(current.frames, moment, at)
        current, moment = following, at


def _next_change(layers: Sequence[_Layer], current: _Layer, since: int) -> tuple[_Layer, int] | None:
    """The layer to change to, and the time of the key frame at which: up as soon as one is worth it, else when this one falls silent."""
    end = current.alive_until(since)
    while True:
        upward = [change for layer in layers if (change := _upward(layer, current, since, end)) is not None]
        if upward:
            return min(upward, key=lambda change: (change[1], -change[0].pixels))
        others = [layer for layer in layers if layer is not current]
        if (change := _downward(others, since, end)) is not None:
            return change
        if end == int(current.ends[-1]):
            return None
        end = current.alive_until(end + 1)


def _upward(layer: _Layer, current: _Layer, since: int, end: int) -> tuple[_Layer, int] | None:
    if layer.pixels <= current.pixels:
        return None
    key = layer.next_key(since + 1)
    while key is not None and key <= end:
        if layer.alive_until(key) - key >= _WORTH_NS:
            return layer, key
        key = layer.next_key(key + 1)
    return None


def _downward(others: Sequence[_Layer], since: int, end: int) -> tuple[_Layer, int] | None:
    """After the end of a layer: the best one with a key frame soon; else the best that was alive then, from its last key frame on."""
    soon = [(layer, key) for layer in others if (key := layer.next_key(end + 1)) is not None]
    near = [(layer, key) for layer, key in soon if key - end <= _PATIENCE_NS]
    if near:
        return max(near, key=lambda change: change[0].pixels)
    earlier = [(layer, key) for layer in others if (key := layer.last_key(since, end)) is not None]
    lasting = [(layer, key) for layer, key in earlier if layer.alive_until(key) > end + _PATIENCE_NS]
    if lasting:
        return max(lasting, key=lambda change: change[0].pixels)
    return None


def _cut(frames: Frames, since: int, until: int | None) -> Frames:
    """The frames of since <= time < until, those that cannot be decoded among them too."""
    times = frames.session_ns
    start = int(np.searchsorted(times, since))
    stop = len(times) if until is None else int(np.searchsorted(times, until))
    part = slice(start, stop)
    # What is missing before a piece's key frame is missing from no picture of the piece.
    ahead, lacking = frames.ahead[part].copy(), frames.lacking[part].copy()
    lacking[:1] -= ahead[:1]
    ahead[:1] = 0
    return replace(
        frames,
        first=frames.first[part],
        count=frames.count[part],
        key=frames.key[part],
        sizes=frames.sizes[part],
        whole=frames.whole[part],
        corrupt=frames.corrupt[part],
        ahead=ahead,
        lacking=lacking,
        arrivals=frames.arrivals[part],
        session_ns=frames.session_ns[part],
        kept=frames.kept[part],
    )
