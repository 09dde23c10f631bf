"""The Sessions page (what is recorded now, what is being finished, what failed, what was) and the page of one session."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Request, Response

from isotape.dashboard import reads
from isotape.dashboard.look import Look
from isotape.dashboard.parts import DashboardParts
from isotape.dashboard.sidecar import stated_gaps
from isotape.dashboard.timeline import Span, as_received, draw
from isotape.db import journals
from isotape.db.engine import Tx
from isotape.ids import SessionId
from isotape.model import AssetKind, AssetState, Journal, MediaKind

# The steps an asset goes through, as the page names them.
STEPS = (
    (AssetState.SEALED, "sealed"),
    (AssetState.PLANNED, "planned"),
    (AssetState.RENDERED, "rendered"),
    (AssetState.VERIFIED, "verified"),
    (AssetState.STORED, "stored"),
)

# The fields of the filter form; a day is a day in the viewer's zone, which the page's script sends along.
_FIELDS = ("room", "text", "day", "zone", "before")
_FIELD_LETTERS = 200


class SessionPages:
    def __init__(self, parts: DashboardParts, look: Look) -> None:
        self._parts = parts
        self._look = look

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route("", self.home, methods=["GET"])
        router.add_api_route("/now", self.now, methods=["GET"])
        router.add_api_route("/past", self.past, methods=["GET"])
        router.add_api_route("/sessions/{session_id}", self.session, methods=["GET"])

    async def home(self, request: Request) -> Response:
        asked = _asked(request)
        async with self._parts.database.connect() as tx:
            values = {**await self._now(tx), **await self._past(tx, asked)}
            values["rooms"] = [room for room, _ in await reads.room_lines(tx, self._parts.workspace)]
        return self._look.page(request, "sessions.html", values)

    async def now(self, request: Request) -> Response:
        """The upper half of the home page, which the page asks for again every few seconds."""
        async with self._parts.database.connect() as tx:
            return self._look.page(request, "sessions_now.html", await self._now(tx))

    async def past(self, request: Request) -> Response:
        """The table of past sessions alone, as the filter asks for it."""
        async with self._parts.database.connect() as tx:
            values = await self._past(tx, _asked(request))
        return self._look.page(request, "sessions_past.html", values)

    async def _now(self, tx: Tx) -> Mapping[str, Any]:
        workspace = self._parts.workspace
        return {
            "live": await reads.live_sessions(tx, workspace),
            "unfinished": await reads.assets_in_states(tx, workspace, reads.UNFINISHED),
            "failed": await reads.assets_in_states(tx, workspace, [AssetState.FAILED]),
            "steps": STEPS,
            "shown": reads.SHOWN,
        }

    async def _past(self, tx: Tx, asked: Mapping[str, str]) -> Mapping[str, Any]:
        wanted = _wanted(asked)
        lines = await reads.past_sessions(tx, self._parts.workspace, wanted)
        more = lines[reads.PAGE - 1].row.id if len(lines) > reads.PAGE else ""
        narrowed = wanted != reads.SessionFilter()
        return {"lines": lines[: reads.PAGE], "more": more, "narrowed": narrowed, "filled": asked}

    async def session(self, request: Request, session_id: str) -> Response:
        async with self._parts.database.connect() as tx:
            line = await reads.one_session(tx, self._parts.workspace, session_id)
            written = await journals.of_session(tx, SessionId(session_id))
            told = await reads.deliveries_of(tx, self._parts.workspace, session_id)
        span = Span(line.row.created_at, line.row.ended_at or self._parts.clock.now())
        gaps = {asset.id: await stated_gaps(self._parts.storage, asset) for asset in line.assets}
        values = {
            "line": line,
            "span": span,
            "timeline": draw(span, line.peers, as_received(_with_pictures(written, line), line.assets), gaps),
            "peers": {peer.id: peer for peer in line.peers},
            "deliveries": told,
            "steps": STEPS,
            "public_url": self._parts.public_url,
        }
        return self._look.page(request, "session.html", values)


def _with_pictures(written: Sequence[Journal], line: reads.SessionLine) -> Sequence[Journal]:
    """Without the black placeholders of cameras that were never on: their finished asset is an audio one."""
    sound_only = {a.id for a in line.assets if a.kind == AssetKind.AUDIO and a.state == AssetState.COMPLETED}
    return [j for j in written if j.track.kind is not MediaKind.VIDEO or j.asset_id not in sound_only]


def _asked(request: Request) -> Mapping[str, str]:
    return {field: request.query_params.get(field, "")[:_FIELD_LETTERS] for field in _FIELDS}


def _wanted(asked: Mapping[str, str]) -> reads.SessionFilter:
    start = _midnight(asked["day"], asked["zone"])
    end = start + timedelta(days=1) if start else None
    return reads.SessionFilter(asked["room"], asked["text"].strip(), start, end, asked["before"])


def _midnight(day: str, zone: str) -> datetime | None:
    try:
        local = datetime.combine(date.fromisoformat(day), datetime.min.time())
        return local.replace(tzinfo=ZoneInfo(zone) if zone else UTC).astimezone(UTC)
    except (ValueError, OSError, OverflowError):
        return None
