"""What is sent and recorded in every measurement: 20 s of 720p at 2 Mbit/s and of Opus, looped."""

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np

from tests.kit.media import ENCODERS, OPTIONS, tone
from tests.kit.publisher import Json, write_clip

WIDTH, HEIGHT, FPS = 1280, 720, 30
ROUND_S = 20
PACKET_S = 0.02
_BITS_PER_S = 2_000_000
# A moving square of fresh noise is all that costs bits; its size makes both encoders hold the rate.
_SQUARE = 176
_NOISE = 40


@cache
def pictures(codec: str) -> Sequence[bytes]:
    """Encoded pictures with one key frame a round, as a browser sends them when nobody asks for more."""
    encoder = av.CodecContext.create(ENCODERS[codec], "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, FPS), Fraction(FPS)
    encoder.gop_size, encoder.max_b_frames = ROUND_S * FPS, 0
    encoder.bit_rate = _BITS_PER_S
    rate = str(_BITS_PER_S)
    encoder.options = {**OPTIONS[codec], "minrate": rate, "maxrate": rate, "bufsize": rate}
    packets = []
    for number in range(ROUND_S * FPS):
        frame = av.VideoFrame.from_ndarray(_picture(number), format="yuv420p")
        frame.pts = number
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    return [bytes(packet) for packet in packets if packet.size]


def _picture(number: int) -> np.ndarray:
    picture = np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8)
    picture[:HEIGHT] = (np.arange(HEIGHT)[:, None] + np.arange(WIDTH)) % 180 + 30
    noise = np.random.default_rng(number).integers(0, _NOISE, (_SQUARE, _SQUARE))
    left = number * 5 % (WIDTH - _SQUARE)
    picture[200 : 200 + _SQUARE, left : left + _SQUARE] += noise.astype(np.uint8)
    return picture


def sounds() -> Sequence[bytes]:
    return tone(ROUND_S)


def looping_clips(folder: Path, codec: str) -> dict[str, Json]:
    """`start` fields of a picture and a sound track that go on until they are stopped."""
    picture = write_clip(folder / f"{codec}.clip", codec, pictures(codec), 1 / FPS)
    sound = write_clip(folder / "opus.clip", "opus", sounds(), PACKET_S)
    return {"video": {"file": str(picture), "loop": True}, "audio": {"file": str(sound), "loop": True}}
