"""The plan of an Asset's file: what it holds, where every sample comes from, when it is shown, and what is missing and why. Pure.

Before it: packets.py with the logs of all journals of the Asset (several after reconnects). After it: render.py, which adds a
placeholder picture where one is due and has the core write the file, and sidecar.py, which writes the findings down.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from isotape.assets.causes import muted_throughout
from isotape.assets.frames import first_picture, frames_of, main_codec
from isotape.assets.layers import follow
from isotape.assets.ledger import Loss, dropped_at_end, losses
from isotape.assets.order import Epoch, PacketCounts, epochs_of
from isotape.assets.packets import CODECS, TrackLog
from isotape.assets.pictures import PictureTrack, show
from isotape.assets.samples import AUDIO_RATE, Cause, Gap, Literals, SampleLine, in_order, level_line
from isotape.assets.sound import SoundTrack, audible_epochs, first_sound, lay
from isotape.assets.stalls import heal
from isotape.assets.timeline import TimedEpoch, clocks
from isotape.model import AssetKind, MediaKind

# VP8 has no place in MP4 that players accept; everything else has (docs/measured.md).
_WEBM_CODECS = frozenset({"VP8"})


@dataclass(frozen=True, slots=True)
class PlannedTrack:
    """What the plan knows of one kind of media over all its journals."""

    kind: MediaKind
    codec: str
    logs: tuple[TrackLog, ...]
    epochs: tuple[TimedEpoch, ...]
    counts: PacketCounts
    gaps: tuple[Gap, ...]
    losses: tuple[Loss, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """A file on paper. sound or pictures may be missing, not both; zero_ns is the session time of the file's 0."""

    kind: AssetKind
    container: str
    zero_ns: int
    line: SampleLine
    files: tuple[str, ...]
    literals: Literals
    sound: SoundTrack | None
    pictures: PictureTrack | None
    tracks: tuple[PlannedTrack, ...]

    @property
    def duration_ms(self) -> int:
        """The longest of both tracks."""
        ends = [track.length for track in [self.sound] if track] + [track.end for track in [self.pictures] if track]
        return round(max(ends) * 1000 / AUDIO_RATE)


@dataclass(frozen=True, slots=True)
class _Media:
    """The journals of one kind, ordered and timed."""

    logs: tuple[TrackLog, ...]
    epochs: list[TimedEpoch]
    counts: PacketCounts
    bases: tuple[int, ...]


def plan(logs: Sequence[TrackLog], kind: AssetKind) -> Plan | None:
    """Plans the file of an Asset. None when there is nothing to see or hear in any journal."""
    logs = tuple(log for log in logs if len(log.packets))
    bases = tuple(np.cumsum([0, *(len(log.files) for log in logs)]).tolist())
    epochs, counts = _epochs(logs)
    timed = clocks(logs, epochs)
    sound = audible_epochs(_of_kind(logs, timed, MediaKind.AUDIO))
    video = _of_kind(logs, timed, MediaKind.VIDEO)
    codec = None if _without_picture(logs, kind) else main_codec(video)
    frames = follow(frames_of([one for one in video if one.epoch.codec == codec]))
    starts = [moment for moment in (first_sound(sound), first_picture(frames)) if moment is not None]
    if not starts:
        return None
    literals = Literals()
    laid = lay(logs, bases, sound, min(starts), literals) if sound else None
    line = laid.line if laid else level_line(min(starts))
    screen = kind is AssetKind.SCREEN
    shown = show(logs, bases, frames, line, screen=screen) if first_picture(frames) is not None else None
    tracks = [_sound_track(logs, sound, counts, laid)] if laid else []
    tracks += [_picture_track(logs, video, counts, shown, line)] if shown else []
    return Plan(
        kind=kind if shown or screen else AssetKind.AUDIO,
        container="webm" if shown and CODECS[shown.codec] in _WEBM_CODECS else "mp4",
        zero_ns=min(starts),
        line=line,
        files=tuple(name for log in logs for name in log.files),
        literals=literals,
        sound=laid,
        pictures=shown,
        tracks=tuple(tracks),
    )


