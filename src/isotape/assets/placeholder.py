"""Black key frames, which hold the picture's place until the camera comes: players mishear a file whose video starts late.

Before it: plan.py, which knows that the first picture is not at zero. After it: render.py, which puts the frame in. H264 frames are
drawn by the core for the very stream they precede; the others are encoded once for each codec and size.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import lru_cache

import av

from isotape import _core

_ENCODERS = {"VP8": "libvpx", "VP9": "libvpx-vp9", "AV1": "libsvtav1"}
_OPTIONS = {
    "VP8": {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"},
    "VP9": {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"},
    "AV1": {"preset": "12", "svtav1-params": "pred-struct=1:rc=0:crf=45:lp=1"},
}
# Black of 4:2:0 video in limited range (BT.601): luma 16, chroma 128.
_BLACK = (16, 128, 128)


def black_frame(codec: str, key_frame: bytes, width: int, height: int) -> bytes:
    """A black key frame of that size; the given key frame itself where no black one can be drawn for its stream."""
    if codec == "H264":
        return _core.black_key_frame(codec, key_frame) or key_frame
    return _encoded(codec, width, height) if width and height else key_frame


@lru_cache(maxsize=32)
def _encoded(codec: str, width: int, height: int) -> bytes:
    encoder = av.CodecContext.create(_ENCODERS[codec], "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, 30), Fraction(30)
    encoder.options = _OPTIONS[codec]
    picture = av.VideoFrame(width, height, "yuv420p")
    for plane, value in zip(picture.planes, _BLACK, strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    picture.pts = 0
    with _own_priority():
        return bytes([*encoder.encode(picture), *encoder.encode(None)][0])


@contextmanager
def _own_priority() -> Iterator[None]:
    """SVT-AV1 gives the thread that opens it real-time priority where it may, as root, and leaves it so: all others would stand still."""
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)
