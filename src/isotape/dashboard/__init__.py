"""The pages that people see: the dashboard behind its login, and the join page. Rendered here, usable without a script.

Before it: rows, written by the rest of isotape. After it: a browser. One module a noun in pages/, all through the same gate (gate.py) and
the same look (look.py). A page changes templates and rooms only; it can neither start nor stop a recording.
"""

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse

from isotape.dashboard.gate import Gate
from isotape.dashboard.login import Logins, ensure_admin
from isotape.dashboard.look import Look, prebuilt_files, see, static_files
from isotape.dashboard.pages.assets import AssetPages
from isotape.dashboard.pages.join import JoinPage
from isotape.dashboard.pages.login import LoginPage
from isotape.dashboard.pages.prebuilt import PrebuiltPage
from isotape.dashboard.pages.rooms import RoomPages
from isotape.dashboard.pages.sessions import SessionPages
from isotape.dashboard.pages.templates import TemplatePages
from isotape.dashboard.pages.webhooks import WebhookPages
from isotape.dashboard.parts import DashboardParts

__all__ = ["DashboardParts", "build_dashboard", "ensure_admin", "prebuilt_files", "static_files"]

_BEHIND_THE_GATE = (SessionPages, AssetPages, TemplatePages, RoomPages, WebhookPages)


def build_dashboard(parts: DashboardParts) -> APIRouter:
    """All routes under /dashboard, /join and /prebuilt, and the way from / to the dashboard."""
    look, logins = Look(), Logins(parts.database, parts.clock, parts.secret)
    router = APIRouter(include_in_schema=False)
    open_to_all = APIRouter(route_class=look.route_class())
    gated = APIRouter(prefix="/dashboard", route_class=look.route_class(), dependencies=[Depends(Gate(logins))])
    open_to_all.add_api_route("/", _to_dashboard, methods=["GET"])
    LoginPage(parts, look, logins).add_to(open_to_all, gated)
    JoinPage(parts, look).add_to(open_to_all)
    PrebuiltPage(parts, look).add_to(open_to_all)
    for pages in _BEHIND_THE_GATE:
        pages(parts, look).add_to(gated)
    router.include_router(open_to_all)
    router.include_router(gated)
    return router


async def _to_dashboard(_request: Request) -> RedirectResponse:
    return see("/dashboard")
