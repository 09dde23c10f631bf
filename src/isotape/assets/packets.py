"""What a journal holds, as arrays: every packet of one Track with its arrival, and the notes between them.

Before it: the Rust core's index of a journal folder. After it: order.py, which brings the packets into sequence. Payloads stay on
disk; only the first byte of each audio packet is looked at, because it says how the packet must be imitated when it is lost.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from isotape import _core
from isotape.errors import JournalError
from isotape.model import MediaKind

Array = npt.NDArray[Any]

# One row per RTP packet, as the core packs it: file, offset and length locate the payload in a segment.
PACKET = np.dtype(
    [
        ("file", "<u4"),
        ("length", "<u4"),
        ("offset", "<u8"),
        ("arrival_ns", "<i8"),
        ("timestamp", "<u4"),
        ("ssrc", "<u4"),
        ("sequence", "<u2"),
        ("pt", "u1"),
        ("flags", "u1"),
        ("level", "u1"),
        ("codec", "u1"),
        ("width", "<u2"),
        ("height", "<u2"),
        ("samples", "<u2"),
    ]
)

MARKER, STARTS_FRAME, STARTS_KEY_FRAME, UNPARSABLE, REPAIRED, ENDS_FRAME = (1 << bit for bit in range(6))

CODECS = {1: "opus", 2: "VP8", 3: "VP9", 4: "H264", 5: "AV1"}
CLOCK_RATE = {MediaKind.AUDIO: 48_000, MediaKind.VIDEO: 90_000}

# Seconds from the NTP era (1900) to the Unix epoch (RFC 5905).
_NTP_TO_UNIX_S = 2_208_988_800


@dataclass(frozen=True, slots=True)
class SenderReport:
    """An RTCP SR: the sender's own wall time of one RTP timestamp. ntp_ns is Unix time of the sender's clock, which may be wrong."""

    arrival_ns: int
    ssrc: int
    ntp_ns: int
    timestamp: int


@dataclass(frozen=True, slots=True)
class MuteChange:
    arrival_ns: int
    muted: bool


@dataclass(frozen=True, slots=True)
class GapNote:
    """A hole that the recorder itself knows of: a full queue (server), a crash (restart)."""

    arrival_ns: int
    cause: str
    packets: int


@dataclass(frozen=True, slots=True)
class TrackLog:
    """One journal: a Track over one connection. `toc` is the first payload byte of each audio packet."""

    journal_id: str
    kind: MediaKind
    source: str
    meta: dict[str, Any]
    files: tuple[str, ...]
    packets: Array
    toc: Array
    reports: tuple[SenderReport, ...] = ()
    mutes: tuple[MuteChange, ...] = ()
    gap_notes: tuple[GapNote, ...] = ()
    seal_reason: str = ""
    torn_bytes: int = 0

    @property
    def last_sign_ns(self) -> int:
        """When the sender was last heard: its media or its reports."""
        heard = [report.arrival_ns for report in self.reports]
        return max([int(self.packets["arrival_ns"].max()), *heard]) if len(self.packets) else max(heard, default=0)


class JournalIndex(Protocol):
    """What `_core.index_journal` returns."""

    @property
    def files(self) -> list[str]: ...
    @property
    def header(self) -> str: ...
    @property
    def packets(self) -> bytes: ...
    @property
    def notes(self) -> list[tuple[int, str, str]]: ...
    @property
    def torn_bytes(self) -> int: ...


@dataclass(slots=True)
class _Notes:
    reports: list[SenderReport] = field(default_factory=list)
    mutes: list[MuteChange] = field(default_factory=list)
    gaps: list[GapNote] = field(default_factory=list)
    seal_reason: str = ""

    def take(self, arrival_ns: int, name: str, text: str) -> None:
        """Keeps what the plan needs; other notes are for people."""
        body = json.loads(text)
        match name:
            case "sender_report":
                report = SenderReport(arrival_ns, body["ssrc"], ntp_to_unix_ns(body["ntp"]), body["rtp_timestamp"])
                self.reports.append(report)
            case "mute":
                self.mutes.append(MuteChange(arrival_ns, bool(body["muted"])))
            case "gap" | "damage":
                self.gaps.append(GapNote(arrival_ns, body["cause"], int(body.get("packets") or 0)))
            case "seal":
                self.seal_reason = body["reason"]


def read(folder: Path) -> TrackLog:
    """Indexes one journal folder. JournalError when it is missing or has no readable first record."""
    try:
        return track_log(_core.index_journal(str(folder)))
    except (OSError, ValueError, KeyError) as error:
        raise JournalError(f"journal {folder.name}: {error}") from error


def track_log(index: JournalIndex) -> TrackLog:
    """The index of a journal as the planner takes it."""
    header = json.loads(index.header)
    meta = header.get("meta", header)
    packets = np.frombuffer(index.packets, PACKET)
    kind = MediaKind(meta["kind"])
    notes = _Notes()
    for arrival_ns, name, text in index.notes:
        notes.take(arrival_ns, name, text)
    return TrackLog(
        journal_id=str(header.get("journal", "")),
        kind=kind,
        source=str(meta.get("source", "")),
        meta=meta,
        files=tuple(index.files),
        packets=packets,
        toc=first_bytes(index.files, packets) if kind is MediaKind.AUDIO else np.zeros(len(packets), np.uint8),
        reports=tuple(notes.reports),
        mutes=tuple(notes.mutes),
        gap_notes=tuple(notes.gaps),
        seal_reason=notes.seal_reason,
        torn_bytes=index.torn_bytes,
    )


def first_bytes(files: Sequence[str], packets: Array) -> Array:
    """The first payload byte of each packet; 0 for an empty payload."""
    found = np.zeros(len(packets), np.uint8)
    for number, name in enumerate(files):
        here = (packets["file"] == number) & (packets["length"] > 0)
        if here.any():
            segment = np.memmap(name, np.uint8, mode="r")
            found[here] = segment[packets["offset"][here]]
    return found


def ntp_to_unix_ns(ntp: int) -> int:
    """Unix ns of a 32.32 NTP timestamp."""
    return ((ntp >> 32) - _NTP_TO_UNIX_S) * 1_000_000_000 + ((ntp & 0xFFFF_FFFF) * 1_000_000_000 >> 32)
