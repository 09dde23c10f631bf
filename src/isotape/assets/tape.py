"""The audio line while it grows: real packets and the Opus packets that hold the place of what is missing. Pure.

sound.py decides what comes next; here is how silence and concealment are made. Nothing is decoded.
"""

from dataclasses import dataclass, field

import numpy as np

from isotape.assets.packets import Array
from isotape.assets.samples import KEY_FRAME, LITERAL, PACKET_REF, SAMPLE, Cause, Filler, Literals, TrackRows

# Opus silence: one full-band CELT frame that decodes to exact zero in libopus and FFmpeg (RFC 6716 section 3.1). Samples and TOC, mono.
_SILENCE = ((960, 0xF8), (480, 0xF0), (240, 0xE8), (120, 0xE0))
_SILENCE_BODY = b"\xff\xfe"
STEREO = 0x04
# The kind of filler that lets the decoder go on from the sound before.
CONCEALED = "concealed"
# The shortest Opus frame, 2.5 ms at 48 kHz.
LEAST = 120
# Samples of one frame by the TOC's configuration (RFC 6716 table 2): SILK, hybrid, CELT.
_FRAME = [480, 960, 1920, 2880] * 3 + [480, 960] * 2 + [120, 240, 480, 960] * 4


@dataclass(slots=True)
class Tape:
    """Packets one behind another; `end` is the length so far in samples."""

    channels: int
    literals: Literals
    end: int = 0
    fillers: list[Filler] = field(default_factory=list)
    _refs: list[Array] = field(default_factory=list)
    _durations: list[Array] = field(default_factory=list)
    _flags: list[Array] = field(default_factory=list)

    def add(self, refs: Array, durations: Array) -> None:
        """Real packets."""
        self._append(refs, durations, KEY_FRAME)

    def silence(self, length: int, kind: str) -> None:
        """Silence of `length` samples, rounded to the nearest 2.5 ms."""
        start, packets = self.end, 0
        left = round_to_frame(length)
        for duration, toc in _SILENCE:
            count, left = divmod(left, duration)
            self._repeat(bytes([toc | (STEREO if self.channels == 2 else 0)]) + _SILENCE_BODY, duration, count)
            packets += count
        self._state(start, kind, packets)

    def conceal(self, length: int, toc: int) -> None:
        """Packets without a body: the decoder goes on from the sound before. A remainder is silence."""
        start, frame = self.end, _FRAME[toc >> 3]
        self._repeat(bytes([toc & 0xFC]), frame, length // frame)
        self._state(start, CONCEALED, length // frame)
        self.silence(length % frame, Cause.LOST)

    def rows(self) -> TrackRows:
        """Everything so far, for the core."""
        durations = np.concatenate(self._durations)
        samples = np.zeros(len(durations), SAMPLE)
        samples["first"], samples["count"] = np.arange(len(durations)), 1
        samples["flags"] = np.concatenate(self._flags)
        samples["pts"], samples["duration"] = np.cumsum(durations) - durations, durations
        return TrackRows(np.concatenate(self._refs), samples)

    def _repeat(self, content: bytes, duration: int, count: int) -> None:
        refs = np.full(count, np.array(self.literals.ref(content), PACKET_REF)) if count else np.zeros(0, PACKET_REF)
        self._append(refs, np.full(count, duration), KEY_FRAME | LITERAL)

    def _append(self, refs: Array, durations: Array, flags: int) -> None:
        self._refs.append(refs)
        self._durations.append(durations.astype(np.int64))
        self._flags.append(np.full(len(refs), flags))
        self.end += int(durations.sum())

    def _state(self, start: int, kind: str, packets: int) -> None:
        if packets:
            self.fillers.append(Filler(start, self.end - start, kind, packets))


def round_to_frame(length: int) -> int:
    """The nearest length that Opus frames can make, not below 0."""
    return max(length + LEAST // 2, 0) // LEAST * LEAST