def _epochs(logs: Sequence[TrackLog]) -> tuple[list[Epoch], list[PacketCounts]]:
    """The Epochs of all journals, and the counts of each journal."""
    epochs: list[Epoch] = []
    counts: list[PacketCounts] = []
    for number, log in enumerate(logs):
        found, counted = epochs_of(number, log)
        epochs += found
        counts.append(counted)
    video = [epoch for epoch in epochs if logs[epoch.log].kind is MediaKind.VIDEO]
    audio = [epoch for epoch in epochs if logs[epoch.log].kind is MediaKind.AUDIO]
    return [*video, *(heal(logs[epoch.log], epoch, video) for epoch in audio)], counts


def _of_kind(logs: Sequence[TrackLog], timed: Sequence[TimedEpoch], kind: MediaKind) -> list[TimedEpoch]:
    return [one for one in timed if logs[one.epoch.log].kind is kind]


def _without_picture(logs: Sequence[TrackLog], kind: AssetKind) -> bool:
    """A camera that was off all its life sent black placeholders, which are no picture. With nothing else they are what there is."""
    video = [log for log in logs if log.kind is MediaKind.VIDEO]
    with_sound = any(log.kind is MediaKind.AUDIO for log in logs)
    return kind is not AssetKind.SCREEN and with_sound and all(muted_throughout(log) for log in video)


def _sound_track(
    logs: Sequence[TrackLog], timed: Sequence[TimedEpoch], counts: Sequence[PacketCounts], sound: SoundTrack
) -> PlannedTrack:
    mine, counted = _mine(logs, counts, MediaKind.AUDIO)
    gaps = in_order([*sound.gaps, *_dropped_at_end(mine, sound.length)])
    return PlannedTrack(MediaKind.AUDIO, "opus", mine, tuple(timed), counted, gaps, losses(logs, timed))


def _picture_track(
    logs: Sequence[TrackLog],
    timed: Sequence[TimedEpoch],
    counts: Sequence[PacketCounts],
    pictures: PictureTrack,
    line: SampleLine,
) -> PlannedTrack:
    mine, counted = _mine(logs, counts, MediaKind.VIDEO)
    others = [_other_codec(one, line) for one in timed if one.epoch.codec not in (0, pictures.codec)]
    gaps = in_order([*pictures.gaps, *others, *_dropped_at_end(mine, pictures.end)])
    codec = CODECS[pictures.codec]
    return PlannedTrack(MediaKind.VIDEO, codec, mine, tuple(timed), counted, gaps, losses(logs, timed))


def _mine(
    logs: Sequence[TrackLog], counts: Sequence[PacketCounts], kind: MediaKind
) -> tuple[tuple[TrackLog, ...], PacketCounts]:
    mine = [number for number, log in enumerate(logs) if log.kind is kind]
    dropped = PacketCounts(lost=sum(dropped_at_end(logs[number]) for number in mine))
    return tuple(logs[number] for number in mine), sum((counts[number] for number in mine), dropped)


def _dropped_at_end(logs: Sequence[TrackLog], end: int) -> list[Gap]:
    dropped = dropped_at_end(logs[-1])
    return [Gap(end, end, Cause.SERVER, dropped, note="behind the last packet that was kept")] if dropped else []


def _other_codec(timed: TimedEpoch, line: SampleLine) -> Gap:
    """A file holds one codec; what came in another stays in the journals and is stated."""
    start, end = max(line.position_of(timed.start_ns), 0), max(line.position_of(timed.end_ns), 0)
    frames = len(np.unique(timed.epoch.ticks))
    note = f"sent as {CODECS.get(timed.epoch.codec, 'unknown')}, not in this file"
    return Gap(start, end, Cause.SERVER, len(timed.epoch.ticks), frames, note)
