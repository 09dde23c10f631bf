"""Rows of rooms: the named places. Before it: api/ and the dashboard. After it: rooms.py, which lets peers join them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, func, select
from sqlalchemy import insert as insert_row
from sqlalchemy import update as update_rows

from isotape.db.engine import Tx
from isotape.db.pages import Page, cut
from isotape.db.tables import rooms
from isotape.errors import NotFound
from isotape.ids import RoomId, TemplateId, WorkspaceId
from isotape.model import Room


@dataclass(frozen=True, slots=True)
class RoomFilter:
    """What a list of rooms is narrowed to; before and after bound the birth, both inclusive as in 100ms."""

    name: str = ""
    enabled: bool | None = None
    template_id: str = ""
    after: datetime | None = None
    before: datetime | None = None


async def insert(tx: Tx, room: Room) -> None:
    await tx.execute(insert_row(rooms).values(id=room.id, workspace_id=room.workspace_id, **_values(room)))


async def update(tx: Tx, room: Room) -> None:
    """Writes every field of the room but its id and its birth."""
    await tx.execute(
        update_rows(rooms)
        .where(rooms.c.workspace_id == room.workspace_id, rooms.c.id == room.id)
        .values(**_values(room))
    )


async def find(tx: Tx, workspace: WorkspaceId, room_id: str) -> Room | None:
    return await _one(tx, rooms.c.workspace_id == workspace, rooms.c.id == room_id)


async def get(tx: Tx, workspace: WorkspaceId, room_id: str) -> Room:
    room = await find(tx, workspace, room_id)
    if room is None:
        raise NotFound(f"room {room_id}: not found")
    return room


async def find_named(tx: Tx, workspace: WorkspaceId, name: str) -> Room | None:
    """The room of that name; capitals do not make a name different, as in 100ms."""
    return await _one(tx, rooms.c.workspace_id == workspace, func.lower(rooms.c.name) == name.lower())


async def page(tx: Tx, workspace: WorkspaceId, wanted: RoomFilter, where: Page) -> list[Room]:
    query = select(rooms).where(rooms.c.workspace_id == workspace, *_conditions(wanted))
    return [_room(row) for row in await tx.execute(cut(query, rooms.c.id, where))]


def _conditions(wanted: RoomFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.name:
        conditions.append(func.lower(rooms.c.name) == wanted.name.lower())
    if wanted.enabled is not None:
        conditions.append(rooms.c.enabled == wanted.enabled)
    if wanted.template_id:
        conditions.append(rooms.c.template_id == wanted.template_id)
    if wanted.after:
        conditions.append(rooms.c.created_at >= wanted.after)
    if wanted.before:
        conditions.append(rooms.c.created_at <= wanted.before)
    return conditions


async def _one(tx: Tx, *conditions: Any) -> Room | None:
    row = (await tx.execute(select(rooms).where(*conditions))).one_or_none()
    return _room(row) if row else None


def _values(room: Room) -> dict[str, Any]:
    return {
        "template_id": room.template_id,
        "name": room.name,
        "description": room.description,
        "enabled": room.enabled,
        "options": room.options,
        "created_at": room.created_at,
        "updated_at": room.updated_at,
    }


def _room(row: Row[Any]) -> Room:
    return Room(
        id=RoomId(row.id),
        workspace_id=WorkspaceId(row.workspace_id),
        template_id=TemplateId(row.template_id),
        name=row.name,
        description=row.description,
        enabled=row.enabled,
        options=row.options,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
