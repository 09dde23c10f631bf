"""Reads the content that stamped_devices.js put into pictures and sound, out of a finished and decoded file."""

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

_COLUMNS = 16
_PROOF = 0xAAAA
_BEEP_HZ = 3000
_RATE = 48_000
_BEEP_EVERY_MS = 2000
# The sound clock moves in blocks of 10 ms.
_RAN_ON_MS = 20
# A window of 5 ms holds 15 periods of the beep: enough to see it begin, short enough to say when.
_WINDOW = 240


@dataclass(frozen=True, slots=True)
class Stamp:
    """One readable picture: when the file shows it, whose it is, its number (mod 4096), two clocks of its page (ms, mod 65536)."""

    at_s: float
    peer: int
    counter: int
    sound_ms: int
    page_ms: int
    width: int


def pictures(file: Path) -> list[Stamp | None]:
    """The stamp of every decoded picture in order of display; None for one that carries none (black, placeholder)."""
    with av.open(str(file)) as container:
        return [_read(frame.to_ndarray(format="gray"), float(frame.time)) for frame in container.decode(video=0)]


def stamps(file: Path) -> list[Stamp]:
    """Those that carry a stamp."""
    return [stamp for stamp in pictures(file) if stamp is not None]


def _read(gray: NDArray[np.uint8], at_s: float) -> Stamp | None:
    height, width = gray.shape
    rows = [_bits(gray, height, width, row) for row in range(4)]
    if rows[3] != _PROOF:
        return None
    return Stamp(at_s, rows[0] >> 12, rows[0] & 0xFFF, rows[1], rows[2], width)


def _bits(gray: NDArray[np.uint8], height: int, width: int, row: int) -> int:
    y = int((row + 0.5) * height / 6)
    value = 0
    for column in range(_COLUMNS):
        x = int((column + 0.5) * width / _COLUMNS)
        value = value << 1 | int(gray[y - 2 : y + 3, x - 2 : x + 3].mean() > 128)
    return value


def sound(file: Path) -> NDArray[np.float32]:
    """The sound as whoever ignores timestamps hears it: mono samples at 48 kHz, one decoded frame after the other."""
    with av.open(str(file)) as container:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=_RATE)
        frames = [out.to_ndarray()[0] for frame in container.decode(audio=0) for out in resampler.resample(frame)]
    return np.concatenate(frames) if frames else np.zeros(0, np.float32)


def beeps(samples: NDArray[np.float32]) -> list[float]:
    """Seconds at which a 3 kHz beep begins."""
    count = len(samples) // _WINDOW
    windows = samples[: count * _WINDOW].reshape(count, _WINDOW)
    turn = np.exp(-2j * np.pi * _BEEP_HZ * np.arange(_WINDOW) / _RATE)
    loud = np.abs(windows @ turn) / _WINDOW > 0.1
    starts = np.flatnonzero(loud & ~np.concatenate([[False], loud[:-1]]))
    # A beep of 100 ms fills twenty windows; a lone loud one is a click.
    return [float(start) * _WINDOW / _RATE for start in starts if loud[start : start + 15].all()]


def loudest_hz(samples: NDArray[np.float32]) -> float:
    """The strongest pitch below the beep."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    pitches = np.fft.rfftfreq(len(samples), 1 / _RATE)
    return float(pitches[np.argmax(np.where((pitches > 100) & (pitches < 2500), spectrum, 0))])


def av_errors_ms(file: Path) -> NDArray[np.float64]:
    """For each stamped picture: how much later the file shows it than it plays the sound of the same instant (ms).

    The sound clock stands in the picture, and beeps begin at whole multiples of 2 s of it: the nearest beep dates the picture, unless the
    page's clock says that the sound clock stood still between the two.
    """
    heard = np.array(beeps(sound(file)))
    if not len(heard):
        raise AssertionError(f"{file.name}: no beep was heard")
    found = stamps(file)
    stood_ms = _stood_ms(found)
    stood_at_beep = stood_ms[np.abs(np.subtract.outer(heard, [stamp.at_s for stamp in found])).argmin(axis=1)]
    errors = []
    for stamp, stood in zip(found, stood_ms, strict=True):
        due = stamp.at_s - (stamp.sound_ms % _BEEP_EVERY_MS) / 1000
        for candidate in (due, due + _BEEP_EVERY_MS / 1000):
            nearest = int(np.argmin(np.abs(heard - candidate)))
            near = abs(heard[nearest] - candidate) < _BEEP_EVERY_MS / 4000
            if near and abs(stood - stood_at_beep[nearest]) < _RAN_ON_MS:
                errors.append((candidate - heard[nearest]) * 1000)
                break
    return np.array(errors)


def stalled_ms(file: Path) -> float:
    """For how long (ms) the sound clock stood still between the first stamped picture and the last, by the page's clock."""
    stood_ms = _stood_ms(stamps(file))
    return float(stood_ms[-1] - stood_ms[0])


def stood_most_ms(file: Path) -> float:
    """The widest that the page's clock and the sound clock drew apart (ms). A busy machine makes no sound for a while."""
    stood_ms = _stood_ms(stamps(file))
    return float(stood_ms.max() - stood_ms.min())


def _stood_ms(found: list[Stamp]) -> NDArray[np.int64]:
    """How far the sound clock is behind the page's at each picture, from any zero; both wrap at 16 bits."""
    behind = np.array([stamp.page_ms - stamp.sound_ms for stamp in found], np.int64).astype(np.int16)
    return np.concatenate(([np.int64(0)], np.cumsum(np.diff(behind).astype(np.int64))))
