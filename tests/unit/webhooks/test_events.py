"""Events of sessions and peers carry the documented fields, and are written with the change that they report."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from isotape.db import events as event_rows
from isotape.events import Event, PeerJoined, PeerLeft, SessionClosed, SessionOpened
from isotape.ids import WorkspaceId
from tests.kit.outside import CREDENTIALS, START, add_peer, add_room, add_session
from tests.unit.webhooks.conftest import Webhooks

pytestmark = pytest.mark.anyio

SESSION = {"room_id", "room_name", "session_id", "template_id", "session_started_at"}
PEER = SESSION | {"peer_id", "user_id", "user_name", "user_data", "role", "joined_at", "type"}


async def _told(webhooks: Webhooks, *kinds: str) -> list[dict[str, Any]]:
    async with webhooks.node.database.begin() as tx:
        room = await add_room(tx)
        session = await add_session(tx, room)
        peer = replace(await add_peer(tx, session), left_at=START + timedelta(seconds=12.4))
        made: dict[str, Event] = {
            "open": SessionOpened(room, session),
            "join": PeerJoined(room, session, peer),
            "leave": PeerLeft(room, session, peer, "client request"),
            "close": SessionClosed(room, session),
        }
        for kind in kinds:
            await webhooks.events.append(tx, made[kind])
    async with webhooks.node.database.connect() as tx:
        rows = await event_rows.of_session(tx, WorkspaceId(CREDENTIALS.workspace_id), session.id)
    return [json.loads(row.body) for row in rows]


async def test_a_call_is_told_in_its_order_with_the_documented_fields(by_hand: Webhooks) -> None:
    opened, joined, left, closed = await _told(by_hand, "open", "join", "leave", "close")
    assert [event["type"] for event in (opened, joined, left, closed)] == [
        "session.open.success",
        "peer.join.success",
        "peer.leave.success",
        "session.close.success",
    ]
    assert set(opened["data"]) == SESSION
    assert set(joined["data"]) == PEER
    assert set(left["data"]) == PEER | {"left_at", "duration", "reason", "message"}
    assert set(closed["data"]) == SESSION | {"session_stopped_at", "session_duration"}
    assert (left["data"]["duration"], left["data"]["reason"]) == (12, "client request")
    assert closed["data"]["session_duration"] == 60


async def test_the_envelope_names_the_workspace(by_hand: Webhooks) -> None:
    (event,) = await _told(by_hand, "open")
    assert set(event) == {"version", "id", "account_id", "app_id", "template_id", "timestamp", "type", "data"}
    assert (event["account_id"], event["app_id"]) == (CREDENTIALS.workspace_id, CREDENTIALS.app_id)
