"""The rows that the Rust core renders, and what the plan states about them: gaps and fillers. No decisions here.

sound.py and pictures.py fill these in; plan.py puts them together; sidecar.py writes them down.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from isotape.assets.packets import Array

# The layouts of crates/mux/src/plan.rs.
PACKET_REF = np.dtype([("file", "<u4"), ("length", "<u4"), ("offset", "<u8")])
SAMPLE = np.dtype(
    [
        ("first", "<u8"),
        ("count", "<u4"),
        ("flags", "<u4"),
        ("pts", "<i8"),
        ("duration", "<u4"),
        ("reserved", "<u4"),
    ]
)
LITERAL_FILE = 0xFFFF_FFFF
KEY_FRAME, LITERAL = 1, 2

AUDIO_RATE, VIDEO_RATE = 48_000, 90_000


class Cause(StrEnum):
    """Why a Track has a hole.

    lost: never arrived. muted: the peer muted it. paused: nothing was sent though nothing was lost. server: arrived and could not be
    kept. restart: the server was away. corrupt: kept, and unreadable.
    """

    LOST = "lost"
    MUTED = "muted"
    PAUSED = "paused"
    SERVER = "server"
    RESTART = "restart"
    CORRUPT = "corrupt"


@dataclass(frozen=True, slots=True)
class Gap:
    """A stated hole, in samples of 48 kHz from the start of the file. packets and frames are what is known to be missing."""

    start: int
    end: int
    cause: Cause
    packets: int = 0
    frames: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Filler:
    """Made-up samples that hold a place: silence, concealment of a loss, a black picture. In samples of 48 kHz."""

    start: int
    length: int
    kind: str
    packets: int


@dataclass(frozen=True, slots=True)
class TrackRows:
    """One track for the core: packets (PACKET_REF) and samples (SAMPLE) that are runs of them."""

    packets: Array
    samples: Array


@dataclass(slots=True)
class Literals:
    """Bytes that stand in no journal; equal ones are kept once."""

    data: bytearray = field(default_factory=bytearray)
    _places: dict[bytes, int] = field(default_factory=dict)

    def ref(self, content: bytes) -> tuple[int, int, int]:
        """A PACKET_REF of the bytes."""
        place = self._places.get(content)
        if place is None:
            place = self._places[content] = len(self.data)
            self.data += content
        return LITERAL_FILE, len(content), place


@dataclass(frozen=True, slots=True)
class SampleLine:
    """Where in the file a moment of the session lies: straight lines between anchors, the nominal rate before and after them."""

    session_ns: Array
    positions: Array

    def positions_of(self, moments_ns: Array) -> Array:
        """Positions (float, samples of 48 kHz) of session times."""
        base = self.session_ns[0]
        anchors, moments = (self.session_ns - base).astype(float), (moments_ns - base).astype(float)
        found: Array = np.interp(moments, anchors, self.positions)
        before, after = moments < anchors[0], moments > anchors[-1]
        found[before] = self.positions[0] + moments[before] * (AUDIO_RATE / 1e9)
        found[after] = self.positions[-1] + (moments[after] - anchors[-1]) * (AUDIO_RATE / 1e9)
        return found

    def position_of(self, moment_ns: int) -> int:
        """The position of one session time, whole samples."""
        return round(float(self.positions_of(np.array([moment_ns], np.int64))[0]))

    def moment_of(self, position: float) -> int:
        """The session time (ns) of a position."""
        base = int(self.session_ns[0])
        first, last = float(self.positions[0]), float(self.positions[-1])
        inside = float(np.interp(position, self.positions, (self.session_ns - base).astype(float)))
        beyond = min(position - first, 0.0) + max(position - last, 0.0)
        return base + round(inside + beyond * 1e9 / AUDIO_RATE)


def level_line(zero_ns: int) -> SampleLine:
    """The line of a file without sound: the session's own clock from its first picture on."""
    return SampleLine(np.array([zero_ns], np.int64), np.array([0.0]))


def unexplained(pause: Gap, mutes: Sequence[Gap]) -> int:
    """The length of a pause that lies outside of all mutes: a muted sender need not send."""
    muted = sum(max(min(mute.end, pause.end) - max(mute.start, pause.start), 0) for mute in mutes)
    return pause.end - pause.start - muted


def in_order(gaps: Sequence[Gap]) -> tuple[Gap, ...]:
    """Gaps in order of their start."""
    return tuple(sorted(gaps, key=lambda gap: (gap.start, gap.end, gap.cause)))
