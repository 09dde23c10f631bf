"""Seconds from the recorded packets of one hour to the file that people watch: isotape beside the way that Janus documents.

isotape: one process that plans, renders, makes the file durable, reads it back and compares it. Janus: `janus-pp-rec` for picture and
for sound, then `ffmpeg -c copy` of both into one file. Both get the same packets; pairs alternate.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import av

from bench.clips import ROUND_S
from bench.figures import Table, ratio_of_pairs, spread
from bench.hour import Loop, picture_loop, sound_loop, write_both
from bench.janus import install
from bench.processes import Spent, spend
from bench.release import ROOT, Release

_ROUNDS = {True: 30, False: 180}  # --quick: 10 minutes
_PAIRS = {True: 1, False: 3}
_CONTAINER = {"VP8": "webm", "H264": "mp4"}


@dataclass(frozen=True, slots=True)
class _Call:
    """One recorded hour in both forms."""

    codec: str
    journals: list[Path]
    picture: Path
    sound: Path
    frames: int
    sounds: int


async def measure(release: Release, folder: Path, quick: bool) -> Table:
    return await asyncio.to_thread(_measure, release, folder, quick)


def _measure(release: Release, folder: Path, quick: bool) -> Table:
    version, pairs = install(), _PAIRS[quick]
    minutes = _ROUNDS[quick] * ROUND_S // 60
    table = Table(
        f"From the packets of {minutes} minutes to the finished file",
        ["media", "isotape, s", "isotape, CPU s", f"{version} + ffmpeg, s", "CPU s", "theirs ÷ ours"],
        notes=[
            "1280 x 720 of 2 Mbit/s at 30 pictures/s and Opus of 48 kbit/s, 20 s looped at packet level, nothing lost.",
            f"Whole processes, {pairs} pairs in turn, packets in the page cache; median (range), ratio of wall time per pair.",
            "isotape also syncs the file to disk, hashes it, reads it back and decodes two key frames; the peer does none of these.",
        ],
    )
    for codec in _CONTAINER:
        call = _record(codec, folder, _ROUNDS[quick])
        ours, theirs = [], []
        for _ in range(pairs):
            ours.append(_isotape(release, call, folder))
            theirs.append(_janus(call, folder))
        walls = [[one.wall_s for one in spent] for spent in (ours, theirs)]
        cpus = [spread([one.cpu_s for one in spent]) for spent in (ours, theirs)]
        name = f"{codec} + Opus → {_CONTAINER[codec]}"
        table.add(name, spread(walls[0]), cpus[0], spread(walls[1]), cpus[1], ratio_of_pairs(*walls))
        for path in (*call.journals, call.picture, call.sound):
            _remove(path)
    return table


def _record(codec: str, folder: Path, rounds: int) -> _Call:
    journals, mjrs, loops = [], [], [picture_loop(codec), sound_loop()]
    for loop in loops:
        journals.append(folder / f"{codec}-{loop.kind}")
        mjrs.append(folder / f"{codec}-{loop.kind}.mjr")
        write_both(loop, rounds, journals[-1], mjrs[-1])
    picture, sound = mjrs
    return _Call(codec, journals, picture, sound, _frames(loops[0]) * rounds, len(loops[1].payloads) * rounds)


def _frames(loop: Loop) -> int:
    return int(loop.markers.sum())


def _isotape(release: Release, call: _Call, folder: Path) -> Spent:
    out = folder / f"isotape.{_CONTAINER[call.codec]}"
    command = release.python("-m", "bench.make_file", out, *call.journals)
    spent = spend(command, {"PYTHONPATH": f"{release.folder}:{ROOT}"})
    _check(out, call)
    out.unlink()
    return spent


def _janus(call: _Call, folder: Path) -> Spent:
    container = _CONTAINER[call.codec]
    picture, sound, out = (folder / name for name in (f"picture.{container}", "sound.opus", f"janus.{container}"))
    index_first = ["-movflags", "+faststart"] if container == "mp4" else []
    spent = spend(["janus-pp-rec", "-d", "3", call.picture, picture])
    spent += spend(["janus-pp-rec", "-d", "3", call.sound, sound])
    spent += spend(["ffmpeg", "-v", "error", "-y", "-i", picture, "-i", sound, "-c", "copy", *index_first, out])
    _check(out, call)
    for path in (picture, sound, out):
        path.unlink()
    return spent


def _check(path: Path, call: _Call) -> None:
    """A file that lacks media was not made faster. One sound or picture at the seam of tools is no matter."""
    with av.open(str(path)) as container:
        counts = {stream.index: 0 for stream in container.streams}
        for packet in container.demux():
            counts[packet.stream.index] += bool(packet.size)
        frames, sounds = counts[container.streams.video[0].index], counts[container.streams.audio[0].index]
    if abs(frames - call.frames) > 2 or abs(sounds - call.sounds) > 3:
        raise RuntimeError(f"{path.name}: {frames} pictures and {sounds} sounds of {call.frames} and {call.sounds}")


def _remove(path: Path) -> None:
    if path.is_file():
        path.unlink()
        return
    for segment in path.iterdir():
        segment.unlink()
    path.rmdir()
