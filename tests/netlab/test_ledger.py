"""The checker of the lab finds each kind of lie: it is what all claims about losses rest on."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isotape.assets.packets import PACKET, REPAIRED, TrackLog
from isotape.model import MediaKind
from tests.kit.netlab.conditions import Fate
from tests.kit.netlab.fates import ROW
from tests.kit.netlab.ledger import Evidence, compare
from tests.kit.publisher import SentPacket

_COUNT, _FIRST, _SSRC, _RTX = 100, 65_500, 11, 12
_LOST, _REPAIRED = (10, 11, 60), (40,)
_MS = 1_000_000


def payload(place: int) -> bytes:
    return b"packet %04d" % place


def sent() -> list[SentPacket]:
    """One packet each 20 ms; sequence numbers wrap at place 36."""
    return [
        SentPacket(
            peer="p",
            track="t",
            ssrc=_SSRC,
            payload_type=96,
            sequence=(_FIRST + place) % 65_536,
            timestamp=place * 960,
            marker=False,
            bytes=11,
            sha256=hashlib.sha256(payload(place)).hexdigest(),
            send_ns=place * 20 * _MS,
            lost=False,
        )
        for place in range(_COUNT)
    ]


def fates(packets: list[SentPacket]) -> np.ndarray:
    rows = []
    for place, packet in enumerate(packets):
        at_ns = packet.send_ns + 1
        gone = place in (*_LOST, *_REPAIRED)
        fate = Fate.LOST if gone else Fate.GIVEN
        rows.append((at_ns, 0 if gone else at_ns, _SSRC, packet.sequence, 100, 96, fate))
    rows.append((45 * 20 * _MS, 45 * 20 * _MS, _RTX, 1, 100, 97, Fate.GIVEN))
    return np.sort(np.array(rows, ROW), order="taken_ns", kind="stable")


def log(folder: Path, packets: list[SentPacket]) -> TrackLog:
    """What arrived, the repaired packet five later than it should have."""
    segment = folder / "1.seg"
    segment.write_bytes(b"".join(payload(place) for place in range(_COUNT)))
    arrived = [place for place in range(_COUNT) if place not in (*_LOST, *_REPAIRED)]
    arrived[arrived.index(45) : arrived.index(45)] = _REPAIRED
    rows = np.zeros(len(arrived), PACKET)
    rows["length"], rows["offset"], rows["ssrc"], rows["pt"] = 11, np.array(arrived) * 11, _SSRC, 96
    rows["sequence"] = [packets[place].sequence for place in arrived]
    rows["timestamp"] = [packets[place].timestamp for place in arrived]
    rows["arrival_ns"] = [packets[45 if place == 40 else place].send_ns + 1 for place in arrived]
    rows["flags"] = [REPAIRED if place in _REPAIRED else 0 for place in arrived]
    return TrackLog("j", MediaKind.AUDIO, "regular", {}, (str(segment),), rows, np.zeros(len(rows), np.uint8))


def stated() -> dict[str, Any]:
    gaps = [
        {"from_ms": 200.0, "to_ms": 240.0, "cause": "lost", "packets": 2},
        {"from_ms": 1200.0, "to_ms": 1220.0, "cause": "lost", "packets": 1},
    ]
    counts = {"expected": 100, "received": 96, "recovered": 1, "lost": 3, "duplicates": 0, "late": 1}
    losses = [loss(10, 11), loss(60, 60)]
    clock = [{"timestamp": 0, "from_ms": 0.0, "session_ns": [1, 99 * 20 * _MS + 1]}]
    return {"kind": "audio", "packets": counts, "gaps": gaps, "losses": losses, "clock": clock}


def loss(first: int, last: int) -> dict[str, Any]:
    return {
        "ssrc": _SSRC,
        "first": (_FIRST + first) % 65_536,
        "last": (_FIRST + last) % 65_536,
        "packets": last - first + 1,
        "session_ns": [(first - 1) * 20 * _MS + 1, (last + 1) * 20 * _MS + 1],
        "cause": "lost",
    }


@pytest.fixture
def honest(tmp_path: Path) -> Evidence:
    packets = sent()
    return Evidence(packets, fates(packets), log(tmp_path, packets), stated())


def with_packets(evidence: Evidence, change: Callable[[np.ndarray], np.ndarray]) -> Evidence:
    return replace(evidence, log=replace(evidence.log, packets=change(evidence.log.packets.copy())))


def set_field(row: int | slice, name: str, value: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(packets: np.ndarray) -> np.ndarray:
        packets[name][row] = value
        return packets

    return change


def test_an_honest_recording_has_no_problems(honest: Evidence) -> None:
    found = compare(honest)
    assert found.problems == []
    assert (found.missed, found.outside, found.repeats) == (4, 0, 0)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (set_field(3, "sequence", 500), "was never sent"),
        (set_field(3, "offset", 44), "other bytes"),
        (set_field(3, "timestamp", 1), "another header"),
        (set_field(3, "ssrc", 99), "another header"),
        (lambda packets: np.delete(packets, 3), "given to the server and are not kept"),
        (set_field(42, "flags", 0), "never given, nor repaired"),
        (lambda packets: packets[[1, 0, *range(2, len(packets))]], "order in which they were given"),
        (lambda packets: np.append(packets, packets[3:4]), "by the truth 1"),
        (set_field(slice(None), "arrival_ns", 0), "from when they were given"),
    ],
)
def test_a_falsified_journal_is_found(
    honest: Evidence, change: Callable[[np.ndarray], np.ndarray], problem: str
) -> None:
    assert any(problem in one for one in compare(with_packets(honest, change)).problems)


@pytest.mark.parametrize("name", ["expected", "received", "recovered", "lost", "duplicates", "late"])
def test_a_wrong_count_in_the_sidecar_is_found(honest: Evidence, name: str) -> None:
    honest.stated["packets"][name] += 1
    assert any(f"packets {name}" in one for one in compare(honest).problems)


@pytest.mark.parametrize(
    ("gap", "field", "value", "problem"),
    [
        (0, "packets", 1, "gaps state 2 packets"),
        (1, "from_ms", 1300.0, "does not hold packet"),
        (0, "to_ms", 100.0, "does not hold packet"),
        (0, "cause", "server", "are called"),
    ],
)
def test_a_wrong_gap_is_found(honest: Evidence, gap: int, field: str, value: float | str, problem: str) -> None:
    honest.stated["gaps"][gap][field] = value
    assert any(problem in one for one in compare(honest).problems)


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("first", 65_509, "not the 2 runs"),
        ("last", 65_512, "not the 2 runs"),
        ("packets", 3, "not the 2 runs"),
        ("ssrc", 9, "of source 9"),
        ("cause", "server", "is laid to server"),
        ("session_ns", [0, 300 * _MS], "stands 60.0 ms off"),
    ],
)
def test_a_wrong_loss_is_found(honest: Evidence, field: str, value: object, problem: str) -> None:
    honest.stated["losses"][0][field] = value
    assert any(problem in one for one in compare(honest).problems), compare(honest).problems


def test_a_loss_that_is_not_stated_is_found(honest: Evidence) -> None:
    del honest.stated["losses"][1]
    assert any("1 losses that are not the 2 runs" in one for one in compare(honest).problems)
