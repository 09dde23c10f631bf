"""The REST API: what other programs may know and change, in the 100ms v2 spelling.

Before it: a program with a management token. After it: the rows that everything else reads; nothing here touches media, and
nothing can start or stop a recording. One module a noun; errors.py words every refusal, access.py checks every token.
"""

from fastapi import APIRouter, Depends, FastAPI

from isotape.api import active_rooms, assets, errors, files, recordings, room_codes, rooms, sessions, templates
from isotape.api.access import bearer
from isotape.api.parts import ApiParts
from isotape.api.target import RequestTarget

__all__ = ["ApiParts", "build_api"]

_NOUNS = (assets, templates, rooms, room_codes, sessions, recordings, active_rooms)


def build_api(parts: ApiParts) -> FastAPI:
    """An application with `/v2`, `/files` and `/openapi.json`; app.py adds the routes of signalling and of the pages to it."""
    # No Swagger page: it would load its script from somebody else's server.
    app = FastAPI(
        title="isotape",
        summary="Stream recordings of rooms, in the 100ms v2 API.",
        docs_url=None,
        redoc_url=None,
        strict_content_type=False,
    )
    app.state.api_parts = parts
    errors.install(app)
    app.add_middleware(RequestTarget)
    v2 = APIRouter(prefix="/v2", dependencies=[Depends(bearer)])
    for noun in _NOUNS:
        v2.include_router(noun.router)
    app.include_router(v2)
    app.include_router(files.router)
    return app
