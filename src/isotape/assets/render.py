"""Plan → file: has the Rust core write the container into a fresh file of the working folder.

Before it: plan.py. After it: verify.py reads the file back. The file is new (O_EXCL), complete and durable, or not there at all.
"""

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from isotape import _core
from isotape.assets.packets import CODECS
from isotape.assets.pictures import PictureTrack
from isotape.assets.placeholder import black_frame
from isotape.assets.plan import Plan
from isotape.assets.samples import AUDIO_RATE, KEY_FRAME, LITERAL, PACKET_REF, SAMPLE, VIDEO_RATE, Filler, TrackRows
from isotape.errors import RenderError


@dataclass(frozen=True, slots=True)
class Rendered:
    """The file and what the core says of it. placeholder is there when a black picture was put in front."""

    path: Path
    size_bytes: int
    sha256: str
    duration_ms: int
    video_frames: int
    audio_packets: int
    skipped_frames: tuple[int, ...]
    silenced_packets: tuple[int, ...]
    width: int
    height: int
    placeholder: Filler | None


@contextmanager
def working_file(folder: Path, asset_id: str, suffix: str) -> Iterator[Path]:
    """A path that nobody else uses; what stands there at the end is removed."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{asset_id}-{secrets.token_hex(4)}.{suffix}"
    try:
        yield path
    finally:
        with suppress(FileNotFoundError):
            path.unlink()


def render(plan: Plan, path: Path) -> Rendered:
    """Writes the file of the plan at `path`, where none may be. RenderError when the core refuses the plan; OSError as it is."""
    rows, placeholder = _with_placeholder(plan, plan.pictures) if plan.pictures else (None, None)
    video = (
        (CODECS[plan.pictures.codec], rows.packets.tobytes(), rows.samples.tobytes())
        if plan.pictures and rows
        else None
    )
    sound = plan.sound
    audio = (sound.channels, sound.rows.packets.tobytes(), sound.rows.samples.tobytes()) if sound else None
    try:
        report = _core.render(str(path), plan.container, list(plan.files), video, audio, bytes(plan.literals.data))
    except (ValueError, RuntimeError) as error:
        raise RenderError(f"file {path.name}: {error}") from error
    return _rendered(path, json.loads(report), placeholder)


def _with_placeholder(plan: Plan, pictures: PictureTrack) -> tuple[TrackRows, Filler | None]:
    """The video rows, with a black key frame at zero when the first picture comes later."""
    rows = pictures.rows
    if not pictures.starts_late:
        return rows, None
    first = rows.samples[0]
    refs = rows.packets[int(first["first"]) : int(first["first"]) + int(first["count"])]
    codec = CODECS[pictures.codec]
    size = pictures.resolutions[0] if pictures.resolutions else None
    try:
        key_frame = _core.depacketise(codec, list(plan.files), refs.tobytes())
    except ValueError as error:
        raise RenderError(f"first key frame: {error}") from error
    black = black_frame(codec, key_frame, size.width if size else 0, size.height if size else 0)
    packets = np.append(rows.packets, np.array([plan.literals.ref(black)], PACKET_REF))
    sample = np.zeros(1, SAMPLE)
    sample["first"], sample["count"], sample["flags"] = len(rows.packets), 1, KEY_FRAME | LITERAL
    sample["duration"] = first["pts"]
    filler = Filler(0, round(int(first["pts"]) * AUDIO_RATE / VIDEO_RATE), "placeholder", 1)
    return replace(rows, packets=packets, samples=np.concatenate([sample, rows.samples])), filler


def _rendered(path: Path, report: dict[str, Any], placeholder: Filler | None) -> Rendered:
    # The core counts samples of what it was given; the sidecar speaks of the frames of the plan, which has no placeholder.
    shift = 1 if placeholder else 0
    return Rendered(
        path=path,
        size_bytes=report["size_bytes"],
        sha256=report["sha256"],
        duration_ms=report["duration_ms"],
        video_frames=report["video_frames"],
        audio_packets=report["audio_packets"],
        skipped_frames=tuple(number - shift for number in report["skipped_samples"]),
        silenced_packets=tuple(report.get("silenced_samples", ())),
        width=report["width"],
        height=report["height"],
        placeholder=placeholder,
    )
