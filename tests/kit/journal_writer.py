"""Writes a journal byte by byte as docs/formats/journal.md says, without the Rust crate that normally does it.

A second implementation on purpose: when the document, the crate and this file disagree, a test fails.
"""

import json
import struct
from pathlib import Path
from typing import Any

MAGIC = b"ISOTAPE1"
HEADER, RTP, SENDER_REPORT, MUTE, CODECS, SSRC, GAP, SEAL = range(1, 9)
REPAIRED = 1


def _crc_table() -> list[int]:
    """CRC-32C (Castagnoli), reflected polynomial 0x82F63B78."""
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def record(kind: int, arrival_ns: int, payload: bytes, flags: int = 0) -> bytes:
    """One record: length, type, flags, reserved, arrival, checksum, payload."""
    head = struct.pack("<IBBHQ", len(payload), kind, flags, 0, arrival_ns)
    return head + struct.pack("<I", crc32c(head + payload)) + payload


class JournalWriter:
    """A journal folder in the making. Times are nanoseconds of the session's wall clock."""

    def __init__(self, folder: Path, meta: dict[str, Any] | None = None, segment_bytes: int = 64 << 20) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self._meta = meta or {}
        self._segment_bytes = segment_bytes
        self._number = 0
        self._packets = 0
        self._last_ns = 0
        self._segment = bytearray()
        self._next_segment(0)

    def append(self, kind: int, arrival_ns: int, payload: bytes, flags: int = 0) -> None:
        self._last_ns = arrival_ns
        if len(self._segment) >= self._segment_bytes:
            self._next_segment(arrival_ns)
        self._segment += record(kind, arrival_ns, payload, flags)

    def rtp(self, arrival_ns: int, packet: bytes, *, repaired: bool = False) -> None:
        self._packets += 1
        self.append(RTP, arrival_ns, packet, REPAIRED if repaired else 0)

    def note(self, kind: int, arrival_ns: int, content: dict[str, Any]) -> None:
        self.append(kind, arrival_ns, json.dumps(content).encode())

    def sender_report(self, arrival_ns: int, ssrc: int, ntp: int, rtp_timestamp: int) -> None:
        self.append(SENDER_REPORT, arrival_ns, struct.pack("<IQIII", ssrc, ntp, rtp_timestamp, 0, 0))

    def seal(self, reason: str = "left") -> None:
        self.note(SEAL, self._last_ns, {"reason": reason, "packets": self._packets})
        self.flush()

    def flush(self) -> None:
        """Writes the segment that is open; a journal that was not sealed ends here as after a crash."""
        self.path.write_bytes(self._segment)

    @property
    def path(self) -> Path:
        return self.folder / f"{self._number:08}.seg"

    def _next_segment(self, arrival_ns: int) -> None:
        if self._segment:
            self.flush()
        self._number += 1
        header = {"version": 1, "journal": self.folder.name, "segment": self._number, "meta": self._meta}
        self._segment = bytearray(MAGIC + record(HEADER, arrival_ns, json.dumps(header).encode()))
