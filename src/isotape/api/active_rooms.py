"""Active rooms: who is in a room now. Read-only; a client's own leave, or closing the room, ends a session."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from isotape.api.access import ManagementRoute
from isotape.api.lists import JsonObject
from isotape.api.parts import ApiParts, Parts
from isotape.api.rooms import own_room
from isotape.db import peers, sessions
from isotape.db.engine import Tx
from isotape.db.pages import Page
from isotape.db.sessions import SessionFilter
from isotape.errors import NotFound
from isotape.model import Peer, Room, Session
from isotape.wire import rest

router = APIRouter(prefix="/active-rooms", tags=["active rooms"], route_class=ManagementRoute)


class PeerQuery(BaseModel):
    user_id: str = ""
    role: str = ""


@router.get("/{room_id}")
async def get_active_room(parts: Parts, room_id: str) -> JsonObject:
    async with parts.database.connect() as tx:
        room, session = await _occupied(tx, parts, room_id)
        return rest.active_room(room, session, await _present(tx, session), parts.owner)


@router.get("/{room_id}/peers")
async def list_active_peers(parts: Parts, room_id: str, query: Annotated[PeerQuery, Query()]) -> JsonObject:
    async with parts.database.connect() as tx:
        _room, session = await _occupied(tx, parts, room_id)
        present = await _present(tx, session)
    return rest.active_peers(
        peer
        for peer in present
        if (not query.user_id or peer.user_id == query.user_id) and (not query.role or peer.role == query.role)
    )


async def _occupied(tx: Tx, parts: ApiParts, room_id: str) -> tuple[Room, Session]:
    room = await own_room(tx, parts, room_id)
    found = await sessions.page(tx, parts.workspace, SessionFilter(active=True, room_ids=[room.id]), Page(limit=1))
    if not found:
        raise NotFound("session not found")
    return room, found[0]


async def _present(tx: Tx, session: Session) -> list[Peer]:
    return [row.peer for row in await peers.list_joined(tx, session.id)]
