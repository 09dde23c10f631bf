"""Rows of Sessions. A room has at most one open Session, which the database sees to; closing it is the last leave's transaction."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Row, select, update
from sqlalchemy import insert as insert_row

from isotape.db.engine import Tx
from isotape.db.pages import Page, cut
from isotape.db.tables import sessions
from isotape.ids import JobId, RoomId, SessionId, TemplateId, WorkspaceId
from isotape.model import Session, SessionState, StreamRecording


@dataclass(frozen=True, slots=True)
class SessionFilter:
    """What a list of Sessions is narrowed to; after and before bound the start, both inclusive."""

    active: bool | None = None
    room_ids: Collection[str] = ()
    after: datetime | None = None
    before: datetime | None = None


async def insert(tx: Tx, session: Session) -> None:
    await tx.execute(
        insert_row(sessions).values(
            id=session.id,
            workspace_id=session.workspace_id,
            room_id=session.room_id,
            template_id=session.template_id,
            job_id=session.job_id,
            state=session.state.value,
            recording=asdict(session.recording),
            created_at=session.created_at,
            ended_at=session.ended_at,
            updated_at=session.created_at,
        )
    )


async def close(tx: Tx, session_id: SessionId, ended_at: datetime) -> None:
    await tx.execute(
        update(sessions)
        .where(sessions.c.id == session_id)
        .values(state=SessionState.CLOSED.value, ended_at=ended_at, updated_at=ended_at)
    )


async def get(tx: Tx, workspace_id: WorkspaceId, session_id: SessionId) -> Session | None:
    """The workspace's Session of that id."""
    query = select(sessions).where(sessions.c.id == session_id, sessions.c.workspace_id == workspace_id)
    row = (await tx.execute(query)).first()
    return None if row is None else from_row(row)


async def find_open(tx: Tx, room_id: RoomId) -> Session | None:
    """The room's open Session."""
    query = select(sessions).where(sessions.c.room_id == room_id, sessions.c.state == SessionState.OPEN.value)
    row = (await tx.execute(query)).one_or_none()
    return None if row is None else from_row(row)


async def page(tx: Tx, workspace_id: WorkspaceId, wanted: SessionFilter, where: Page) -> list[Session]:
    """Sessions of the workspace, newest first."""
    query = select(sessions).where(sessions.c.workspace_id == workspace_id)
    if wanted.active is not None:
        state = SessionState.OPEN if wanted.active else SessionState.CLOSED
        query = query.where(sessions.c.state == state.value)
    if wanted.room_ids:
        query = query.where(sessions.c.room_id.in_(wanted.room_ids))
    if wanted.after:
        query = query.where(sessions.c.created_at >= wanted.after)
    if wanted.before:
        query = query.where(sessions.c.created_at <= wanted.before)
    return [from_row(row) for row in await tx.execute(cut(query, sessions.c.id, where))]


async def list_open(tx: Tx) -> Sequence[Session]:
    """Every open Session of this node, oldest first: after a start, those that a stop or crash left open."""
    query = select(sessions).where(sessions.c.state == SessionState.OPEN.value).order_by(sessions.c.id)
    return [from_row(row) for row in await tx.execute(query)]


def from_row(row: Row[tuple[object, ...]]) -> Session:
    """A Session of a row that holds all of the table's columns."""
    return Session(
        id=SessionId(row.id),
        workspace_id=WorkspaceId(row.workspace_id),
        room_id=RoomId(row.room_id),
        template_id=TemplateId(row.template_id),
        job_id=JobId(row.job_id),
        state=SessionState(row.state),
        recording=StreamRecording(**row.recording),
        created_at=row.created_at,
        ended_at=row.ended_at,
    )
