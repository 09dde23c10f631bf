"""Compares what a Track's sender sent, what the relay carried, the journal and the sidecar, packet by packet.

Before it: run.py, which made a call. After it: the tests, which want `problems` to be empty. Nothing here shares code with the plan: all
counts are made anew from the truth. A *place* is a packet's index in the order of sending; places never wrap.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from isotape.assets.packets import MARKER, REPAIRED, TrackLog
from tests.kit.netlab.conditions import Fate
from tests.kit.netlab.fates import Rows
from tests.kit.publisher import SentPacket

Json = dict[str, Any]

# Sequence numbers name packets only while none comes twice.
_MOST = 1 << 16
# A stated gap runs from picture to picture or packet to packet, on a clock that was fitted: a frame of play at either end.
_EDGE_MS = 40.0
# The journal's times are the kernel's at receipt, on the same machine; the middle one cannot be late by a slow turn of ours.
_CLOCKS_AGREE_NS = 5_000_000


@dataclass(frozen=True)
class Evidence:
    """All that is known of one Track: truth, the relay's rows of the route, journal, and its entry in the sidecar."""

    sent: Sequence[SentPacket]
    fates: Rows
    log: TrackLog
    stated: Json

    @property
    def rate(self) -> int:
        """Of the RTP clock."""
        return 48_000 if self.stated["kind"] == "audio" else 90_000


@dataclass(frozen=True)
class Counts:
    """As the sidecar counts. Between the first and the last packet that was seen."""

    expected: int
    received: int
    recovered: int
    lost: int
    duplicates: int
    late: int


@dataclass(frozen=True)
class Ledger:
    """The findings. `missed` packets were not carried when first sent; `outside` were sent before the first or after the last one seen;
    `repeats` were carried beside what the journal kept; silence_s is the longest time between two arrivals."""

    counts: Counts
    missed: int
    outside: int
    repeats: int
    silence_s: float
    problems: list[str] = field(default_factory=list)

    @property
    def lost_share(self) -> float:
        return self.counts.lost / max(self.counts.expected, 1)


@dataclass(frozen=True)
class _Kept:
    """The journal by places: in order of arrival with copies, each once, and those that came by retransmission."""

    arrivals: list[int]
    rows: list[int]
    once: set[int]
    repaired: set[int]


def compare(evidence: Evidence) -> Ledger:
    """Checks everything; what is wrong is in `problems`, each in one line."""
    problems = [*_sent_problems(evidence.sent)]
    kept = _kept(evidence, problems)
    carried = _carried(evidence)
    problems += _journal_problems(evidence, kept)
    problems += _carriage_problems(evidence, kept, carried)
    counts = _count(kept)
    problems += _count_problems(counts, evidence.stated["packets"])
    missing = _missing(kept)
    problems += _loss_problems(evidence, missing)
    problems += _gap_problems(evidence, missing)
    missed = [first for first in _first_fates(evidence).values() if first is not Fate.GIVEN]
    return Ledger(
        counts=counts,
        missed=len(missed) + sum(packet.lost for packet in evidence.sent),
        outside=len(evidence.sent) - counts.expected,
        repeats=len(carried) - len(kept.once - kept.repaired),
        silence_s=float(np.diff(evidence.log.packets["arrival_ns"]).max(initial=0)) / 1e9,
        problems=problems,
    )


def _sent_problems(sent: Sequence[SentPacket]) -> Iterator[str]:
    if not 0 < len(sent) < _MOST:
        yield f"truth: {len(sent)} packets cannot be told apart by 16 bits"
    steps = {(after.sequence - before.sequence) % _MOST for before, after in pairwise(sent)}
    if steps - {1}:
        yield f"truth: sequence numbers step by {sorted(steps)}"


def _kept(evidence: Evidence, problems: list[str]) -> _Kept:
    """Journal packets by place; one that was never sent is a problem and left out."""
    places = {packet.sequence: place for place, packet in enumerate(evidence.sent)}
    arrivals, rows, once, repaired = [], [], set(), set()
    for row, packet in enumerate(evidence.log.packets):
        place = places.get(int(packet["sequence"]))
        if place is None:
            problems.append(f"journal: packet {packet['sequence']} was never sent")
            continue
        if place not in once and packet["flags"] & REPAIRED:
            repaired.add(place)
        arrivals.append(place)
        rows.append(row)
        once.add(place)
    return _Kept(arrivals, rows, once, repaired)


