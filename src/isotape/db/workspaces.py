"""The workspace:

The account whose access key and secret this server knows. There is one today; every other row names it.
"""

from datetime import datetime

from sqlalchemy import insert, select, update

from isotape.auth.credentials import Credentials
from isotape.db.engine import Tx
from isotape.db.tables import workspaces


async def ensure(tx: Tx, credentials: Credentials, now: datetime) -> None:
    """Makes the credentials' workspace, or gives the stored one the current key."""
    known = await tx.scalar(select(workspaces.c.id).where(workspaces.c.id == credentials.workspace_id))
    if known is not None:
        same = workspaces.c.id == credentials.workspace_id
        await tx.execute(update(workspaces).where(same).values(access_key=credentials.access_key))
        return
    await tx.execute(
        insert(workspaces).values(
            id=credentials.workspace_id,
            app_id=credentials.app_id,
            name="default",
            access_key=credentials.access_key,
            created_at=now,
        )
    )
