"""Recording jobs as 100ms has them: one for each Session that was recorded. There are no rows of their own; a job is read off its
Session.

After it: api/recordings.py alone.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, select

from isotape.db.assets import UNFINISHED
from isotape.db.engine import Tx
from isotape.db.pages import Page, cut
from isotape.db.sessions import from_row
from isotape.db.tables import assets, sessions
from isotape.ids import WorkspaceId
from isotape.model import AssetState, Session, SessionState


@dataclass(frozen=True, slots=True)
class RecordingFilter:
    room_ids: Collection[str] = ()
    session_ids: Collection[str] = ()
    statuses: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Recording:
    """A recorded Session and its job's status in 100ms' words."""

    session: Session
    status: str


async def page(tx: Tx, workspace: WorkspaceId, wanted: RecordingFilter, where: Page) -> list[Recording]:
    query = _recorded(workspace)
    if wanted.room_ids:
        query = query.where(sessions.c.room_id.in_(wanted.room_ids))
    if wanted.session_ids:
        query = query.where(sessions.c.id.in_(wanted.session_ids))
    if wanted.statuses:
        query = query.where(_status.in_(wanted.statuses))
    rows = await tx.execute(cut(query, sessions.c.job_id, where))
    return [Recording(from_row(row), row.job_status) for row in rows]


async def find(tx: Tx, workspace: WorkspaceId, job_id: str) -> Recording | None:
    row = (await tx.execute(_recorded(workspace).where(sessions.c.job_id == job_id))).one_or_none()
    return Recording(from_row(row), row.job_status) if row else None


def _recorded(workspace: WorkspaceId) -> Select[Any]:
    return select(sessions, _status.label("job_status")).where(
        sessions.c.workspace_id == workspace, sessions.c.recording["enabled"].as_boolean()
    )


def _has_asset(*states: AssetState) -> ColumnElement[bool]:
    return select(assets.c.id).where(assets.c.session_id == sessions.c.id, assets.c.state.in_(states)).exists()


_status: ColumnElement[str] = case(
    (sessions.c.state == SessionState.OPEN, "running"),
    (_has_asset(*UNFINISHED), "post_processing"),
    (and_(_has_asset(AssetState.FAILED), ~_has_asset(AssetState.COMPLETED)), "failed"),
    else_="completed",
)
