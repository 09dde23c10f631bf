"""The join page: a person opens `/join/<room code>` and is in the room two clicks later. No login: the code is the key.

Before it: a link. After it: web/join/, which runs the unmodified client SDK against this server.
"""

from typing import Any

from fastapi import APIRouter, Request, Response
from sqlalchemy import Row

from isotape.dashboard import reads
from isotape.dashboard.headers import join_headers
from isotape.dashboard.look import Look
from isotape.dashboard.pages.templates import records
from isotape.dashboard.parts import DashboardParts


class JoinPage:
    def __init__(self, parts: DashboardParts, look: Look) -> None:
        self._parts = parts
        self._look = look

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route("/join/{code}", self.join, methods=["GET"])

    async def join(self, request: Request, code: str) -> Response:
        async with self._parts.database.connect() as tx:
            found = await reads.joinable_code(tx, self._parts.workspace, code)
        if found is None or not found.open:
            return refused(self._look, request, found)
        headers = join_headers(request.headers.get("host", ""), self._parts.public_url)
        return self._look.page(
            request, "join.html", {"room": found, "recorded": records(found.recordings)}, headers=headers
        )


def refused(look: Look, request: Request, found: Row[Any] | None) -> Response:
    """The page for a code that opens nothing, or whose room is closed."""
    why, status = ("unknown", 404) if found is None else ("closed", 403)
    return look.page(request, "join_refused.html", {"why": why}, status=status)