def _journal_problems(evidence: Evidence, kept: _Kept) -> Iterator[str]:
    """Header fields and bytes of each packet are those that were sent."""
    segments = [Path(name).read_bytes() for name in evidence.log.files]
    for place, row in zip(kept.arrivals, kept.rows, strict=True):
        packet, sent = evidence.log.packets[row], evidence.sent[place]
        begin = int(packet["offset"])
        payload = segments[packet["file"]][begin : begin + int(packet["length"])]
        found = (int(packet["ssrc"]), int(packet["pt"]), int(packet["timestamp"]), bool(packet["flags"] & MARKER))
        if found != (sent.ssrc, sent.payload_type, sent.timestamp, sent.marker):
            yield f"journal: packet {sent.sequence} has another header than was sent: {found}"
        if hashlib.sha256(payload).hexdigest() != sent.sha256:
            yield f"journal: packet {sent.sequence} has other bytes than were sent"


def _own_rows(evidence: Evidence) -> Rows:
    """The relay's rows under the Track's own SSRC, in the order in which they were given or dropped."""
    rows: Rows = evidence.fates[evidence.fates["ssrc"] == evidence.sent[0].ssrc]
    return rows


def _first_fates(evidence: Evidence) -> dict[int, Fate]:
    """What became of each sequence number when it was first taken."""
    found: dict[int, Fate] = {}
    for row in np.sort(_own_rows(evidence), order="taken_ns", kind="stable"):
        found.setdefault(int(row["sequence"]), Fate(int(row["fate"])))
    return found


def _carried(evidence: Evidence) -> list[tuple[int, int]]:
    """Place and time (Unix ns) of each datagram that was given to the server under the Track's own SSRC, in that order."""
    places = {packet.sequence: place for place, packet in enumerate(evidence.sent)}
    rows = _own_rows(evidence)
    given = rows[rows["fate"] == Fate.GIVEN]
    return [(places[int(row["sequence"])], int(row["given_ns"])) for row in given]


