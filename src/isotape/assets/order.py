"""Brings the packets of a journal into order: each once, sequence numbers and timestamps without wrap, losses counted. Pure NumPy.

Before it: packets.py. After it: timeline.py, sound.py and pictures.py, which all work on Epochs.
"""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Self

import numpy as np

from isotape.assets.packets import CLOCK_RATE, REPAIRED, Array, TrackLog

# An RTP clock that runs this much (ns) apart from the arrivals between two neighbouring packets has been set anew. Retransmissions
# arrive at most about 2 s late and a sender's pacer holds packets for at most 2 s.
_CLOCK_BREAK_NS = 5_000_000_000


@dataclass(frozen=True, slots=True)
class Stall:
    """Before the Epoch's packet of this number the sender's device stood still for `ns` and counted no ticks."""

    packet: int
    ns: int


@dataclass(frozen=True, slots=True)
class Epoch:
    """Packets of one SSRC under one unbroken RTP clock and one codec, in sequence, each once.

    sequence and ticks are 64-bit and never wrap; log is the number of the journal that they come from. Where there were stalls, ticks
    count their time too and are ahead of the RTP timestamps.
    """

    log: int
    ssrc: int
    codec: int
    rate: int
    packets: Array
    toc: Array
    sequence: Array
    ticks: Array
    stalls: tuple[Stall, ...] = ()

    @property
    def first_arrival_ns(self) -> int:
        return int(self.packets["arrival_ns"].min())

    @property
    def last_arrival_ns(self) -> int:
        return int(self.packets["arrival_ns"].max())

    def part(self, start: int, stop: int) -> Self:
        """The packets start..stop as an Epoch of their own."""
        cut = slice(start, stop)
        return replace(
            self, packets=self.packets[cut], toc=self.toc[cut], sequence=self.sequence[cut], ticks=self.ticks[cut]
        )


@dataclass(frozen=True, slots=True)
class PacketCounts:
    """expected = received + recovered + lost. late: arrived behind a later one. duplicates were dropped and are not in received."""

    received: int = 0
    recovered: int = 0
    lost: int = 0
    duplicates: int = 0
    late: int = 0

    @property
    def expected(self) -> int:
        return self.received + self.recovered + self.lost

    def __add__(self, other: "PacketCounts") -> "PacketCounts":
        return PacketCounts(
            self.received + other.received,
            self.recovered + other.recovered,
            self.lost + other.lost,
            self.duplicates + other.duplicates,
            self.late + other.late,
        )


def epochs_of(number: int, log: TrackLog) -> tuple[list[Epoch], PacketCounts]:
    """The Epochs of one journal in order of arrival, and what was counted."""
    epochs: list[Epoch] = []
    counts = PacketCounts()
    for ssrc in np.unique(log.packets["ssrc"]):
        rows = np.flatnonzero(log.packets["ssrc"] == ssrc)
        whole, counted = _in_sequence(number, log, rows)
        epochs += _unbroken(whole)
        counts += counted
    return sorted(epochs, key=lambda epoch: epoch.first_arrival_ns), counts


def _in_sequence(number: int, log: TrackLog, rows: Array) -> tuple[Epoch, PacketCounts]:
    """All packets of one SSRC, ordered and deduplicated, and the counts."""
    packets = log.packets[rows]
    sequence = unwrap(packets["sequence"], np.int16)
    # Stable, so that of two copies the one that came first is kept.
    order = np.argsort(sequence, kind="stable")
    fresh = np.ones(len(order), bool)
    fresh[1:] = np.diff(sequence[order]) > 0
    kept = order[fresh]
    sequence_kept, packets_kept = sequence[kept], packets[kept]
    recovered = int(np.count_nonzero(packets_kept["flags"] & REPAIRED))
    counts = PacketCounts(
        received=len(kept) - recovered,
        recovered=recovered,
        lost=int(sequence_kept[-1] - sequence_kept[0]) + 1 - len(kept),
        duplicates=len(order) - len(kept),
        late=_late(sequence, np.sort(kept)),
    )
    epoch = Epoch(
        log=number,
        ssrc=int(packets["ssrc"][0]),
        codec=0,
        rate=CLOCK_RATE[log.kind],
        packets=packets_kept,
        toc=log.toc[rows][kept],
        sequence=sequence_kept,
        ticks=unwrap(packets_kept["timestamp"], np.int32),
    )
    return epoch, counts


def unwrap(values: Array, signed: type[np.int16 | np.int32]) -> Array:
    """64-bit counters from ones that wrap: each value is taken as near as possible to the one before."""
    width = values.dtype
    steps = np.diff(values).astype(width).view(signed).astype(np.int64)
    return np.concatenate(([np.int64(values[0])], np.int64(values[0]) + np.cumsum(steps)))


def _late(sequence: Array, in_order_of_arrival: Array) -> int:
    """How many kept packets arrived behind one that follows them."""
    arrived = sequence[in_order_of_arrival]
    return int(np.count_nonzero(arrived < np.maximum.accumulate(arrived)))


def _unbroken(whole: Epoch) -> list[Epoch]:
    """Cuts where the codec changes or the RTP clock was set anew."""
    codecs = _codecs(whole.packets["codec"])
    elapsed = np.diff(whole.ticks) * (1_000_000_000 / whole.rate)
    breaks = np.abs(elapsed - np.diff(whole.packets["arrival_ns"])) > _CLOCK_BREAK_NS
    cuts = np.flatnonzero(breaks | (np.diff(codecs) != 0)) + 1
    bounds = [0, *cuts.tolist(), len(whole.ticks)]
    return [replace(whole.part(start, stop), codec=int(codecs[start])) for start, stop in pairwise(bounds)]


def _codecs(codecs: Array) -> Array:
    """The codec of each packet; an unknown one (0, as of an empty probe) has that of its neighbours."""
    known = np.flatnonzero(codecs)
    if not len(known):
        return codecs.astype(np.int16)
    before = np.searchsorted(known, np.arange(len(codecs)), side="right") - 1
    return codecs[known[np.maximum(before, 0)]].astype(np.int16)
