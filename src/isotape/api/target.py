"""Request targets as clients send them: absolute ones, and ones with a slash at the end.

The outermost layer of the HTTP application. The 100ms server SDK behind `https_proxy` asks in absolute form, `GET
https://host/v2/… HTTP/1.1` (RFC 9112 section 3.2.2: a server must accept it), which reaches ASGI as a path that begins with a
scheme. 100ms' documentation writes some list paths with a closing slash.
"""

from urllib.parse import quote, urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

_SCHEMES = ("http://", "https://")
_API = "/v2/"


class RequestTarget:
    """Gives the application the plain path, whatever form the client sent."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            path = _plain(scope["path"])
            if path != scope["path"]:
                scope = {**scope, "path": path, "raw_path": quote(path).encode()}
        await self._app(scope, receive, send)


def _plain(path: str) -> str:
    if path.lower().startswith(_SCHEMES):
        path = urlsplit(path).path or "/"
    return path.rstrip("/") if path.startswith(_API) else path