def _carriage_problems(evidence: Evidence, kept: _Kept, carried: list[tuple[int, int]]) -> Iterator[str]:
    """Whatever was given is in the journal, in that order and with that time, and nothing else but what was retransmitted."""
    first_given: dict[int, int] = {}
    for place, given_ns in carried:
        first_given.setdefault(place, given_ns)
    dropped = first_given.keys() - kept.once
    if dropped:
        yield f"journal: {len(dropped)} packets were given to the server and are not kept: {_few(evidence, dropped)}"
    out_of_thin_air = kept.once - kept.repaired - first_given.keys()
    if out_of_thin_air:
        yield f"journal: {len(out_of_thin_air)} packets were never given, nor repaired: {_few(evidence, out_of_thin_air)}"
    originals = [place for place in dict.fromkeys(kept.arrivals) if place not in kept.repaired]
    in_turn = [place for place in first_given if place in kept.once - kept.repaired]
    if originals != in_turn and not dropped | out_of_thin_air:
        yield "journal: packets do not stand in the order in which they were given"
    arrival_ns = {place: int(evidence.log.packets[row]["arrival_ns"]) for place, row in _first_rows(kept)}
    apart = sorted(abs(arrival_ns[place] - first_given[place]) for place in originals if place in first_given)
    if apart and apart[len(apart) // 2] > _CLOCKS_AGREE_NS:
        yield f"journal: arrivals lie {apart[len(apart) // 2] / 1e6:.1f} ms from when they were given"


def _first_rows(kept: _Kept) -> Iterator[tuple[int, int]]:
    """Place and journal row of each packet's first copy."""
    seen: set[int] = set()
    for place, row in zip(kept.arrivals, kept.rows, strict=True):
        if place not in seen:
            seen.add(place)
            yield place, row


def _count(kept: _Kept) -> Counts:
    expected = max(kept.once) - min(kept.once) + 1 if kept.once else 0
    highest, late = -1, 0
    for place, _ in _first_rows(kept):
        late += place < highest
        highest = max(highest, place)
    return Counts(
        expected=expected,
        received=len(kept.once - kept.repaired),
        recovered=len(kept.repaired),
        lost=expected - len(kept.once),
        duplicates=len(kept.arrivals) - len(kept.once),
        late=late,
    )


def _count_problems(counts: Counts, stated: Json) -> Iterator[str]:
    for name in Counts.__dataclass_fields__:
        if getattr(counts, name) != stated[name]:
            yield f"sidecar: {stated[name]} packets {name}, by the truth {getattr(counts, name)}"
    if stated["expected"] != stated["received"] + stated["recovered"] + stated["lost"]:
        yield f"sidecar: the ledger does not add up: {stated}"


def _missing(kept: _Kept) -> list[int]:
    return [place for place in range(min(kept.once), max(kept.once)) if place not in kept.once] if kept.once else []


def _loss_problems(evidence: Evidence, missing: list[int]) -> Iterator[str]:
    """The losses are exactly the runs of missing packets, between the moments of their neighbours."""
    gone = set(missing)
    starts = [place for place in missing if place - 1 not in gone]
    ends = [place for place in missing if place + 1 not in gone]
    runs = list(zip(starts, ends, strict=True))
    stated = evidence.stated["losses"]
    named = [(evidence.sent[start].sequence, evidence.sent[end].sequence, end - start + 1) for start, end in runs]
    if [(loss["first"], loss["last"], loss["packets"]) for loss in stated] != named:
        yield f"sidecar: {len(stated)} losses that are not the {len(runs)} runs of missing packets"
        return
    for (start, end), loss in zip(runs, stated, strict=True):
        if (loss["ssrc"], loss["cause"]) != (evidence.sent[0].ssrc, "lost"):
            yield f"sidecar: loss {loss['first']} is laid to {loss['cause']} of source {loss['ssrc']}"
        for place, moment_ns in zip((start - 1, end + 1), loss["session_ns"], strict=True):
            off_ms = (moment_ns - _session_ns(evidence, place)) / 1e6
            if abs(off_ms) > _EDGE_MS:
                yield f"sidecar: loss {loss['first']}: its neighbour stands {off_ms:.1f} ms off"


def _session_ns(evidence: Evidence, place: int) -> float:
    """When a packet was captured on the session's clock: the sender's own never stands or jumps, so counted from the first packet."""
    clock = evidence.stated["clock"][0]
    ticks = (evidence.sent[place].timestamp - clock["timestamp"]) % (1 << 32)
    return float(clock["session_ns"][0] + ticks * 1e9 / evidence.rate)


def _gap_problems(evidence: Evidence, missing: list[int]) -> Iterator[str]:
    """The gaps, in order, name exactly the missing packets: their number and their time."""
    gaps = [gap for gap in evidence.stated["gaps"] if gap["packets"]]
    stated = sum(gap["packets"] for gap in gaps)
    if stated != len(missing):
        yield f"sidecar: gaps state {stated} packets, {len(missing)} are missing"
        return
    wrong = Counter(gap["cause"] for gap in gaps if gap["cause"] != "lost")
    if wrong:
        yield f"sidecar: packets that the network lost are called {dict(wrong)}"
    at = 0
    for gap in gaps:
        mine, at = missing[at : at + gap["packets"]], at + gap["packets"]
        yield from _one_gap_problems(evidence, gap, mine)


def _one_gap_problems(evidence: Evidence, gap: Json, missing: list[int]) -> Iterator[str]:
    for place in sorted({missing[0], missing[-1]}):
        at_ms = _file_ms(evidence, place)
        if not gap["from_ms"] - _EDGE_MS <= at_ms <= gap["to_ms"] + _EDGE_MS:
            sequence = evidence.sent[place].sequence
            yield f"sidecar: gap {gap['from_ms']}..{gap['to_ms']} ms does not hold packet {sequence} of {at_ms:.0f} ms"


def _file_ms(evidence: Evidence, place: int) -> float:
    """File time of a packet, likewise counted from the first one."""
    clock = evidence.stated["clock"][0]
    ticks = (evidence.sent[place].timestamp - clock["timestamp"]) % (1 << 32)
    return float(clock["from_ms"] + ticks * 1000 / evidence.rate)


def _few(evidence: Evidence, places: set[int]) -> str:
    return ", ".join(str(evidence.sent[place].sequence) for place in sorted(places)[:5])
