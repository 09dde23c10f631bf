"""Rooms: the named places that peers join. After it: room codes, and app tokens that name the room's id."""

import re
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field, StringConstraints

from isotape.api.access import ManagementRoute
from isotape.api.lists import JsonObject, ListQuery
from isotape.api.parts import ApiParts, Parts
from isotape.db import rooms, templates
from isotape.db.engine import Tx
from isotape.db.rooms import RoomFilter
from isotape.errors import BadRequest, Conflict, Forbidden
from isotape.ids import RoomId, new_object_id, new_uuid
from isotape.model import Room, Template
from isotape.wire import rest

router = APIRouter(prefix="/rooms", tags=["rooms"], route_class=ManagementRoute)

_NAME = re.compile(r"[A-Za-z0-9.:_ -]{1,128}\Z")
# 100ms' bounds of a room's longest session.
_SHORTEST_S = 120
_LONGEST_S = 43_200


class RoomBody(BaseModel):
    """What create and update take; every field is optional, and update changes only those that are there."""

    name: str | None = None
    description: Annotated[str, StringConstraints(max_length=1024)] | None = None
    template_id: str | None = None
    template: Any = None
    enabled: bool | None = None
    recording_info: dict[str, Any] | None = None
    region: Literal["in", "us", "eu", "auto"] | None = None
    large_room: bool | None = None
    size: int | None = Field(None, ge=0, le=20_000)
    max_duration_seconds: int | None = None
    polls: list[str] | None = None

    def options(self) -> JsonObject:
        """The fields that are kept and shown as given; keys of somebody's bucket are not kept."""
        given = self.model_dump(include=set(rest.ROOM_OPTIONS), exclude_none=True)
        given.get("recording_info", {}).get("upload_info", {}).pop("credentials", None)
        return given

    def check(self) -> None:
        """What 100ms words in its own way."""
        if self.template is not None:
            raise BadRequest("Invalid body param: template. Use template_id")
        if self.name is not None and not _NAME.match(self.name):
            raise BadRequest("Invalid body param: name takes letters, digits, and . - : _")
        longest_s = self.max_duration_seconds
        if longest_s is not None and longest_s < _SHORTEST_S:
            raise BadRequest(f"Invalid body param: max_duration_seconds less than {_SHORTEST_S} seconds")
        if longest_s is not None and longest_s > _LONGEST_S:
            raise BadRequest(f"Invalid body param: max_duration_seconds greater than {_LONGEST_S} seconds")


class RoomQuery(ListQuery):
    """after and before bound the birth, both inclusive."""

    name: str = ""
    enabled: bool | None = None
    template_id: str = ""
    after: datetime | None = None
    before: datetime | None = None

    def filter(self) -> RoomFilter:
        return RoomFilter(self.name, self.enabled, self.template_id, self.after, self.before)


@router.post("")
async def create_room(parts: Parts, body: RoomBody) -> JsonObject:
    """Makes a room. A name that is taken updates that room and answers with it, as in 100ms."""
    body.check()
    async with parts.database.begin() as tx:
        known = await rooms.find_named(tx, parts.workspace, body.name) if body.name else None
        if known:
            return await _change(tx, parts, known, body)
        template = await _template(tx, parts, body.template_id)
        now = parts.clock.now()
        room = Room(
            id=RoomId(new_object_id()),
            workspace_id=parts.workspace,
            template_id=template.id,
            name=body.name or new_uuid(),
            description=body.description or "",
            enabled=body.enabled is not False,
            options=body.options(),
            created_at=now,
            updated_at=now,
        )
        await rooms.insert(tx, room)
    return rest.room(room, template.name, parts.owner)


@router.get("")
async def list_rooms(parts: Parts, query: Annotated[RoomQuery, Query()]) -> JsonObject:
    async with parts.database.connect() as tx:
        found = await rooms.page(tx, parts.workspace, query.filter(), query.page)
        names = {it.template_id: await _template(tx, parts, it.template_id) for it in found}
    return rest.page([rest.room(it, names[it.template_id].name, parts.owner) for it in found], query.limit)


@router.get("/{room_id}")
async def get_room(parts: Parts, room_id: str) -> JsonObject:
    async with parts.database.connect() as tx:
        room = await own_room(tx, parts, room_id)
        return rest.room(room, (await _template(tx, parts, room.template_id)).name, parts.owner)


@router.post("/{room_id}")
async def update_room(parts: Parts, room_id: str, body: RoomBody) -> JsonObject:
    """Changes what the body holds. `enabled: false` keeps whoever is there and lets nobody else in."""
    body.check()
    async with parts.database.begin() as tx:
        room = await own_room(tx, parts, room_id)
        taken = await rooms.find_named(tx, parts.workspace, body.name) if body.name else None
        if taken and taken.id != room.id:
            raise Conflict(f"room name {body.name}: taken by another room")
        return await _change(tx, parts, room, body)


async def own_room(tx: Tx, parts: ApiParts, room_id: str) -> Room:
    """The room, or 403: a stranger's room and no room at all look the same, as in 100ms."""
    room = await rooms.find(tx, parts.workspace, room_id)
    if room is None:
        raise Forbidden("user does not have required permission")
    return room


async def _change(tx: Tx, parts: ApiParts, room: Room, body: RoomBody) -> JsonObject:
    template = await _template(tx, parts, body.template_id or room.template_id)
    changed = replace(
        room,
        template_id=template.id,
        name=body.name or room.name,
        description=room.description if body.description is None else body.description,
        enabled=room.enabled if body.enabled is None else body.enabled,
        options={**room.options, **body.options()},
        updated_at=parts.clock.now(),
    )
    await rooms.update(tx, changed)
    return rest.room(changed, template.name, parts.owner)


async def _template(tx: Tx, parts: ApiParts, template_id: str | None) -> Template:
    """The template of that id; without one, the default that the first start made."""
    if template_id:
        template = await templates.find(tx, parts.workspace, template_id)
    else:
        template = await templates.find_named(tx, parts.workspace, templates.DEFAULT_NAME)
    if template is None:
        raise BadRequest("Error: template not found")
    return template
