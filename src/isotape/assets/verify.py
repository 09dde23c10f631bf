"""Reads a finished file back, with other code than wrote it, and compares it with its plan. PyAV; nothing is decoded but two pictures.

Before it: render.py. After it: the file is stored. A file that does not hold what its plan says never leaves this step.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
from av.error import FFmpegError

from isotape.assets.plan import Plan
from isotape.assets.render import Rendered
from isotape.errors import VerifyError

_READ_BYTES = 1 << 20
# Containers round durations to their own ticks (WebM: 1 ms) and know the last picture's length or not (33 ms at 30 a second).
_DURATION_SLACK_MS = 50


@dataclass(slots=True)
class _Seen:
    """What one track of the file holds."""

    packets: int = 0
    keys: "list[av.Packet[Any]]" = field(default_factory=list)

    def take(self, packet: "av.Packet[Any]") -> None:
        self.packets += 1
        if packet.is_keyframe:
            self.keys = [*self.keys[:1], packet]


def verify(plan: Plan, rendered: Rendered) -> None:
    """VerifyError with the first thing that differs: size, hash, packets of a track, duration, or a key frame that does not decode."""
    name = rendered.path.name
    _compare(name, "size", rendered.path.stat().st_size, rendered.size_bytes)
    _compare(name, "sha256", _sha256(rendered.path), rendered.sha256)
    _compare(name, "pictures", rendered.video_frames, _planned_frames(plan, rendered))
    _compare(name, "audio packets", rendered.audio_packets, len(plan.sound.rows.samples) if plan.sound else 0)
    try:
        _read_back(plan, rendered)
    except FFmpegError as error:
        raise VerifyError(f"file {name}: {error}") from error


def _planned_frames(plan: Plan, rendered: Rendered) -> int:
    if not plan.pictures:
        return 0
    return plan.pictures.frames + (1 if rendered.placeholder else 0) - len(rendered.skipped_frames)


def _read_back(plan: Plan, rendered: Rendered) -> None:
    name = rendered.path.name
    with av.open(str(rendered.path)) as container:
        videos, audios = container.streams.video, container.streams.audio
        _compare(name, "video tracks", len(videos), 1 if plan.pictures else 0)
        _compare(name, "audio tracks", len(audios), 1 if plan.sound else 0)
        seen = {stream.index: _Seen() for stream in container.streams}
        for packet in container.demux():
            if packet.size:
                seen[packet.stream.index].take(packet)
        for sound in audios:
            _compare(name, "audio packets", seen[sound.index].packets, rendered.audio_packets)
        for stream in videos:
            _compare(name, "pictures", seen[stream.index].packets, rendered.video_frames)
            _decode(name, stream.codec_context, seen[stream.index].keys)
        duration_ms = (container.duration or 0) / 1000
    if abs(duration_ms - plan.duration_ms) > _DURATION_SLACK_MS:
        raise VerifyError(f"file {name}: lasts {duration_ms:.0f} ms, planned {plan.duration_ms} ms")


def _decode(name: str, decoder: av.VideoCodecContext, keys: "Iterable[av.Packet[Any]]") -> None:
    """The first and the last key frame must give a picture each."""
    found = 0
    for packet in keys:
        found += 1
        pictures = [*decoder.decode(packet), *decoder.decode(None)]
        if not pictures or not pictures[0].width:
            raise VerifyError(f"file {name}: key frame at {packet.pts} gives no picture")
        decoder.flush_buffers()
    if not found:
        raise VerifyError(f"file {name}: no key frame")


def _compare(name: str, what: str, found: object, planned: object) -> None:
    if found != planned:
        raise VerifyError(f"file {name}: {what} {found}, planned {planned}")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()
