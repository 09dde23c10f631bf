"""What the lab's peers send: a camera and a microphone as endless clips in which no two packets are equal, so that bytes name a packet.

Before it: nothing. After it: run.py, whose peers send it, and content.py, which finds each frame again.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np

from tests.kit import media
from tests.kit.packetise import PACKETISERS
from tests.kit.publisher import SentPacket, write_clip

_CLIP_S = 4
_FPS = 30
_FRAME_S, _PACKET_S = 1 / _FPS, media.PACKET_SAMPLES / 48_000
# Width and height from this rate (kbit/s) on. A picture that is too large for its rate is the one before it again, byte for byte.
_SIZES = {500: (640, 360), 0: (256, 144)}


@dataclass(frozen=True)
class Footage:
    """Frames of one source and the clip file with them. `named` gives a frame's number by the SHA-256 of a payload that only it has."""

    codec: str
    frames: tuple[bytes, ...]
    clip: Path
    named: dict[str, int]

    @property
    def rate(self) -> int:
        """Of the RTP clock."""
        return 48_000 if self.codec == "opus" else media.VIDEO_CLOCK


@dataclass(frozen=True)
class SentFrame:
    """A frame as it left: its bytes, RTP time, and the places of its packets in the order of sending."""

    data: bytes
    timestamp: int
    places: range
    key: bool


def camera(folder: Path, codec: str, kbps: int) -> Footage:
    """Moving noise at about this rate, a key frame each second."""
    width, height = next(size for least, size in _SIZES.items() if kbps >= least)
    pictures = media.video(codec, width, height, _CLIP_S * _FPS, bit_rate=kbps * 1000)
    frames = tuple(picture.data for picture in pictures)
    return _footage(folder / f"{codec}-{kbps}.clip", codec, frames, _FRAME_S)


def microphone(folder: Path) -> Footage:
    """Noise, Opus of 20 ms."""
    return _footage(folder / "opus.clip", "opus", _hiss(), _PACKET_S)


def sent_frames(footage: Footage, sent: list[SentPacket]) -> list[SentFrame]:
    """The frames that these packets were cut from. The last one may lack packets that were not sent any more."""
    starts = [at for at, one in enumerate(sent) if not at or one.timestamp != sent[at - 1].timestamp]
    found = []
    for start, stop in zip(starts, [*starts[1:], len(sent)], strict=True):
        number = next(footage.named[one.sha256] for one in sent[start:stop] if one.sha256 in footage.named)
        is_key = footage.codec == "opus" or number % _FPS == 0
        found.append(SentFrame(footage.frames[number], sent[start].timestamp, range(start, stop), is_key))
    return found


def _footage(path: Path, codec: str, frames: tuple[bytes, ...], frame_s: float) -> Footage:
    payloads = [
        (hashlib.sha256(one).hexdigest(), at) for at, data in enumerate(frames) for one in PACKETISERS[codec](data)
    ]
    often = Counter(name for name, _ in payloads)
    named = {name: at for name, at in payloads if often[name] == 1}
    assert set(named.values()) == set(range(len(frames))), f"{codec}: a frame has no packet of its own"
    return Footage(codec, frames, write_clip(path, codec, frames, frame_s), named)


@cache
def _hiss() -> tuple[bytes, ...]:
    encoder = av.CodecContext.create("libopus", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = 48_000, "mono", "s16"
    encoder.bit_rate, encoder.time_base = 48_000, Fraction(1, 48_000)
    noise = np.random.default_rng(1)
    packets = []
    for number in range(round(_CLIP_S / _PACKET_S)):
        wave = (noise.standard_normal(media.PACKET_SAMPLES) * 3000).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(wave[None, :], format="s16", layout="mono")
        frame.sample_rate, frame.pts = 48_000, number * media.PACKET_SAMPLES
        packets += encoder.encode(frame)
    return tuple(bytes(packet) for packet in packets)
