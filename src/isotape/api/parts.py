"""What the routes are built from, and how one of them gets at it. app.py fills it in; nothing here is looked up anywhere else."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from isotape.auth.credentials import Credentials
from isotape.clock import Clock
from isotape.db.engine import Database
from isotape.ids import WorkspaceId
from isotape.storage import Storage
from isotape.storage.signed_url import UrlSigner
from isotape.wire.rest import Owner


@dataclass(frozen=True, slots=True)
class ApiParts:
    """signer checks the URLs of /files, whose bytes are in `storage`."""

    database: Database
    credentials: Credentials
    storage: Storage
    clock: Clock
    signer: UrlSigner

    @property
    def workspace(self) -> WorkspaceId:
        """The one workspace whose tokens `credentials` verify: every query of a route names it."""
        return WorkspaceId(self.credentials.workspace_id)

    @property
    def owner(self) -> Owner:
        return Owner(self.credentials.workspace_id, self.credentials.app_id)


def _parts_of(request: Request) -> ApiParts:
    parts = request.app.state.api_parts
    assert isinstance(parts, ApiParts)
    return parts


Parts = Annotated[ApiParts, Depends(_parts_of)]
