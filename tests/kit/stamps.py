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


def repeated_packets(file: Path) -> int:
    """How many coded pictures hold the very bytes of another one; each has its own frame number, so honest files have none."""
    with av.open(str(file)) as container:
        coded = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    return len(coded) - len(set(coded))


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

    The sound clock stands in the picture, and beeps begin at whole multiples of 2 s of it: the nearest beep that was
    heard dates the picture.
    """
    heard = np.array(beeps(sound(file)))
    if not len(heard):
        raise AssertionError(f"{file.name}: no beep was heard")
    errors = []
    for stamp in stamps(file):
        since_beep_s = (stamp.sound_ms % _BEEP_EVERY_MS) / 1000
        due = stamp.at_s - since_beep_s
        for candidate in (due, due + _BEEP_EVERY_MS / 1000):
            nearest = heard[np.argmin(np.abs(heard - candidate))]
            if abs(nearest - candidate) < _BEEP_EVERY_MS / 4000:
                errors.append((candidate - nearest) * 1000)
                break
    return np.array(errors)
