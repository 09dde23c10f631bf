"""The smallest planner there can be: every frame that the index shows becomes a sample at its RTP time, nothing is missing.

The rows are those of `isotape._core.render`; tests of the renderer make them here, so that they do not lean on the planner.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from isotape import _core
from tests.kit.journal_writer import CODECS, JournalWriter
from tests.kit.media import FRAME_TICKS, PACKET_SAMPLES, Frame
from tests.kit.packetise import PACKETISERS, rtp_packet

INDEX = np.dtype(
    [
        ("file", "<u4"), ("length", "<u4"), ("offset", "<u8"), ("arrival_ns", "<i8"), ("timestamp", "<u4"), ("ssrc", "<u4"),
        ("sequence", "<u2"), ("pt", "u1"), ("flags", "u1"), ("level", "u1"), ("codec", "u1"),
        ("width", "<u2"), ("height", "<u2"), ("samples", "<u2"),
    ]
)  # fmt: skip
PACKETS = np.dtype([("file", "<u4"), ("length", "<u4"), ("offset", "<u8")])
SAMPLES = np.dtype(
    [("first", "<u8"), ("count", "<u4"), ("flags", "<u4"), ("pts", "<i8"), ("duration", "<u4"), ("reserved", "<u4")]
)
MARKER, STARTS_FRAME, KEY, UNPARSABLE, REPAIRED, ENDS_FRAME = (1 << bit for bit in range(6))
LITERAL_FILE = 0xFFFFFFFF
LITERAL = 2


@dataclass
class Track:
    """Rows of one track, and the files that they point into."""

    codec: str
    files: list[str]
    packets: np.ndarray
    samples: np.ndarray
    literals: bytes = field(default=b"")

    @property
    def rows(self) -> tuple[str, bytes, bytes]:
        return self.codec, self.packets.tobytes(), self.samples.tobytes()


def write_journal(folder: Path, codec: str, frames: list[bytes], ticks: int, segment_bytes: int = 64 << 20) -> Path:
    """A sealed journal with the frames cut into packets, `ticks` of RTP time apart."""
    writer = JournalWriter(folder, segment_bytes=segment_bytes)
    clock = 48_000 if codec == "opus" else 90_000
    writer.note(CODECS, 0, {"96": {"codec": codec, "clock_rate": clock, "channels": 1, "fmtp": ""}})
    sequence = 65_500  # wraps soon
    for number, frame in enumerate(frames):
        payloads = PACKETISERS[codec](frame)
        for at, payload in enumerate(payloads):
            marker = at + 1 == len(payloads)
            packet = rtp_packet(
                payload, payload_type=96, sequence=sequence, timestamp=number * ticks, ssrc=7, marker=marker
            )
            writer.rtp(number * ticks * 1_000_000_000 // clock, packet)
            sequence += 1
    writer.seal()
    return folder


def index(folder: Path) -> tuple[_core.JournalIndex, np.ndarray]:
    found = _core.index_journal(str(folder))
    return found, np.frombuffer(found.packets, INDEX)


def plan(folder: Path, codec: str, ticks: int) -> Track:
    """Groups packets of equal RTP time; every frame lasts `ticks`."""
    found, rows = index(folder)
    packets = np.zeros(len(rows), PACKETS)
    for name in PACKETS.names or ():
        packets[name] = rows[name]
    starts = np.flatnonzero(np.diff(rows["timestamp"].astype(np.int64), prepend=-1))
    samples = np.zeros(len(starts), SAMPLES)
    samples["first"] = starts
    samples["count"] = np.diff(starts, append=len(rows))
    samples["flags"] = np.bitwise_or.reduceat(rows["flags"] & KEY, starts) != 0
    samples["pts"] = np.arange(len(starts)) * ticks
    samples["duration"] = ticks
    return Track(codec, found.files, packets, samples)


def video_track(folder: Path, codec: str, frames: tuple[Frame, ...]) -> Track:
    return plan(write_journal(folder, codec, [frame.data for frame in frames], FRAME_TICKS), codec, FRAME_TICKS)


def audio_track(folder: Path, packets: tuple[bytes, ...]) -> Track:
    return plan(write_journal(folder, "opus", list(packets), PACKET_SAMPLES), "opus", PACKET_SAMPLES)


def merge(video: Track | None, audio: Track | None, channels: int = 1) -> tuple[object, ...]:
    """Arguments of `render` behind the path and the container."""
    files = list(video.files) if video else []
    literals = video.literals if video else b""
    sound = None
    if audio:
        packets = audio.packets.copy()
        in_files = packets["file"] != LITERAL_FILE
        packets["file"][in_files] += len(files)
        packets["offset"][~in_files] += len(literals)
        files += audio.files
        literals += audio.literals
        sound = (channels, packets.tobytes(), audio.samples.tobytes())
    return files, video.rows if video else None, sound, literals


def prepend_literal(track: Track, data: bytes, duration: int) -> Track:
    """Puts a finished sample in front, and moves everything else back by its duration."""
    packets = np.concatenate([track.packets, np.array([(LITERAL_FILE, len(data), len(track.literals))], PACKETS)])
    later = track.samples.copy()
    later["pts"] += duration
    first = np.array([(len(track.packets), 1, 1 | LITERAL, 0, duration, 0)], SAMPLES)
    return Track(track.codec, track.files, packets, np.concatenate([first, later]), track.literals + data)
