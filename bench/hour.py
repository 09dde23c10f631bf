"""Makes the media of one long call, as a journal and, packet for packet the same, as a recording of Janus.

Twenty seconds are encoded once and looped at packet level, so an hour costs seconds to make. The journal is written as
docs/formats/journal.md says; its checksums are computed for all packets of a round at once, since Python would need minutes otherwise.
"""

import json
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from bench.clips import ROUND_S, pictures, sounds
from tests.kit.journal_writer import CODECS, HEADER, MAGIC, RTP, SEAL, SENDER_REPORT, crc32c, record
from tests.kit.media import FRAME_TICKS, PACKET_SAMPLES
from tests.kit.packetise import PACKETISERS

Words = npt.NDArray[np.uint32]

EPOCH_NS = 1_790_000_000_000_000_000
_PT = 96
_SEGMENT_BYTES = 64 << 20
_NTP_TO_UNIX_S = 2_208_988_800
_RTP_BYTES = 12
# What stands in front of each RTP packet in a journal and is covered by its checksum: the record's head and the RTP header.
_HEAD = np.dtype(
    [
        ("length", "<u4"),
        ("type", "u1"),
        ("flags", "u1"),
        ("reserved", "<u2"),
        ("arrival_ns", "<u8"),
        ("first", "u1"),
        ("second", "u1"),
        ("sequence", ">u2"),
        ("timestamp", ">u4"),
        ("ssrc", ">u4"),
    ]
)
_RECORD_HEAD_BYTES = 16


@dataclass(frozen=True)
class Loop:
    """The packets of one round of one Track: payloads, RTP ticks from the round's start, markers."""

    kind: str
    codec: str
    rate: int
    payloads: Sequence[bytes]
    ticks: npt.NDArray[np.int64]
    markers: npt.NDArray[np.bool_]

    @property
    def round_ticks(self) -> int:
        return ROUND_S * self.rate

    @property
    def ssrc(self) -> int:
        return 1111 if self.kind == "audio" else 2222


def picture_loop(codec: str) -> Loop:
    """720p of about 2 Mbit/s, one key frame a round."""
    return _loop("video", codec, 90_000, pictures(codec), FRAME_TICKS)


def sound_loop() -> Loop:
    return _loop("audio", "opus", 48_000, sounds(), PACKET_SAMPLES)


def _loop(kind: str, codec: str, rate: int, frames: Sequence[bytes], step: int) -> Loop:
    payloads: list[bytes] = []
    ticks, markers = [], []
    for number, frame in enumerate(frames):
        pieces = PACKETISERS[codec](frame)
        payloads += pieces
        ticks += [number * step] * len(pieces)
        markers += [kind == "video" and at + 1 == len(pieces) for at in range(len(pieces))]
    return Loop(kind, codec, rate, payloads, np.array(ticks), np.array(markers))


def write_both(loop: Loop, rounds: int, journal: Path, mjr: Path) -> int:
    """Writes the journal folder and the .mjr file; the number of packets."""
    journal.mkdir(parents=True)
    tape = _Tape(loop, journal)
    with mjr.open("wb") as janus:
        _begin_mjr(loop, janus)
        for number in range(rounds):
            heads = _heads(loop, number)
            tape.write(heads, number)
            _write_mjr(loop, heads, janus)
    return tape.seal()


def _heads(loop: Loop, number: int) -> npt.NDArray[Any]:
    """The heads of all packets of one round, as they arrive: 40 ms after they were captured."""
    count = len(loop.payloads)
    ticks = loop.ticks + number * loop.round_ticks
    heads = np.zeros(count, _HEAD)
    heads["length"] = [_RTP_BYTES + len(payload) for payload in loop.payloads]
    heads["type"], heads["first"] = RTP, 0x80
    heads["second"] = _PT | loop.markers.astype(np.uint8) << 7
    heads["arrival_ns"] = EPOCH_NS + 40_000_000 + ticks * 1_000_000_000 // loop.rate
    heads["sequence"] = (np.arange(count) + number * count) & 0xFFFF
    heads["timestamp"] = ticks & 0xFFFF_FFFF
    heads["ssrc"] = loop.ssrc
    return heads


