"""What the pages read that spans several nouns: sessions with peers and assets, rooms with codes, deliveries with events.

Before it: rows that rooms/, assets/ and webhooks/ wrote. After it: the pages. Every query names the workspace; nothing here writes. Rows of
one noun come from that noun's module in db/.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, func, or_, select

from isotape.db.engine import Tx
from isotape.db.tables import assets, deliveries, events, peers, room_codes, rooms, sessions, templates
from isotape.errors import NotFound
from isotape.ids import WorkspaceId
from isotape.model import AssetState, PeerState, SessionState

# A page of past sessions; more are one click away.
PAGE = 30
# Live sessions, unfinished and failed assets shown at once; the page says when there are more.
SHOWN = 50

UNFINISHED = (AssetState.SEALED, AssetState.PLANNED, AssetState.RENDERED, AssetState.VERIFIED, AssetState.STORED)
_KEPT = [state for state in AssetState if state is not AssetState.DISCARDED]


@dataclass(frozen=True, slots=True)
class SessionLine:
    """One session as a list shows it."""

    row: Row[Any]
    peers: tuple[Row[Any], ...]
    assets: tuple[Row[Any], ...]

    @property
    def present(self) -> tuple[Row[Any], ...]:
        return tuple(peer for peer in self.peers if peer.state == PeerState.JOINED)

    @property
    def size_bytes(self) -> int:
        return sum(asset.size_bytes for asset in self.assets)

    def assets_in(self, *states: str) -> int:
        return sum(asset.state in states for asset in self.assets)

    @property
    def unfinished(self) -> int:
        return self.assets_in(*UNFINISHED, AssetState.RECORDING)

    @property
    def duration_ms(self) -> float | None:
        return (self.row.ended_at - self.row.created_at).total_seconds() * 1000 if self.row.ended_at else None

    @property
    def recorded(self) -> bool:
        return bool(self.row.recording.get("enabled"))


@dataclass(frozen=True, slots=True)
class SessionFilter:
    """What the list of past sessions is narrowed to. from_/to bound the start; before is the id of the last line shown."""

    room: str = ""
    text: str = ""
    started_from: datetime | None = None
    started_to: datetime | None = None
    before: str = ""


_session_columns = (sessions, rooms.c.name.label("room_name"))


async def live_sessions(tx: Tx, workspace: WorkspaceId) -> list[SessionLine]:
    """Open sessions, the longest first."""
    rows = await tx.execute(
        select(*_session_columns)
        .join(rooms, rooms.c.id == sessions.c.room_id)
        .where(sessions.c.workspace_id == workspace, sessions.c.state == SessionState.OPEN)
        .order_by(sessions.c.created_at)
        .limit(SHOWN)
    )
    return await _with_people(tx, rows.all())


async def past_sessions(tx: Tx, workspace: WorkspaceId, wanted: SessionFilter) -> list[SessionLine]:
    """Closed sessions, newest first; one more than a page when there is a next page."""
    rows = await tx.execute(
        select(*_session_columns)
        .join(rooms, rooms.c.id == sessions.c.room_id)
        .where(
            sessions.c.workspace_id == workspace,
            sessions.c.state == SessionState.CLOSED,
            *_narrowed(wanted),
        )
        .order_by(sessions.c.id.desc())
        .limit(PAGE + 1)
    )
    return await _with_people(tx, rows.all())


def _narrowed(wanted: SessionFilter) -> Iterable[ColumnElement[bool]]:
    if wanted.room:
        yield sessions.c.room_id == wanted.room
    if wanted.before:
        yield sessions.c.id < wanted.before
    if wanted.started_from:
        yield sessions.c.created_at >= wanted.started_from
    if wanted.started_to:
        yield sessions.c.created_at < wanted.started_to
    if wanted.text:
        someone = select(peers.c.id).where(
            peers.c.session_id == sessions.c.id,
            or_(
                *(
                    column.icontains(wanted.text, autoescape=True)
                    for column in (peers.c.name, peers.c.user_id, peers.c.id)
                )
            ),
        )
        yield or_(
            rooms.c.name.icontains(wanted.text, autoescape=True), sessions.c.id == wanted.text.strip(), someone.exists()
        )


async def one_session(tx: Tx, workspace: WorkspaceId, session_id: str) -> SessionLine:
    row = (
        await tx.execute(
            select(*_session_columns, templates.c.name.label("template_name"))
            .join(rooms, rooms.c.id == sessions.c.room_id)
            .join(templates, templates.c.id == sessions.c.template_id)
            .where(sessions.c.workspace_id == workspace, sessions.c.id == session_id)
        )
    ).one_or_none()
    if row is None:
        raise NotFound(f"session {session_id}: there is none with this id")
    return (await _with_people(tx, [row]))[0]


async def _with_people(tx: Tx, rows: Sequence[Row[Any]]) -> list[SessionLine]:
    ids = [row.id for row in rows]
    people = await tx.execute(select(peers).where(peers.c.session_id.in_(ids)).order_by(peers.c.joined_at))
    kept = await tx.execute(
        select(assets)
        .where(assets.c.session_id.in_(ids), assets.c.state.in_(_KEPT))
        .order_by(assets.c.created_at, assets.c.id)
    )
    by_session: dict[str, tuple[list[Row[Any]], list[Row[Any]]]] = {row_id: ([], []) for row_id in ids}
    for peer in people:
        by_session[peer.session_id][0].append(peer)
    for asset in kept:
        by_session[asset.session_id][1].append(asset)
    return [SessionLine(row, *(tuple(part) for part in by_session[row.id])) for row in rows]


async def assets_in_states(tx: Tx, workspace: WorkspaceId, states: Iterable[AssetState]) -> Sequence[Row[Any]]:
    """Assets in one of these states with their peer's and room's names, newest first."""
    rows = await tx.execute(
        select(assets, rooms.c.name.label("room_name"), peers.c.name.label("peer_name"))
        .join(rooms, rooms.c.id == assets.c.room_id)
        .join(peers, _peer_of_asset, isouter=True)
        .where(assets.c.workspace_id == workspace, assets.c.state.in_(list(states)))
        .order_by(assets.c.id.desc())
        .limit(SHOWN)
    )
    return rows.all()


_peer_of_asset = and_(peers.c.session_id == assets.c.session_id, peers.c.id == assets.c.peer_id)


async def one_asset(tx: Tx, workspace: WorkspaceId, asset_id: str) -> Row[Any]:
    row = (
        await tx.execute(
            select(
                assets,
                rooms.c.name.label("room_name"),
                peers.c.name.label("peer_name"),
                peers.c.role.label("peer_role"),
                sessions.c.created_at.label("session_created_at"),
            )
            .join(rooms, rooms.c.id == assets.c.room_id)
            .join(sessions, sessions.c.id == assets.c.session_id)
            .join(peers, _peer_of_asset, isouter=True)
            .where(assets.c.workspace_id == workspace, assets.c.id == asset_id)
        )
    ).one_or_none()
    if row is None:
        raise NotFound(f"asset {asset_id}: there is none with this id")
    return row


async def deliveries_of(tx: Tx, workspace: WorkspaceId, session_id: str = "") -> Sequence[Row[Any]]:
    """Deliveries with the event they tell, newest first; of one session or of all."""
    of_session = [events.c.session_id == session_id] if session_id else []
    rows = await tx.execute(
        select(deliveries, events.c.type, events.c.session_id, events.c.body, events.c.sequence)
        .join(events, events.c.id == deliveries.c.event_id)
        .where(events.c.workspace_id == workspace, *of_session)
        .order_by(events.c.sequence.desc())
        .limit(200)
    )
    return rows.all()


async def room_lines(tx: Tx, workspace: WorkspaceId) -> list[tuple[Row[Any], Sequence[Row[Any]]]]:
    """Rooms with their template's name, the id of their open session or None, and their codes; newest first."""
    open_session = (
        select(func.max(sessions.c.id))
        .where(sessions.c.room_id == rooms.c.id, sessions.c.state == SessionState.OPEN)
        .scalar_subquery()
    )
    found = (
        await tx.execute(
            select(rooms, templates.c.name.label("template_name"), open_session.label("open_session_id"))
            .join(templates, templates.c.id == rooms.c.template_id)
            .where(rooms.c.workspace_id == workspace)
            .order_by(rooms.c.id.desc())
            .limit(500)
        )
    ).all()
    codes = await tx.execute(
        select(room_codes)
        .join(rooms, rooms.c.id == room_codes.c.room_id)
        .where(rooms.c.workspace_id == workspace)
        .order_by(room_codes.c.role)
    )
    by_room: dict[str, list[Row[Any]]] = {}
    for code in codes:
        by_room.setdefault(code.room_id, []).append(code)
    return [(room, by_room.get(room.id, [])) for room in found]


