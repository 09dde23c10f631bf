"""The second join page: `/prebuilt/<room code>` opens the 100ms Prebuilt UI in the room, for those whose users know it. No login.

Before it: `make prebuilt`, which few servers have run; without it the page says so. After it: web/prebuilt/, which runs the unmodified UI
against this server. It must never let that UI talk to any other host.
"""

from fastapi import APIRouter, Request, Response

from isotape.dashboard import reads
from isotape.dashboard.headers import prebuilt_headers
from isotape.dashboard.look import PREBUILT, Look
from isotape.dashboard.pages.join import refused
from isotape.dashboard.pages.templates import records
from isotape.dashboard.parts import DashboardParts


class PrebuiltPage:
    def __init__(self, parts: DashboardParts, look: Look) -> None:
        self._parts = parts
        self._look = look

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route("/prebuilt/{code}", self.prebuilt, methods=["GET"])

    async def prebuilt(self, request: Request, code: str) -> Response:
        async with self._parts.database.connect() as tx:
            found = await reads.joinable_code(tx, self._parts.workspace, code)
        if found is None or not found.open:
            return refused(self._look, request, found)
        version = _version()
        if version is None:
            return self._look.page(request, "prebuilt_missing.html", {"code": found.code}, status=404)
        headers = prebuilt_headers(request.headers.get("host", ""), self._parts.public_url)
        values = {"room": found, "recorded": records(found.recordings), "version": version}
        return self._look.page(request, "prebuilt.html", values, headers=headers)


def _version() -> str | None:
    """Changes with each build, so that a browser may keep the bundle until then; None before the first."""
    try:
        return f"{(PREBUILT / 'prebuilt.js').stat().st_mtime_ns:x}"
    except FileNotFoundError:
        return None