class _Tape:
    """A journal in the making, with a sender report each round."""

    def __init__(self, loop: Loop, folder: Path) -> None:
        self._loop = loop
        self._folder = folder
        self._checksums = _Checksums(loop.payloads)
        self._segment = 0
        self._room = bytearray()
        self._packets = 0
        self._next_segment()
        clock = {"codec": loop.codec, "clock_rate": loop.rate, "channels": 2, "fmtp": ""}
        self._room += record(CODECS, EPOCH_NS, json.dumps({str(_PT): clock}).encode())

    def write(self, heads: npt.NDArray[Any], number: int) -> None:
        checksums = self._checksums.of(heads).astype("<u4").tobytes()
        raw = heads.tobytes()
        size = _HEAD.itemsize
        for at, payload in enumerate(self._loop.payloads):
            head = raw[at * size : (at + 1) * size]
            crc = checksums[at * 4 : at * 4 + 4]
            self._room += b"".join((head[:_RECORD_HEAD_BYTES], crc, head[_RECORD_HEAD_BYTES:], payload))
            if len(self._room) >= _SEGMENT_BYTES:
                self._next_segment()
        self._packets += len(heads)
        self._report(number)

    def seal(self) -> int:
        arrival_ns = EPOCH_NS + 10**15
        self._room += record(SEAL, arrival_ns, json.dumps({"reason": "leave", "packets": self._packets}).encode())
        self._flush()
        return self._packets

    def _report(self, number: int) -> None:
        """A sender report about the round's first packet of the next round's start."""
        ticks = (number + 1) * self._loop.round_ticks
        unix_s = EPOCH_NS // 10**9 + (number + 1) * ROUND_S
        report = struct.pack(
            "<IQIII", self._loop.ssrc, (unix_s + _NTP_TO_UNIX_S) << 32, ticks & 0xFFFF_FFFF, self._packets, 0
        )
        arrival_ns = EPOCH_NS + 40_000_000 + (number + 1) * ROUND_S * 10**9
        self._room += record(SENDER_REPORT, arrival_ns, report)

    def _next_segment(self) -> None:
        if self._segment:
            self._flush()
        self._segment += 1
        meta = {
            "kind": self._loop.kind,
            "source": "regular",
            "track_id": self._loop.kind,
            "session_started_ms": EPOCH_NS // 10**6,
        }
        header = {"version": 1, "journal": self._folder.name, "segment": self._segment, "meta": meta}
        self._room = bytearray(MAGIC + record(HEADER, 0, json.dumps(header).encode()))

    def _flush(self) -> None:
        (self._folder / f"{self._segment:08}.seg").write_bytes(self._room)


class _Checksums:
    """CRC-32C of many records at once.

    The register is linear in its start over GF(2): the register behind head and payload is that of the payload from zero, xor the
    head's register moved past as many zero bytes as the payload has. So each payload is read once, not once a round.
    """

    def __init__(self, payloads: Sequence[bytes]) -> None:
        # crc32c inverts before and after; with the start's inversion moved out, the register from zero remains.
        lengths = [len(payload) for payload in payloads]
        moved = _moved_bits(max(lengths))
        start = _move(moved, np.array(lengths), np.full(len(payloads), 0xFFFFFFFF, np.uint32))
        finished = np.array([crc32c(payload) for payload in payloads], np.uint32)
        self._from_zero = finished ^ np.uint32(0xFFFFFFFF) ^ start
        self._moved, self._lengths = moved, np.array(lengths)

    def of(self, heads: npt.NDArray[Any]) -> Words:
        register = np.full(len(heads), 0xFFFFFFFF, np.uint32)
        for column in heads.view(np.uint8).reshape(len(heads), _HEAD.itemsize).T:
            register = register >> 8 ^ _BYTES[(register ^ column) & 0xFF]
        return _move(self._moved, self._lengths, register) ^ self._from_zero ^ np.uint32(0xFFFFFFFF)


def _byte_table() -> Words:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ np.uint32(0x82F63B78), table >> 1)
    return table.astype(np.uint32)


_BYTES = _byte_table()


def _moved_bits(longest: int) -> Words:
    """[n, b]: the register that bit b alone becomes behind n zero bytes."""
    rows = [np.uint32(1) << np.arange(32, dtype=np.uint32)]
    for _ in range(longest):
        rows.append(rows[-1] >> 8 ^ _BYTES[rows[-1] & 0xFF])
    return np.array(rows, np.uint32)


def _move(moved: Words, lengths: npt.NDArray[np.int64], registers: Words) -> Words:
    found = np.zeros(len(registers), np.uint32)
    for bit in range(32):
        found ^= moved[lengths, bit] * (registers >> np.uint32(bit) & 1)
    return found


def _begin_mjr(loop: Loop, janus: BinaryIO) -> None:
    """Janus' own header, version 2: what was recorded, when it was opened and when the first frame came (microseconds)."""
    about = {"t": loop.kind[0], "c": loop.codec.lower(), "s": EPOCH_NS // 1000, "u": EPOCH_NS // 1000 + 40_000}
    text = json.dumps(about).encode()
    janus.write(b"MJR00002" + struct.pack(">H", len(text)) + text)


def _write_mjr(loop: Loop, heads: npt.NDArray[Any], janus: BinaryIO) -> None:
    janus.writelines(_mjr_frames(loop, heads))


def _mjr_frames(loop: Loop, heads: npt.NDArray[Any]) -> Iterator[bytes]:
    raw, size = heads.tobytes(), _HEAD.itemsize
    times = ((heads["arrival_ns"] - np.uint64(EPOCH_NS)) // np.uint64(10**6)).tolist()
    for at, payload in enumerate(loop.payloads):
        header = raw[at * size + _RECORD_HEAD_BYTES : (at + 1) * size]
        yield b"".join((struct.pack(">4sIH", b"MEET", times[at], _RTP_BYTES + len(payload)), header, payload))
