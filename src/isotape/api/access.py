"""Who may call: the holder of a management token of this workspace.

Before it: an HTTP request. After it: a route. The token is checked before the body is read and before any parameter is looked
at, so a stranger learns nothing, not even what a route expects.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer

from isotape.api.parts import ApiParts
from isotape.auth.tokens import verify_management
from isotape.errors import PayloadTooLarge, Unauthenticated

# For the OpenAPI document alone; the route class below does the checking.
bearer = HTTPBearer(bearerFormat="JWT", description="A management token, HS256 with the app secret.", auto_error=False)

# No call carries more than a template with its roles.
MAX_BODY_BYTES = 64 * 1024
_SCHEME = "bearer"
# The wording that clients of the 100ms REST API know.
_REFUSAL = "Token validation error"


class _BoundedRequest(Request):
    """A request whose body is read up to the bound and no further, whether it announced its length or not."""

    async def body(self) -> bytes:
        if not hasattr(self, "_body"):
            received = bytearray()
            async for part in self.stream():
                received += part
                if len(received) > MAX_BODY_BYTES:
                    raise PayloadTooLarge(f"request body is larger than {MAX_BODY_BYTES} bytes")
            self._body = bytes(received)
        return self._body


class ManagementRoute(APIRoute):
    """A route that answers 401 to whoever does not show a valid management token, and 413 to a body over the bound."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        route = super().get_route_handler()

        async def checked(request: Request) -> Response:
            parts: ApiParts = request.app.state.api_parts
            verify_management(parts.credentials, _bearer_token(request), parts.clock.now())
            bounded = _BoundedRequest(request.scope, request.receive)
            await bounded.body()
            return await route(bounded)

        return checked


def _bearer_token(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != _SCHEME or not token:
        raise Unauthenticated(_REFUSAL)
    return token.strip()
