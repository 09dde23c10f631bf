"""/livez, /readyz and /metrics: whether this process lives, whether it takes joins, and what it counts."""

from dataclasses import dataclass

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from isotape.db.engine import Database
from isotape.metrics import CONTENT_TYPE, Metrics


@dataclass
class Health:
    """Set by the composition root when joins are accepted, cleared when the stop begins."""

    ready: bool = False


def build_health(state: Health, database: Database, metrics: Metrics) -> APIRouter:
    """The three routes; none needs a token and none tells anything about a room."""
    router = APIRouter(include_in_schema=False)

    @router.get("/livez")
    async def livez() -> dict[str, str]:
        return {"status": "alive"}

    @router.get("/readyz")
    async def readyz() -> JSONResponse:
        """200 when joins are accepted and the database answers, else 503 with what is wrong."""
        problem = "stopping or starting" if not state.ready else await _database_problem(database)
        return JSONResponse({"status": problem or "ready"}, status_code=503 if problem else 200)

    @router.get("/metrics")
    async def show_metrics() -> Response:
        return Response(metrics.render(), media_type=CONTENT_TYPE)

    return router


async def _database_problem(database: Database) -> str:
    try:
        async with database.connect() as tx:
            await tx.execute(text("SELECT 1"))
    except SQLAlchemyError as error:
        return f"database: {type(error).__name__}"
    return ""
