"""The HTTP requests with which a client SDK begins: /init, the token of a room code, the room layout; and two sinks
for what it reports.

They are called from pages of other origins, so each answers with CORS headers. /init keeps no state. During a
reconnect the SDK takes any answer of /init but 200 and 404 for the end of the call, so what goes wrong on our side is
told as 404, which it tries again.
"""

import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from isotape.auth.tokens import AppClaims, sign_app
from isotape.db import room_codes, rooms
from isotape.errors import BadRequest, Forbidden, IsotapeError, NotFound
from isotape.ids import WorkspaceId, new_uuid
from isotape.logs import logger
from isotape.signalling.entry import enter
from isotape.signalling.parts import SignallingParts

log = logger(part="signalling")

SOCKET_PATH = "/ws"
# The body is `{"code":"abc-defg-hij","user_id":"…"}`.
_MAX_BODY_BYTES = 16 * 1024
_MAX_USER_ID = 256
# A token by code is used at once; it lives on in the client for reconnects of a day-long session.
_CODE_TOKEN_VALIDITY = timedelta(hours=24)
# The Authorization header makes browsers ask first; 2 h is the longest that Chromium remembers the answer.
_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Headers": "authorization, content-type",
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    "Access-Control-Max-Age": "7200",
}

Endpoint = Callable[[Request], Awaitable[Response]]


def bootstrap_router(parts: SignallingParts) -> APIRouter:
    """The routes of this file."""
    bootstrap = _Bootstrap(parts)
    router = APIRouter(include_in_schema=False)
    for path, method, endpoint in (
        ("/init", "GET", bootstrap.init),
        ("/v2/token", "POST", bootstrap.token),
        ("/v2/layouts/ui", "GET", bootstrap.layout),
        ("/v2/client/feedback", "POST", bootstrap.sink),
        ("/v2/client/report", "POST", bootstrap.sink),
    ):
        router.add_api_route(path, endpoint, methods=[method])
        router.add_api_route(path, _preflight, methods=["OPTIONS"])
    return router


class _Bootstrap:
    def __init__(self, parts: SignallingParts) -> None:
        self._parts = parts

    async def init(self, request: Request) -> Response:
        """Where the socket is. The token is checked here, because a refusal can be read here."""
        try:
            await enter(self._parts, _bearer(request), request.query_params.get("peer_id", ""))
        except IsotapeError as error:
            # 404 is the one status that the SDK tries again; a room that is not there is refused with another.
            status = 404 if error.status >= 500 else 403 if error.status == 404 else error.status
            return _error(status, error.message)
        except Exception:  # the named supervisor of /init: a 500 would throw a reconnecting user out.
            log.exception("init failed")
            return _error(404, "init: not available now, try again")
        return _json(
            {
                "endpoint": self._socket_url(request),
                "rtcConfiguration": {"ice_servers": [], "iceTransportPolicy": "all"},
                "config": {"enabledFlags": []},
            }
        )

    async def token(self, request: Request) -> Response:
        """An app token for a room code. The SDK sends JSON as text/plain."""
        try:
            body = await _read_json(request)
            return _json({"token": await self._token_of(str(body.get("code", "")), body.get("user_id"))})
        except IsotapeError as error:
            return _error(error.status, error.message)

    async def layout(self, _request: Request) -> Response:
        """No layout of our own: the Prebuilt UI then takes its built-in one."""
        return _json({"data": []})

    async def sink(self, _request: Request) -> Response:
        """Feedback and reports are taken and dropped: they name users and carry tokens."""
        return _json({})

    async def _token_of(self, code: str, user_id: Any) -> str:
        workspace = WorkspaceId(self._parts.credentials.workspace_id)
        async with self._parts.database.connect() as tx:
            known = await room_codes.find(tx, workspace, code[:64])
            room = await rooms.find(tx, workspace, known.room_id) if known else None
        if known is None or room is None:
            raise NotFound("code not found")
        if not known.enabled:
            raise Forbidden("code is disabled")
        if not room.enabled:
            raise Forbidden("room is disabled")
        named = user_id if isinstance(user_id, str) and 0 < len(user_id) <= _MAX_USER_ID else new_uuid()
        claims = AppClaims(room.id, named, known.role)
        return sign_app(self._parts.credentials, claims, self._parts.clock.now(), _CODE_TOKEN_VALIDITY)

    def _socket_url(self, request: Request) -> str:
        base = urlsplit(self._parts.public_url or str(request.base_url))
        scheme = "wss" if base.scheme == "https" else "ws"
        return urlunsplit((scheme, base.netloc, SOCKET_PATH, "", ""))


async def _preflight(_request: Request) -> Response:
    return Response(status_code=204, headers=_CORS)


async def _read_json(request: Request) -> dict[str, Any]:
    raw = b""
    async for part in request.stream():
        raw += part
        if len(raw) > _MAX_BODY_BYTES:
            raise BadRequest("request body: too large")
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BadRequest("request body contains badly-formed JSON") from error
    if not isinstance(body, dict):
        raise BadRequest("request body: not an object")
    return body


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _json(body: dict[str, Any], status: int = 200) -> Response:
    return JSONResponse(body, status, headers={**_CORS, "Cache-Control": "no-store"})


def _error(status: int, message: str) -> Response:
    return _json({"code": status, "message": message}, status)
