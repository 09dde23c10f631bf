"""Sessions: who was in a room when. Before it: rooms.py, which opens and closes them. Assets name them by `session_id`."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query

from isotape.api.access import ManagementRoute
from isotape.api.lists import JsonObject, ListQuery, Several
from isotape.api.parts import Parts
from isotape.db import peers, sessions
from isotape.db.sessions import SessionFilter
from isotape.errors import NotFound
from isotape.ids import SessionId
from isotape.model import Peer
from isotape.wire import rest

router = APIRouter(prefix="/sessions", tags=["sessions"], route_class=ManagementRoute)


class SessionQuery(ListQuery):
    """after and before bound the start, both inclusive. Without `active` open and closed sessions are listed."""

    active: bool | None = None
    room_id: Several
    after: datetime | None = None
    before: datetime | None = None

    def filter(self) -> SessionFilter:
        return SessionFilter(self.active, self.room_id, self.after, self.before)


@router.get("")
async def list_sessions(parts: Parts, query: Annotated[SessionQuery, Query()]) -> JsonObject:
    async with parts.database.connect() as tx:
        found = await sessions.page(tx, parts.workspace, query.filter(), query.page)
        people: dict[SessionId, list[Peer]] = {session.id: [] for session in found}
        for peer in await peers.of_sessions(tx, list(people)):
            people[peer.session_id].append(peer)
    return rest.page([rest.session(it, people[it.id], parts.owner) for it in found], query.limit)


@router.get("/{session_id}")
async def get_session(parts: Parts, session_id: str) -> JsonObject:
    async with parts.database.connect() as tx:
        session = await sessions.get(tx, parts.workspace, SessionId(session_id))
        if session is None:
            raise NotFound("session not found")
        return rest.session(session, await peers.of_sessions(tx, [session.id]), parts.owner)
