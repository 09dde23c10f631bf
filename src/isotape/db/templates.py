"""Rows of templates: the policy of rooms, in the 100ms shape.

Before it: api/ and the dashboard, which write them. After it: rooms.py, which reads the policy at a Session's first join.
"""

from typing import Any

from sqlalchemy import Row, select
from sqlalchemy import insert as insert_row
from sqlalchemy import update as update_rows

from isotape.db.engine import Tx
from isotape.db.pages import Page, cut
from isotape.db.tables import templates
from isotape.errors import NotFound
from isotape.ids import TemplateId, WorkspaceId
from isotape.model import Template

# A room that names no template takes this one; the first start makes it.
DEFAULT_NAME = "default"


async def insert(tx: Tx, template: Template) -> None:
    await tx.execute(
        insert_row(templates).values(id=template.id, workspace_id=template.workspace_id, **_values(template))
    )


async def update(tx: Tx, template: Template) -> None:
    """Writes every field of the template but its id and its birth."""
    await tx.execute(
        update_rows(templates)
        .where(templates.c.workspace_id == template.workspace_id, templates.c.id == template.id)
        .values(**_values(template))
    )


async def find(tx: Tx, workspace: WorkspaceId, template_id: str) -> Template | None:
    return await _one(tx, templates.c.workspace_id == workspace, templates.c.id == template_id)


async def get(tx: Tx, workspace: WorkspaceId, template_id: str) -> Template:
    template = await find(tx, workspace, template_id)
    if template is None:
        raise NotFound(f"template {template_id}: not found")
    return template


async def find_named(tx: Tx, workspace: WorkspaceId, name: str) -> Template | None:
    return await _one(tx, templates.c.workspace_id == workspace, templates.c.name == name)


async def page(tx: Tx, workspace: WorkspaceId, wanted: Page) -> list[Template]:
    rows = await tx.execute(cut(select(templates).where(templates.c.workspace_id == workspace), templates.c.id, wanted))
    return [_template(row) for row in rows]


async def _one(tx: Tx, *conditions: Any) -> Template | None:
    row = (await tx.execute(select(templates).where(*conditions))).one_or_none()
    return _template(row) if row else None


def _values(template: Template) -> dict[str, Any]:
    return {
        "name": template.name,
        "roles": template.roles,
        "settings": template.settings,
        "destinations": template.destinations,
        "plugins": template.plugins,
        "recordings": list(template.recordings),
        "created_at": template.created_at,
        "updated_at": template.updated_at,
    }


def _template(row: Row[Any]) -> Template:
    return Template(
        id=TemplateId(row.id),
        workspace_id=WorkspaceId(row.workspace_id),
        name=row.name,
        roles=row.roles,
        settings=row.settings,
        destinations=row.destinations,
        plugins=row.plugins,
        recordings=tuple(row.recordings),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
