"""The sidecar of a file: its clock, every gap with its cause, every filler, sizes and counts. docs/formats/timeline.md gives each field.

Before it: plan.py and render.py. After it: stored beside the file; the dashboard draws it. The same journals give the same bytes.
"""

import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from isotape.assets.ledger import Loss
from isotape.assets.plan import Plan, PlannedTrack
from isotape.assets.render import Rendered
from isotape.assets.samples import AUDIO_RATE, VIDEO_RATE, Filler, Gap
from isotape.assets.tape import CONCEALED
from isotape.assets.timeline import TimedEpoch
from isotape.clock import from_millis, rfc3339
from isotape.model import Asset, Json, MediaKind

FORMAT = "isotape-timeline/1"


def sidecar(plan: Plan, rendered: Rendered, asset: Asset, session_started_ms: int) -> bytes:
    """The JSON text, UTF-8, keys sorted, one line feed at the end."""
    content = {
        "format": FORMAT,
        "asset": _asset(asset, plan),
        "file": {
            "container": plan.container,
            "size_bytes": rendered.size_bytes,
            "sha256": rendered.sha256,
            "duration_ms": rendered.duration_ms,
        },
        "zero": _zero(plan, session_started_ms),
        "tracks": [_track(track, plan, rendered) for track in plan.tracks],
    }
    return (json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n").encode()


def summary(plan: Plan, rendered: Rendered, session_started_ms: int) -> Json:
    """What goes into the Asset's metadata: the sidecar in a few lines."""
    gaps = [gap for track in plan.tracks for gap in track.gaps]
    by_cause: dict[str, int] = {}
    for gap in gaps:
        by_cause[gap.cause.value] = by_cause.get(gap.cause.value, 0) + 1
    zero = _zero(plan, session_started_ms)
    return {
        "started_at": zero["time"],
        "offset_ms": round(zero["offset_ms"]),
        "codec": {track.kind.value: track.codec for track in plan.tracks},
        "resolution": {"width": rendered.width, "height": rendered.height} if plan.pictures else None,
        "sha256": rendered.sha256,
        "gaps": {
            "count": len(gaps),
            "total_ms": round(sum(gap.end - gap.start for gap in gaps) * 1000 / AUDIO_RATE),
            "lost_packets": sum(track.counts.lost for track in plan.tracks),
            "concealed_ms": round(_concealed(plan) * 1000 / AUDIO_RATE),
            "by_cause": by_cause,
        },
        "packets": {track.kind.value: _packets(track) for track in plan.tracks},
    }


def _asset(asset: Asset, plan: Plan) -> dict[str, Any]:
    return {
        "id": asset.id,
        "kind": plan.kind.value,
        "room_id": asset.room_id,
        "session_id": asset.session_id,
        "peer_id": asset.peer_id,
        "user_id": asset.user_id,
        "name": asset.metadata.get("name", ""),
        "role": asset.metadata.get("role", ""),
        "stream_id": asset.stream_id,
        "part": asset.part,
    }


def _zero(plan: Plan, session_started_ms: int) -> dict[str, Any]:
    return {
        "session_ns": plan.zero_ns,
        "time": rfc3339(from_millis(plan.zero_ns // 1_000_000)),
        "offset_ms": round(plan.zero_ns / 1e6 - session_started_ms, 3),
    }


def _track(track: PlannedTrack, plan: Plan, rendered: Rendered) -> dict[str, Any]:
    own = _sound_facts(plan, rendered) if track.kind is MediaKind.AUDIO else _picture_facts(plan, rendered)
    return {
        "kind": track.kind.value,
        "codec": track.codec,
        "source": track.logs[0].source,
        "journals": [
            {"id": log.journal_id, "torn_bytes": log.torn_bytes, "seal": log.seal_reason} for log in track.logs
        ],
        "packets": _packets(track),
        "gaps": [_gap(gap) for gap in track.gaps],
        "losses": [_loss(loss) for loss in track.losses],
        "clock": [_clock(timed, plan) for timed in track.epochs],
        **own,
    }


def _sound_facts(plan: Plan, rendered: Rendered) -> dict[str, Any]:
    assert plan.sound is not None
    return {
        "channels": plan.sound.channels,
        "duration_ms": _ms(plan.sound.length),
        "samples": {
            "real": plan.sound.real_packets,
            "made": len(plan.sound.rows.samples) - plan.sound.real_packets,
            "overlapping": plan.sound.overlapping,
            "unreadable": plan.sound.unreadable,
            "silenced": len(rendered.silenced_packets),
        },
        "concealed_ms": _ms(_concealed(plan)),
        "fillers": [_filler(filler) for filler in plan.sound.fillers],
    }


def _picture_facts(plan: Plan, rendered: Rendered) -> dict[str, Any]:
    assert plan.pictures is not None
    placeholders: Iterable[Filler] = [rendered.placeholder] if rendered.placeholder else []
    pts = plan.pictures.rows.samples["pts"]
    return {
        "duration_ms": _ms(plan.pictures.end),
        "frames": {
            "real": plan.pictures.frames - len(rendered.skipped_frames),
            "key": plan.pictures.key_frames,
            "incomplete": plan.pictures.incomplete,
            "before_key": plan.pictures.before_key,
            "skipped_ms": [round(int(pts[number]) * 1000 / VIDEO_RATE, 3) for number in rendered.skipped_frames],
        },
        "fillers": [_filler(filler) for filler in placeholders],
        "layers": [{"at_ms": _ms(one.start), "ssrc": one.ssrc} for one in plan.pictures.layers],
        "resolutions": [
            {"at_ms": _ms(one.start), "width": one.width, "height": one.height} for one in plan.pictures.resolutions
        ],
    }


def _packets(track: PlannedTrack) -> dict[str, int]:
    counts = track.counts
    return {
        "expected": counts.expected,
        "received": counts.received,
        "recovered": counts.recovered,
        "lost": counts.lost,
        "duplicates": counts.duplicates,
        "late": counts.late,
    }


def _gap(gap: Gap) -> dict[str, Any]:
    return {
        "from_ms": _ms(gap.start),
        "to_ms": _ms(gap.end),
        "cause": gap.cause.value,
        "packets": gap.packets,
        "frames": gap.frames,
        "note": gap.note,
    }


def _loss(loss: Loss) -> dict[str, Any]:
    return {
        "ssrc": loss.ssrc,
        "first": loss.first,
        "last": loss.last,
        "packets": loss.packets,
        "session_ns": [loss.after_ns, loss.before_ns],
        "cause": loss.cause.value,
    }


def _concealed(plan: Plan) -> int:
    """Samples of 48 kHz that a decoder makes up from the sound before them."""
    fillers = plan.sound.fillers if plan.sound else ()
    return sum(filler.length for filler in fillers if filler.kind == CONCEALED)


def _filler(filler: Filler) -> dict[str, Any]:
    return {
        "at_ms": _ms(filler.start),
        "duration_ms": _ms(filler.length),
        "kind": str(filler.kind),
        "packets": filler.packets,
    }


def _clock(timed: TimedEpoch, plan: Plan) -> dict[str, Any]:
    """One stretch of one sender clock: where it lies in the file, on the session's clock, and on the sender's own."""
    epoch, clock = timed.epoch, timed.clock
    return {
        "ssrc": epoch.ssrc,
        "timestamp": int(epoch.packets["timestamp"][0]),
        "from_ms": _ms(plan.line.position_of(timed.start_ns)),
        "to_ms": _ms(plan.line.position_of(timed.end_ns)),
        "session_ns": [timed.start_ns, timed.end_ns],
        "sender_reports": clock.reports,
        "session_minus_sender_ns": clock.ntp_offset_ns,
        "uncertainty_ms": round(clock.uncertainty_ns / 1e6, 3),
        "points": [_point(timed, row, plan) for row in _bends(timed)],
    }


def _bends(timed: TimedEpoch) -> list[int]:
    """The packets between which the clock is a straight line: first and last, those at its knots, and both sides of each stall."""
    ticks = timed.epoch.ticks
    knots = np.searchsorted(ticks, timed.clock.knots[1:-1]).tolist()
    stalls = [row for stall in timed.epoch.stalls for row in (stall.packet - 1, stall.packet)]
    return sorted({0, len(ticks) - 1, *(min(row, len(ticks) - 1) for row in knots), *stalls})


def _point(timed: TimedEpoch, row: int, plan: Plan) -> list[float]:
    """RTP timestamp as sent, session_ns, file time in ms."""
    moment_ns = timed.clock.at(int(timed.epoch.ticks[row]))
    return [int(timed.epoch.packets["timestamp"][row]), moment_ns, _ms(plan.line.position_of(moment_ns))]


def _ms(position: int) -> float:
    return round(position * 1000 / AUDIO_RATE, 3)
