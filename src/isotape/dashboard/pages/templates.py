"""Templates: the list, a new one, and the tabs of one: its roles, and its recording as 100ms users know it.

Before it: a person with a policy in mind. After it: rooms/, which reads the policy at the first join of the next session.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response

from isotape.dashboard import reads
from isotape.dashboard.fields import Fields
from isotape.dashboard.look import Look, see
from isotape.dashboard.parts import DashboardParts
from isotape.db import templates
from isotape.ids import TemplateId, new_object_id
from isotape.model import Json, StreamRecording, Template
from isotape.recording import policy_of

# The sizes that the 100ms dashboard offers; any other even size may be typed.
SIZES = ((1920, 1080), (1280, 720), (854, 480))
# 100ms: a session lasts at most 12 h, a download URL at most 14 days.
_MOST_MINUTES = 12 * 60
_MOST_HOURS = 14 * 24

_Text = Annotated[str, Form(max_length=200)]


class TemplatePages:
    def __init__(self, parts: DashboardParts, look: Look) -> None:
        self._parts = parts
        self._look = look

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route("/templates", self.all, methods=["GET"])
        router.add_api_route("/templates", self.create, methods=["POST"])
        router.add_api_route("/templates/{template_id}", self.roles, methods=["GET"])
        router.add_api_route("/templates/{template_id}/recording", self.recording, methods=["GET"])
        router.add_api_route("/templates/{template_id}/recording", self.save_recording, methods=["POST"])

    async def all(self, request: Request) -> Response:
        return await self._list(request, Fields({}))

    async def create(self, request: Request, name: _Text = "", roles_of: _Text = "") -> Response:
        """A template with the roles of another one and no recording: that is switched on with open eyes."""
        fields = Fields({"name": name, "roles_of": roles_of})
        wanted = fields.name("name")
        async with self._parts.database.begin() as tx:
            model = await templates.find(tx, self._parts.workspace, roles_of)
            if model is None:
                fields.refuse("roles_of", "Choose a template whose roles the new one takes.")
            elif await templates.find_named(tx, self._parts.workspace, wanted):
                fields.refuse("name", f"There is a template called {wanted} already.")
            if not fields.errors and model is not None:
                made = self._like(model, wanted)
                await templates.insert(tx, made)
                return see(f"/dashboard/templates/{made.id}/recording?said=template-created")
        return await self._list(request, fields)

    def _like(self, model: Template, name: str) -> Template:
        now = self._parts.clock.now()
        return replace(model, id=TemplateId(new_object_id()), name=name, recordings=(), created_at=now, updated_at=now)

    async def _list(self, request: Request, fields: Fields) -> Response:
        async with self._parts.database.connect() as tx:
            rows = await reads.template_lines(tx, self._parts.workspace)
        lines = [(row, records(row.recordings)) for row in rows]
        return self._look.page(request, "templates.html", {"lines": lines, "fields": fields}, status=fields.status)

    async def roles(self, request: Request, template_id: str) -> Response:
        values = await self._one(template_id)
        return self._look.page(request, "template_roles.html", values)

    async def recording(self, request: Request, template_id: str) -> Response:
        values = await self._one(template_id)
        policy = policy_of(values["template"])
        return self._look.page(
            request, "template_recording.html", {**values, "fields": _as_fields(policy), "sizes": SIZES}
        )

    async def save_recording(self, request: Request, template_id: str) -> Response:
        form = {key: str(value) for key, value in (await request.form()).items()}
        fields = Fields(form)
        wanted = _read_policy(fields)
        if fields.errors:
            values = {**await self._one(template_id), "fields": fields, "sizes": SIZES}
            return self._look.page(request, "template_recording.html", values, status=fields.status)
        async with self._parts.database.begin() as tx:
            template = await templates.get(tx, self._parts.workspace, template_id)
            recordings = (_with_policy(template, wanted), *template.recordings[1:])
            await templates.update(tx, replace(template, recordings=recordings, updated_at=self._parts.clock.now()))
        return see(f"/dashboard/templates/{template_id}/recording?said=recording-saved")

    async def _one(self, template_id: str) -> dict[str, Any]:
        async with self._parts.database.connect() as tx:
            template = await templates.get(tx, self._parts.workspace, template_id)
            line = next(row for row in await reads.template_lines(tx, self._parts.workspace) if row.id == template_id)
        return {"template": template, "roles": visible_roles(template.roles), "live": line.live, "rooms": line.rooms}


@dataclass(frozen=True, slots=True)
class _Policy:
    enabled: bool
    width: int
    height: int
    hours: int
    minutes: int


def visible_roles(roles: Json) -> Mapping[str, Any]:
    """The roles that people join with; 100ms marks its own with two underscores."""
    return {name: role for name, role in roles.items() if not name.startswith("__")}


def records(recordings: Sequence[Json]) -> bool:
    """Whether a template with these recording configurations keeps streams; the API allows one."""
    return bool(recordings) and bool((recordings[0].get("streamRecording") or {}).get("enabled"))


def _as_fields(policy: StreamRecording) -> Fields:
    return Fields(
        {
            "enabled": "on" if policy.enabled else "",
            "width": str(policy.width),
            "height": str(policy.height),
            "hours": str(max(policy.presign_duration_s // 3600, 1)),
            "minutes": str(max(policy.max_duration_s // 60, 1)),
        }
    )


def _read_policy(fields: Fields) -> _Policy:
    return _Policy(
        enabled=fields.text("enabled") == "on",
        width=fields.number("width", 64, 3840, even=True),
        height=fields.number("height", 64, 2160, even=True),
        hours=fields.number("hours", 1, _MOST_HOURS),
        minutes=fields.number("minutes", 1, _MOST_MINUTES),
    )


def _with_policy(template: Template, policy: _Policy) -> Json:
    """The template's recording configuration with this policy in it; what else stands there stays."""
    role = next(iter(visible_roles(template.roles)), "")
    before: Json = template.recordings[0] if template.recordings else {"name": "default", "role": role}
    wanted = {"enabled": policy.enabled, "width": policy.width, "height": policy.height}
    return {
        **before,
        "maxDuration": policy.minutes * 60,
        "presignDuration": policy.hours * 3600,
        "streamRecording": {**(before.get("streamRecording") or {}), **wanted},
    }
