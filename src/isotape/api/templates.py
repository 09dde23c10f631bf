"""Templates: the policy of rooms, its roles, and whether streams are recorded.

After it: rooms.py, which takes the policy at the first join of a Session; a change counts from the next one.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Response

from isotape.api.access import ManagementRoute
from isotape.api.lists import JsonObject, ListQuery
from isotape.api.parts import ApiParts, Parts
from isotape.db import templates
from isotape.db.engine import Tx
from isotape.errors import BadRequest, Conflict, NotFound
from isotape.ids import TemplateId, new_object_id
from isotape.model import Template
from isotape.wire import policy, rest

router = APIRouter(prefix="/templates", tags=["templates"], route_class=ManagementRoute)

_NAME = re.compile(r"[A-Za-z0-9 ._:-]{1,128}\Z")
_KEPT_OBJECTS = ("settings", "destinations", "plugins")


@router.post("")
async def create_template(parts: Parts, body: Annotated[JsonObject, Body()]) -> JsonObject:
    """Makes a template. A name that is taken overwrites that template, as in 100ms."""
    template_id = new_object_id()
    name = _name(body.get("name") or template_id)
    now = parts.clock.now()
    async with parts.database.begin() as tx:
        known = await templates.find_named(tx, parts.workspace, name)
        made = Template(
            id=known.id if known else TemplateId(template_id),
            workspace_id=parts.workspace,
            name=name,
            created_at=known.created_at if known else now,
            updated_at=now,
            recordings=known.recordings if known else (),
            **_contents(body),
        )
        await (templates.update if known else templates.insert)(tx, made)
    return rest.template(made, parts.owner)


@router.get("")
async def list_templates(parts: Parts, query: Annotated[ListQuery, Query()]) -> JsonObject:
    async with parts.database.connect() as tx:
        found = await templates.page(tx, parts.workspace, query.page)
    return rest.page([rest.template(it, parts.owner) for it in found], query.limit)


@router.get("/{template_id}")
async def get_template(parts: Parts, template_id: str) -> JsonObject:
    async with parts.database.connect() as tx:
        return rest.template(await _get(tx, parts, template_id), parts.owner)


@router.post("/{template_id}")
async def update_template(parts: Parts, template_id: str, body: Annotated[JsonObject, Body()]) -> JsonObject:
    """Replaces every field but the recording configuration, which has its own call."""
    async with parts.database.begin() as tx:
        before = await _get(tx, parts, template_id)
        name = _name(body.get("name") or before.name)
        other = await templates.find_named(tx, parts.workspace, name)
        if other and other.id != before.id:
            raise Conflict(f"template name {name}: taken by another template")
        after = replace(before, name=name, updated_at=parts.clock.now(), **_contents(body))
        await templates.update(tx, after)
    return rest.template(after, parts.owner)


@router.get("/{template_id}/recordings")
async def get_recordings(parts: Parts, template_id: str) -> list[Any]:
    async with parts.database.connect() as tx:
        return rest.recording_configs(await _get(tx, parts, template_id))


@router.post("/{template_id}/recordings")
async def set_recordings(parts: Parts, template_id: str, body: Annotated[list[JsonObject], Body()]) -> list[Any]:
    """Switches stream recording on or off from the next session on."""
    async with parts.database.begin() as tx:
        template = await _get(tx, parts, template_id)
        configs = policy.recording_configs(body, template.roles)
        after = replace(template, recordings=configs, updated_at=parts.clock.now())
        await templates.update(tx, after)
    return rest.recording_configs(after)


@router.get("/{template_id}/roles/{name}")
async def get_role(parts: Parts, template_id: str, name: str) -> JsonObject:
    async with parts.database.connect() as tx:
        template = await _get(tx, parts, template_id)
    return dict(_role(template, name))


@router.post("/{template_id}/roles/{name}")
async def set_role(parts: Parts, template_id: str, name: str, body: Annotated[JsonObject, Body()]) -> JsonObject:
    """Makes or replaces a role; another `name` in the body renames it."""
    new_name = _name(body.get("name") or name)
    async with parts.database.begin() as tx:
        template = await _get(tx, parts, template_id)
        if new_name != name and new_name in template.roles:
            raise BadRequest(f"role {new_name}: there is one already")
        roles = {key: role for key, role in template.roles.items() if key != name}
        roles[new_name] = policy.role(new_name, body, (*roles, new_name))
        await templates.update(tx, replace(template, roles=roles, updated_at=parts.clock.now()))
    return dict(roles[new_name])


@router.delete("/{template_id}/roles/{name}", status_code=204)
async def delete_role(parts: Parts, template_id: str, name: str) -> Response:
    async with parts.database.begin() as tx:
        template = await _get(tx, parts, template_id)
        _role(template, name)
        roles = {key: role for key, role in template.roles.items() if key != name}
        await templates.update(tx, replace(template, roles=roles, updated_at=parts.clock.now()))
    return Response(status_code=204)


async def _get(tx: Tx, parts: ApiParts, template_id: str) -> Template:
    template = await templates.find(tx, parts.workspace, template_id)
    if template is None:
        raise NotFound("template not found")
    return template


def _role(template: Template, name: str) -> Mapping[str, Any]:
    if name not in template.roles:
        raise NotFound("role not found")
    role: Mapping[str, Any] = template.roles[name]
    return role


def _contents(body: JsonObject) -> dict[str, Any]:
    for key in _KEPT_OBJECTS:
        if not isinstance(body.get(key, {}), Mapping | None):
            raise BadRequest(f"Invalid body param: {key} is not an object")
    kept = {key: _without_credentials(body.get(key) or {}) for key in _KEPT_OBJECTS}
    return {"roles": policy.roles(body.get("roles")), **kept}


def _without_credentials(value: Any) -> Any:
    """Keys of somebody's bucket are of no use here, and what is not kept cannot be read out again."""
    if isinstance(value, Mapping):
        return {key: _without_credentials(item) for key, item in value.items() if key != "credentials"}
    return value


def _name(value: Any) -> str:
    if not isinstance(value, str) or not _NAME.match(value):
        raise BadRequest("Invalid body param: name takes letters, digits, space, and . - _ :")
    return value
