"""Real encoded media for tests: moving pictures and tones, from the encoders that browsers use or their relatives."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import av
import numpy as np

ENCODERS = {"H264": "libx264", "VP8": "libvpx", "VP9": "libvpx-vp9", "AV1": "libsvtav1"}
DECODERS = {"H264": "h264", "VP8": "vp8", "VP9": "vp9", "AV1": "libdav1d"}
OPTIONS = {
    "H264": {"profile": "baseline", "preset": "ultrafast", "tune": "zerolatency"},
    "VP8": {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"},
    "VP9": {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"},
    "AV1": {"preset": "11", "svtav1-params": "pred-struct=1:rc=0:crf=45"},
}
VIDEO_CLOCK = 90_000
FRAME_TICKS = 3_000  # 30 frames a second
PACKET_SAMPLES = 960  # 20 ms


@dataclass(frozen=True)
class Frame:
    """One encoded picture."""

    data: bytes
    key: bool


@cache
def video(
    codec: str, width: int, height: int, frames: int, key_every: int = 30, bit_rate: int = 2_000_000
) -> tuple[Frame, ...]:
    """Encoded pictures of moving noise and bars, no reordering, all of one size."""
    encoder = av.CodecContext.create(ENCODERS[codec], "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base = Fraction(1, 30)
    encoder.framerate = Fraction(30)
    encoder.gop_size, encoder.max_b_frames = key_every, 0
    if codec != "AV1":  # SVT-AV1 wants constant quality in its low-delay mode
        encoder.bit_rate = bit_rate
    encoder.options = OPTIONS[codec]
    packets = []
    with own_priority():
        for number in range(frames):
            picture = _picture(number, width, height)
            picture.pts = number
            packets += encoder.encode(picture)
        packets += encoder.encode(None)
    return tuple(Frame(bytes(packet), packet.is_keyframe) for packet in packets if packet.size)


@contextmanager
def own_priority() -> Iterator[None]:
    """SVT-AV1 gives the thread that opens it real-time priority as root, and leaves it: all other processes would stand still."""
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


def _picture(number: int, width: int, height: int) -> av.VideoFrame:
    rows = np.arange(height * 3 // 2)[:, None]
    columns = np.arange(width)[None, :]
    noise = np.random.default_rng(number).integers(0, 12, (height * 3 // 2, width))
    picture = ((rows + columns + number * 5) % 180 + 30 + noise).astype(np.uint8)
    return av.VideoFrame.from_ndarray(picture, format="yuv420p")


@cache
def tone(seconds: float, channels: int = 1, hertz: int = 440) -> tuple[bytes, ...]:
    """Opus packets of 20 ms with a steady tone."""
    encoder = av.CodecContext.create("libopus", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    layout = "mono" if channels == 1 else "stereo"
    encoder.sample_rate, encoder.layout, encoder.format = 48_000, layout, "s16"
    encoder.bit_rate, encoder.time_base = 48_000, Fraction(1, 48_000)
    packets = []
    for number in range(round(seconds * 50)):
        time = (np.arange(PACKET_SAMPLES) + number * PACKET_SAMPLES) / 48_000
        wave = np.repeat((np.sin(2 * np.pi * hertz * time) * 8000).astype(np.int16), channels)
        frame = av.AudioFrame.from_ndarray(wave[None, :], format="s16", layout=layout)
        frame.sample_rate, frame.pts = 48_000, number * PACKET_SAMPLES
        packets += encoder.encode(frame)
    return tuple(bytes(packet) for packet in packets)


def decode(codec: str, frames: Sequence[Frame]) -> list[np.ndarray]:
    """What a decoder shows for the encoded pictures, as planes of 4:2:0 in one array each."""
    decoder = av.CodecContext.create(DECODERS[codec], "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.thread_count = 1
    pictures = []
    for number, frame in enumerate(frames):
        packet = av.Packet(frame.data)
        packet.pts = packet.dts = number
        pictures += decoder.decode(packet)
    pictures += decoder.decode(None)
    return [picture.to_ndarray() for picture in pictures]


def decode_file(path: str) -> list[np.ndarray]:
    """What a player shows for the video track of a file."""
    with av.open(path) as container:
        container.streams.video[0].thread_type = "NONE"
        return [picture.to_ndarray() for picture in container.decode(video=0)]
