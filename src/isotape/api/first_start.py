"""What a new workspace has: a template named `default` with a host and a guest. Recording is off until somebody switches it on."""

from datetime import datetime

from isotape.db import templates
from isotape.db.engine import Tx
from isotape.ids import TemplateId, WorkspaceId, new_object_id
from isotape.model import Template
from isotape.wire import policy


async def ensure_default_template(tx: Tx, workspace: WorkspaceId, now: datetime) -> None:
    """Makes the template that a room without `template_id` takes, unless there is one of that name."""
    if await templates.find_named(tx, workspace, templates.DEFAULT_NAME):
        return
    made = Template(
        id=TemplateId(new_object_id()),
        workspace_id=workspace,
        name=templates.DEFAULT_NAME,
        roles=policy.default_roles(),
        settings={},
        destinations={},
        plugins={},
        recordings=(),
        created_at=now,
        updated_at=now,
    )
    await templates.insert(tx, made)
