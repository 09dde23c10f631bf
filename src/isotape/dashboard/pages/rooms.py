"""Rooms: the list with its codes, a new one, and whether a room is open to joins.

Before it: a template. After it: a code that a person opens at /join. A closed room keeps whoever is in it.
"""

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response

from isotape.dashboard import reads
from isotape.dashboard.fields import Fields
from isotape.dashboard.look import Look, see
from isotape.dashboard.pages.templates import visible_roles
from isotape.dashboard.parts import DashboardParts
from isotape.db import room_codes, rooms, templates
from isotape.db.engine import Tx
from isotape.ids import RoomId, new_object_id
from isotape.model import Room, Template

_Text = Annotated[str, Form(max_length=200)]


class RoomPages:
    def __init__(self, parts: DashboardParts, look: Look) -> None:
        self._parts = parts
        self._look = look

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route("/rooms", self.all, methods=["GET"])
        router.add_api_route("/rooms", self.create, methods=["POST"])
        router.add_api_route("/rooms/{room_id}/codes", self.make_codes, methods=["POST"])
        router.add_api_route("/rooms/{room_id}/enabled", self.set_enabled, methods=["POST"])

    async def all(self, request: Request) -> Response:
        return await self._list(request, Fields({}))

    async def create(self, request: Request, name: _Text = "", template_id: _Text = "") -> Response:
        fields = Fields({"name": name, "template_id": template_id})
        wanted = fields.name("name")
        async with self._parts.database.begin() as tx:
            template = await templates.find(tx, self._parts.workspace, template_id)
            if template is None:
                fields.refuse("template_id", "Choose the template whose policy the room takes.")
            elif await rooms.find_named(tx, self._parts.workspace, wanted):
                fields.refuse("name", f"There is a room called {wanted} already.")
            if not fields.errors and template is not None:
                room = self._new(template, wanted)
                await rooms.insert(tx, room)
                await self._ensure_codes(tx, room, template)
                return see(f"/dashboard/rooms?said=room-created#room-{room.id}")
        return await self._list(request, fields)

    def _new(self, template: Template, name: str) -> Room:
        now = self._parts.clock.now()
        return Room(
            id=RoomId(new_object_id()),
            workspace_id=self._parts.workspace,
            template_id=template.id,
            name=name,
            description="",
            enabled=True,
            options={},
            created_at=now,
            updated_at=now,
        )

    async def _ensure_codes(self, tx: Tx, room: Room, template: Template) -> None:
        for role in visible_roles(template.roles):
            await room_codes.ensure(tx, room, role, self._parts.clock.now())

    async def _list(self, request: Request, fields: Fields) -> Response:
        async with self._parts.database.connect() as tx:
            values: dict[str, Any] = {
                "lines": await reads.room_lines(tx, self._parts.workspace),
                "templates": await reads.template_lines(tx, self._parts.workspace),
            }
        values |= {"fields": fields, "public_url": self._parts.public_url}
        return self._look.page(request, "rooms.html", values, status=fields.status)

    async def make_codes(self, room_id: str) -> Response:
        """A code for each role of the room's template; those that are there stay as they are."""
        async with self._parts.database.begin() as tx:
            room = await rooms.get(tx, self._parts.workspace, room_id)
            await self._ensure_codes(tx, room, await templates.get(tx, self._parts.workspace, room.template_id))
        return see(f"/dashboard/rooms#room-{room_id}")

    async def set_enabled(self, room_id: str, enabled: Annotated[bool, Form()]) -> Response:
        async with self._parts.database.begin() as tx:
            room = await rooms.get(tx, self._parts.workspace, room_id)
            await rooms.update(tx, replace(room, enabled=enabled, updated_at=self._parts.clock.now()))
        return see(f"/dashboard/rooms?said=room-{'enabled' if enabled else 'disabled'}#room-{room_id}")
