"""Recording jobs, one for each recorded session, so that the `job_id` of an asset leads somewhere.

A stream recording starts with the first join and stops with the last leave. The calls that start and stop a browser recording
in 100ms are therefore refused, and nothing that is being recorded is touched by them.
"""

from typing import Annotated, NoReturn

from fastapi import APIRouter, Query

from isotape.api.access import ManagementRoute
from isotape.api.lists import JsonObject, ListQuery, Several
from isotape.api.parts import Parts
from isotape.api.rooms import own_room
from isotape.db import assets, recordings
from isotape.db.assets import ENDED
from isotape.db.recordings import RecordingFilter
from isotape.errors import Forbidden, NotFound
from isotape.wire import rest

router = APIRouter(prefix="/recordings", tags=["recordings"], route_class=ManagementRoute)


class RecordingQuery(ListQuery):
    room_id: Several
    session_id: Several
    status: Several

    def filter(self) -> RecordingFilter:
        return RecordingFilter(self.room_id, self.session_id, self.status)


@router.get("")
async def list_recordings(parts: Parts, query: Annotated[RecordingQuery, Query()]) -> JsonObject:
    """Jobs without their assets, newest first."""
    async with parts.database.connect() as tx:
        found = await recordings.page(tx, parts.workspace, query.filter(), query.page)
    return rest.page([rest.recording(it.session, it.status, None) for it in found], query.limit)


@router.get("/{job_id}")
async def get_recording(parts: Parts, job_id: str) -> JsonObject:
    async with parts.database.connect() as tx:
        found = await recordings.find(tx, parts.workspace, job_id)
        if found is None:
            raise NotFound("recording not found")
        made = await assets.of_session(tx, parts.workspace, found.session.id)
    return rest.recording(found.session, found.status, [asset for asset in made if asset.state in ENDED])


@router.post("/room/{room_id}/start", response_model=None)
async def refuse_start(parts: Parts, room_id: str) -> NoReturn:
    """Always refused: 403."""
    async with parts.database.connect() as tx:
        await own_room(tx, parts, room_id)
    raise Forbidden(
        "stream recording starts with the first join of a room whose template enables it; it cannot be started"
    )


@router.post("/room/{room_id}/stop", response_model=None)
async def refuse_stop(parts: Parts, room_id: str) -> NoReturn:
    """Always refused: 403."""
    async with parts.database.connect() as tx:
        await own_room(tx, parts, room_id)
    raise Forbidden("stream recording stops with the last leave of the room; it cannot be stopped")


@router.post("/{job_id}/stop", response_model=None)
async def refuse_stop_of_job(parts: Parts, job_id: str) -> NoReturn:
    """Always refused: 403, or 404 for an unknown job."""
    async with parts.database.connect() as tx:
        if await recordings.find(tx, parts.workspace, job_id) is None:
            raise NotFound("beam not found")
    raise Forbidden("stream recording stops with the last leave of the room; it cannot be stopped")
