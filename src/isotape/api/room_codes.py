"""Room codes: short secrets that a person can type instead of a token. After it: `/v2/token`, which turns one into an app token."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from isotape.api.access import ManagementRoute
from isotape.api.lists import JsonObject
from isotape.api.parts import ApiParts, Parts
from isotape.db import room_codes, rooms, templates
from isotape.db.engine import Tx
from isotape.errors import Forbidden, NotFound
from isotape.model import Room, RoomCode, Template
from isotape.wire import rest

router = APIRouter(prefix="/room-codes", tags=["room codes"], route_class=ManagementRoute)

# 100ms' own: a room has at most this many codes, so there is one page.
_MAX_CODES = 100
# 100ms marks roles of its own with two underscores; nobody joins with them.
_INTERNAL = "__"


class CodeBody(BaseModel):
    code: str
    enabled: bool


class CodeQuery(BaseModel):
    role: str = ""
    enabled: bool | None = None


@router.post("/room/{room_id}")
async def create_codes(parts: Parts, room_id: str) -> JsonObject:
    """A code for every role of the room's template; the same ones when asked again."""
    async with parts.database.begin() as tx:
        room, template = await _open_room(tx, parts, room_id)
        roles = [role for role in template.roles if not role.startswith(_INTERNAL)]
        codes = [await room_codes.ensure(tx, room, role, parts.clock.now()) for role in roles[:_MAX_CODES]]
    return {"data": [rest.room_code(code) for code in codes]}


@router.post("/room/{room_id}/role/{role}")
async def create_code(parts: Parts, room_id: str, role: str) -> JsonObject:
    async with parts.database.begin() as tx:
        room, template = await _open_room(tx, parts, room_id)
        if role not in template.roles:
            raise NotFound("role not found")
        return rest.room_code(await room_codes.ensure(tx, room, role, parts.clock.now()))


@router.get("/room/{room_id}")
async def list_codes(parts: Parts, room_id: str, query: Annotated[CodeQuery, Query()]) -> JsonObject:
    async with parts.database.connect() as tx:
        codes = await room_codes.of_room(tx, await _room(tx, parts, room_id))
    return {"limit": _MAX_CODES, "data": [rest.room_code(code) for code in codes if _matches(code, query)], "last": ""}


@router.post("/code")
async def switch_code(parts: Parts, body: CodeBody) -> JsonObject:
    """Opens or closes a code; tokens that it gave stay valid."""
    async with parts.database.begin() as tx:
        code = await room_codes.find(tx, parts.workspace, body.code)
        if code is None:
            raise NotFound("code not found")
        await room_codes.set_enabled(tx, code, parts.clock.now(), enabled=body.enabled)
        changed = await room_codes.find(tx, parts.workspace, body.code)
    assert changed is not None
    return rest.room_code(changed)


def _matches(code: RoomCode, query: CodeQuery) -> bool:
    return (not query.role or code.role == query.role) and query.enabled in (None, code.enabled)


async def _room(tx: Tx, parts: ApiParts, room_id: str) -> Room:
    room = await rooms.find(tx, parts.workspace, room_id)
    if room is None:
        raise NotFound("room not found")
    return room


async def _open_room(tx: Tx, parts: ApiParts, room_id: str) -> tuple[Room, Template]:
    room = await _room(tx, parts, room_id)
    if not room.enabled:
        raise Forbidden("room is disabled")
    return room, await templates.get(tx, parts.workspace, room.template_id)
