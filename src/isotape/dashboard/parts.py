"""What the pages are built from. app.py fills it in; nothing here is looked up anywhere else."""

from dataclasses import dataclass

from isotape.clock import Clock
from isotape.db.engine import Database
from isotape.ids import WorkspaceId
from isotape.storage import Storage


@dataclass(frozen=True, slots=True)
class DashboardParts:
    """secret: the key of the login cookie is derived from it. public_url: under which people and programs reach this node."""

    database: Database
    workspace: WorkspaceId
    storage: Storage
    clock: Clock
    secret: str
    public_url: str
    webhook_urls: tuple[str, ...] = ()

    @property
    def over_tls(self) -> bool:
        return self.public_url.startswith("https://")
