"""Rows of events: facts that were committed together with the change they report. Written by isotape.events alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert as insert_row
from sqlalchemy import select

from isotape.db.engine import Tx
from isotape.db.tables import events
from isotape.ids import EventId, WorkspaceId


@dataclass(frozen=True, slots=True)
class EventRow:
    """One event as it is told; `body` is kept to the byte, because it is signed."""

    id: EventId
    workspace_id: WorkspaceId
    type: str
    room_id: str
    session_id: str
    body: str
    created_at: datetime


async def insert(tx: Tx, event: EventRow) -> None:
    values: Mapping[str, object] = {name: getattr(event, name) for name in event.__dataclass_fields__}
    await tx.execute(insert_row(events).values(**values))


async def of_session(tx: Tx, workspace: WorkspaceId, session_id: str) -> list[EventRow]:
    """The events of a session in the order in which they were committed."""
    columns = [events.c[name] for name in EventRow.__dataclass_fields__]
    rows = await tx.execute(
        select(*columns)
        .where(events.c.workspace_id == workspace, events.c.session_id == session_id)
        .order_by(events.c.sequence)
    )
    return [EventRow(*row) for row in rows]