async def template_lines(tx: Tx, workspace: WorkspaceId) -> Sequence[Row[Any]]:
    """Templates with the number of their rooms and of sessions that are open on them."""
    used = select(func.count()).where(rooms.c.template_id == templates.c.id).scalar_subquery()
    live = (
        select(func.count())
        .where(sessions.c.template_id == templates.c.id, sessions.c.state == SessionState.OPEN)
        .scalar_subquery()
    )
    rows = await tx.execute(
        select(templates, used.label("rooms"), live.label("live"))
        .where(templates.c.workspace_id == workspace)
        .order_by(templates.c.id.desc())
    )
    return rows.all()


async def joinable_code(tx: Tx, workspace: WorkspaceId, code: str) -> Row[Any] | None:
    """The room code with its room's name, whether both are open, and what the template says about recording."""
    row = await tx.execute(
        select(
            room_codes.c.code,
            room_codes.c.role,
            rooms.c.name.label("room_name"),
            and_(room_codes.c.enabled, rooms.c.enabled).label("open"),
            templates.c.recordings,
        )
        .join(rooms, rooms.c.id == room_codes.c.room_id)
        .join(templates, templates.c.id == rooms.c.template_id)
        .where(rooms.c.workspace_id == workspace, room_codes.c.code == code)
    )
    return row.one_or_none()
