"""Turns values into pages: the Jinja2 environment, the words of answers, and the page that an error becomes.

Before it: a page function with its values. After it: HTML with the headers of headers.py. It reads no rows and decides nothing.
"""

import hashlib
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.datastructures import Headers
from starlette.types import Scope

from isotape.dashboard import wording
from isotape.dashboard.gate import LoginNeeded
from isotape.dashboard.headers import dashboard_headers
from isotape.errors import IsotapeError

_WEB = Path(__file__).parent.parent / "web"
STATIC = _WEB / "static" / "built"
# Made by `make prebuilt` alone; absent on most servers.
PREBUILT = _WEB / "static" / "prebuilt"

# What a page says after a change. The address carries the key only, so nobody can make a page say their own words.
SAID = {
    "room-created": "The room is there. Copy a code below, or open it, to join.",
    "room-enabled": "The room is open: people can join it again.",
    "room-disabled": "The room is closed to new joins. Whoever is in it stays.",
    "template-created": "The template is there. Switch on its recording here, then create a room with it.",
    "recording-saved": "Saved. It holds from the next session on.",
}


def static_files() -> StaticFiles:
    """The built scripts and styles, to be mounted at /static."""
    return StaticFiles(directory=STATIC, check_dir=False)


def prebuilt_files() -> StaticFiles:
    """The bundle of the Prebuilt UI, to be mounted at /static/prebuilt; it may be built while the server runs."""
    return _CompressedFiles(directory=PREBUILT, check_dir=False)


class _CompressedFiles(StaticFiles):
    """Serves `<file>.gz` in place of a script, to a client that takes it."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        takes = Headers(scope=scope).get("accept-encoding", "")
        if not (path.endswith(".js") and "gzip" in takes):
            return await super().get_response(path, scope)
        response = await super().get_response(f"{path}.gz", scope)
        response.headers["Content-Encoding"] = "gzip"
        response.headers["Vary"] = "Accept-Encoding"
        return response


class Look:
    """Renders the templates of this package."""

    def __init__(self) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(_WEB / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {
            name: getattr(wording, name) for name in ("duration", "seconds", "size", "moment", "shorten")
        }
        self._environment.globals |= {"count": wording.count, "static": _StaticUrls()}

    def page(
        self,
        request: Request,
        template: str,
        values: Mapping[str, Any],
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> HTMLResponse:
        """The page of a template. `login` and `said` are there for every template."""
        html = self._environment.get_template(template).render(
            login=getattr(request.state, "login", None),
            said=SAID.get(request.query_params.get("said", "")),
            path=request.url.path,
            **values,
        )
        return HTMLResponse(html, status, dict(headers or dashboard_headers()))

    def route_class(self) -> type[APIRoute]:
        """A route whose errors become pages: the login page when nobody is logged in, else what happened and what to do."""
        look = self

        class PageRoute(APIRoute):
            def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
                answer = super().get_route_handler()

                async def answer_with_pages(request: Request) -> Response:
                    try:
                        return await answer(request)
                    except LoginNeeded:
                        return to_login(request)
                    except IsotapeError as error:
                        return look.error(request, error.status, error.message)
                    except RequestValidationError:
                        return look.error(request, 400, "address: a part of it cannot be understood")

                return answer_with_pages

        return PageRoute

    def error(self, request: Request, status: int, message: str) -> HTMLResponse:
        return self.page(request, "error.html", {"status": status, "message": message}, status=status)


class _StaticUrls:
    """`/static/<name>?v=<hash>`: a browser may keep the file, and takes the new one when it has changed."""

    def __init__(self) -> None:
        self._versions: dict[str, str] = {}

    def __call__(self, name: str) -> str:
        if name not in self._versions:
            file = STATIC / name
            self._versions[name] = hashlib.sha256(file.read_bytes()).hexdigest()[:12] if file.is_file() else "missing"
        return f"/static/{name}?v={self._versions[name]}"


def to_login(request: Request) -> Response:
    """The way to the login page and back. htmx follows a header, a browser a redirect."""
    if request.headers.get("hx-request"):
        return Response(status_code=204, headers={"HX-Redirect": "/dashboard/login"})
    back = (
        request.url.path + (f"?{request.url.query}" if request.url.query else "")
        if request.method == "GET"
        else "/dashboard"
    )
    return see(f"/dashboard/login?next={quote(back, safe='')}")


def see(url: str) -> RedirectResponse:
    """After a change: look at the result with GET."""
    return RedirectResponse(url, 303, {"Cache-Control": "no-store"})
