"""/livez, /readyz and /metrics: whether this process lives, whether it takes joins, and what it counts."""

from collections.abc import Callable
from dataclasses import dataclass

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from isotape.db.engine import Database
from isotape.metrics import CONTENT_TYPE, Metrics


@dataclass
class Health:
    """`ready` is set by the composition root when joins are accepted and cleared when the stop begins."""

    ready: bool = False
    engine_failed: Callable[[], bool] = lambda: False


def build_health(state: Health, database: Database, metrics: Metrics) -> APIRouter:
    """The three routes; none needs a token and none tells anything about a room."""
    router = APIRouter(include_in_schema=False)

    @router.get("/livez")
    async def livez() -> dict[str, str]:
        return {"status": "alive"}

    @router.get("/readyz")
    async def readyz() -> JSONResponse:
        """200 when joins are accepted, media flows and the database answers, else 503 with what is wrong."""
        problem = _own_problem(state) or await _database_problem(database)
        return JSONResponse({"status": problem or "ready"}, status_code=503 if problem else 200)

    @router.get("/metrics")
    async def show_metrics() -> Response:
        return Response(metrics.render(), media_type=CONTENT_TYPE)

    return router


def _own_problem(state: Health) -> str:
    if not state.ready:
        return "starting or stopping"
    return "media core failed: restart the server" if state.engine_failed() else ""


async def _database_problem(database: Database) -> str:
    try:
        async with database.connect() as tx:
            await tx.execute(text("SELECT 1"))
    except SQLAlchemyError as error:
        return f"database: {type(error).__name__}"
    return ""
