"""Rows of room codes: short secrets that stand for a room and a role. Codes never expire; one a room and role."""

import secrets
import string
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select, update
from sqlalchemy import insert as insert_row

from isotape.db.engine import Tx
from isotape.db.tables import room_codes, rooms
from isotape.ids import RoomId, WorkspaceId
from isotape.model import Room, RoomCode


def new_code() -> str:
    """`abc-defg-hij`: ten random letters, 47 bits."""
    letters = "".join(secrets.choice(string.ascii_lowercase) for _ in range(10))
    return f"{letters[:3]}-{letters[3:7]}-{letters[7:]}"


async def ensure(tx: Tx, room: Room, role: str, now: datetime) -> RoomCode:
    """The code of that room and role, made when it is missing. The caller has checked that the template has the role."""
    found = (
        await tx.execute(select(room_codes).where(room_codes.c.room_id == room.id, room_codes.c.role == role))
    ).one_or_none()
    if found:
        return _code(found)
    made = RoomCode(new_code(), room.id, role, enabled=True, created_at=now, updated_at=now)
    await tx.execute(
        insert_row(room_codes).values(
            code=made.code, room_id=room.id, role=role, enabled=True, created_at=now, updated_at=now
        )
    )
    return made


async def find(tx: Tx, workspace: WorkspaceId, code: str) -> RoomCode | None:
    """The code, enabled or not, when its room is of this workspace."""
    row = (
        await tx.execute(
            select(room_codes)
            .join(rooms, rooms.c.id == room_codes.c.room_id)
            .where(rooms.c.workspace_id == workspace, room_codes.c.code == code)
        )
    ).one_or_none()
    return _code(row) if row else None


async def of_room(tx: Tx, room: Room) -> list[RoomCode]:
    """Every code of a room, by role."""
    rows = await tx.execute(select(room_codes).where(room_codes.c.room_id == room.id).order_by(room_codes.c.role))
    return [_code(row) for row in rows]


async def set_enabled(tx: Tx, code: RoomCode, now: datetime, *, enabled: bool) -> None:
    await tx.execute(update(room_codes).where(room_codes.c.code == code.code).values(enabled=enabled, updated_at=now))


def _code(row: Row[Any]) -> RoomCode:
    return RoomCode(row.code, RoomId(row.room_id), row.role, row.enabled, row.created_at, row.updated_at)
