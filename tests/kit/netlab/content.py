"""Compares a finished file with what was sent: every frame whose packets are all in the journal, once, unchanged, at its time.

Before it: run.py and footage.py. After it: the tests. What the file holds beyond that must be what the sidecar calls made up.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import av

from isotape.assets.packets import TrackLog
from tests.kit.netlab.footage import Footage, SentFrame, sent_frames
from tests.kit.packetise import annex_b_units
from tests.kit.publisher import SentPacket

Json = dict[str, Any]

# Sound leaves a decoder this much later than its packet goes in (libopus: 312 samples, the pre-skip that files state, RFC 7845), so a
# file gives each packet a time this much before its sound's.
_DECODER_DELAY_MS = 312 / 48


@dataclass(frozen=True)
class Shown:
    """A frame of the file that was sent: its file time and its media time since the start of the clips, in ms."""

    file_ms: float
    media_ms: float


@dataclass(frozen=True)
class Content:
    """The frames of one Track as they stand in the file, and what is wrong with them."""

    shown: list[Shown]
    problems: list[str] = field(default_factory=list)


def compare(path: Path, footage: Footage, sent: Sequence[SentPacket], log: TrackLog, stated: Json) -> Content:
    """Which frames must be there follows from the journal alone: whole ones, from the first whole key frame on."""
    kept = {int(sequence) for sequence in log.packets["sequence"]}
    frames = sent_frames(footage, list(sent))
    whole = [frame for frame in frames if all(sent[place].sequence in kept for place in frame.places)]
    begin = next((at for at, frame in enumerate(whole) if frame.key), len(whole))
    expected = whole[begin:]
    found = list(_in_file(path, stated["kind"]))
    problems = [f"file: {problem}" for problem in _time_problems([at_ms for at_ms, _ in found])]
    own = set(footage.frames) if footage.codec != "H264" else {_units(frame) for frame in footage.frames}
    real = [(at_ms, data) for at_ms, data in found if data in own]
    made = len(found) - len(real)
    if made != _made(stated):
        problems.append(f"file: {made} {stated['kind']} samples that nobody sent, the sidecar states {_made(stated)}")
    problems += _order_problems([data for _, data in real], expected, footage)
    pairs = list(zip(real, expected, strict=False))
    return Content([_shown(footage, frames[0], at_ms, frame) for (at_ms, _), frame in pairs], problems)


def av_errors_ms(video: Sequence[Shown], audio: Sequence[Shown]) -> list[float]:
    """How far each picture stands from the sound of its moment; both clips began at the same time."""
    at_sound = [(one.media_ms, one.file_ms - one.media_ms) for one in audio]
    errors, nearest = [], 0
    for picture in video:
        while nearest + 1 < len(at_sound) and at_sound[nearest + 1][0] <= picture.media_ms:
            nearest += 1
        errors.append(picture.file_ms - picture.media_ms - at_sound[nearest][1])
    return errors


def _shown(footage: Footage, first: SentFrame, at_ms: float, frame: SentFrame) -> Shown:
    ticks = (frame.timestamp - first.timestamp) % (1 << 32)
    return Shown(at_ms, ticks * 1000 / footage.rate)


def _in_file(path: Path, kind: str) -> Iterator[tuple[float, bytes]]:
    """Time (ms) when each sample is seen or heard, and its bytes; of H264 the NAL units joined, as _units does."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0] if kind == "video" else container.streams.audio[0]
        is_h264 = stream.codec_context.name == "h264"
        for packet in container.demux(stream):
            if packet.size:
                assert packet.pts is not None
                assert packet.time_base is not None
                data = bytes(packet)
                at_ms = float(packet.pts * packet.time_base * 1000) + (_DECODER_DELAY_MS if kind == "audio" else 0.0)
                yield at_ms, _units_of_mp4(data) if is_h264 else data


def _units(frame: bytes) -> bytes:
    """What of an H264 frame no container may change."""
    return b"".join(annex_b_units(frame))


def _units_of_mp4(data: bytes) -> bytes:
    """The same: MP4 puts a length of four bytes in front of each NAL unit."""
    units, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4])
        units.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return b"".join(units)


def _made(stated: Json) -> int:
    return int(stated["samples"]["made"]) if stated["kind"] == "audio" else len(stated["fillers"])


def _time_problems(times_ms: list[float]) -> Iterator[str]:
    falls = sum(after <= before for before, after in pairwise(times_ms))
    if falls:
        yield f"time does not rise {falls} times"


def _order_problems(found: list[bytes], expected: list[SentFrame], footage: Footage) -> Iterator[str]:
    wanted = [_units(frame.data) if footage.codec == "H264" else frame.data for frame in expected]
    if found == wanted:
        return
    number = next((at for at, (a, b) in enumerate(zip(found, wanted, strict=False)) if a != b), "the end")
    yield f"file: {len(found)} {footage.codec} frames of {len(wanted)} that arrived whole; they differ from {number} on"
