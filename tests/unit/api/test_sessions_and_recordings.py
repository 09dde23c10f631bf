"""Sessions with their peers, the recording jobs that assets name, and the refusal of every call that would start or stop one."""

from dataclasses import replace
from datetime import timedelta

import pytest

from isotape.db import assets, peers
from isotape.model import AssetState
from tests.kit.outside import START, STRANGER, Outside, add_peer, add_room, add_session, an_asset

pytestmark = pytest.mark.anyio


async def test_a_session_shows_everybody_who_was_there(node: Outside) -> None:
    async with node.database.begin() as tx:
        room = await add_room(tx)
        session = await add_session(tx, room)
        alice, bob = await add_peer(tx, session), await add_peer(tx, session, "bob")
        await peers.leave(tx, bob, "client request", START + timedelta(seconds=30))
    answer = (await node.http.get(f"/sessions/{session.id}")).json()
    assert (answer["id"], answer["room_id"], answer["active"]) == (session.id, room.id, False)
    assert (answer["created_at"], answer["updated_at"]) == ("2024-02-29T04:51:16.041Z", "2024-02-29T04:52:16.041Z")
    assert answer["peers"][alice.id] == {
        "id": alice.id,
        "session_id": session.id,
        "name": "alice",
        "role": "host",
        "user_id": "user-alice",
        "joined_at": "2024-02-29T04:51:16.041Z",
    }
    assert answer["peers"][bob.id]["left_at"] == "2024-02-29T04:51:46.041Z"
    assert (await node.http.get("/sessions/")).json()["data"] == [answer]


async def test_sessions_are_found_by_room_activity_and_time(node: Outside) -> None:
    async with node.database.begin() as tx:
        blue, red = await add_room(tx), await add_room(tx, "red")
        over, live = await add_session(tx, blue), await add_session(tx, red, ended=False)
        strangers = await add_session(tx, await add_room(tx, workspace=STRANGER.workspace_id))
    for query, expected in (
        ("", [live, over]),
        ("active=true", [live]),
        ("active=false", [over]),
        (f"room_id={blue.id}", [over]),
        (f"room_id={blue.id}&active=true", []),
        ("after=2024-02-29T04:51:16.042Z", []),
        ("limit=1", [live]),
        (f"start={live.id}", [over]),
    ):
        answer = (await node.http.get(f"/sessions?{query}")).json()
        assert [session["id"] for session in answer["data"]] == [session.id for session in expected], query
    assert (await node.http.get(f"/sessions/{strangers.id}")).json() == {"code": 404, "message": "session not found"}


async def test_the_job_of_an_asset_leads_to_all_assets_of_its_session(node: Outside) -> None:
    async with node.database.begin() as tx:
        session = await add_session(tx, await add_room(tx))
        done, failed, going_on = (
            an_asset(session),
            an_asset(session, AssetState.FAILED),
            an_asset(session, AssetState.PLANNED),
        )
        for asset in (done, failed, going_on):
            await assets.insert(tx, asset)
    job = (await node.http.get(f"/recordings/{done.job_id}")).json()
    assert (job["status"], job["session_id"]) == ("post_processing", session.id)
    assert [asset["id"] for asset in job["recording_assets"]] == [done.id, failed.id]
    assert not {"job_id", "room_id", "session_id"} & set(job["recording_assets"][0])
    listed = (await node.http.get("/recordings?status=post_processing")).json()["data"]
    assert [line["id"] for line in listed] == [job["id"]]
    assert "recording_assets" not in listed[0]
    assert (await node.http.get("/recordings?status=completed,failed")).json()["data"] == []


@pytest.mark.parametrize(
    ("states", "ended", "status"),
    [
        ((), False, "running"),
        ((AssetState.RECORDING,), False, "running"),
        ((), True, "completed"),
        ((AssetState.DISCARDED,), True, "completed"),
        ((AssetState.COMPLETED, AssetState.FAILED), True, "completed"),
        ((AssetState.FAILED,), True, "failed"),
        ((AssetState.SEALED, AssetState.FAILED), True, "post_processing"),
    ],
)
async def test_a_job_is_as_far_as_its_assets(
    node: Outside, states: tuple[AssetState, ...], ended: bool, status: str
) -> None:
    async with node.database.begin() as tx:
        session = await add_session(tx, await add_room(tx), ended=ended)
        for state in states:
            await assets.insert(tx, replace(an_asset(session), state=state))
    assert (await node.http.get(f"/recordings/{session.job_id}")).json()["status"] == status


async def test_no_call_starts_or_stops_a_recording(node: Outside) -> None:
    async with node.database.begin() as tx:
        room = await add_room(tx)
        session = await add_session(tx, room, ended=False)
    for path in (f"room/{room.id}/start", f"room/{room.id}/stop", f"{session.job_id}/stop"):
        answer = await node.http.post(f"/recordings/{path}", json={})
        assert answer.status_code == 403
        assert answer.json()["message"].startswith("stream recording st")
    assert (await node.http.get(f"/recordings/{session.job_id}")).json()["status"] == "running"


async def test_an_active_room_shows_who_is_there_now(node: Outside) -> None:
    async with node.database.begin() as tx:
        room = await add_room(tx)
        await add_session(tx, room)
    assert (await node.http.get(f"/active-rooms/{room.id}")).status_code == 404
    async with node.database.begin() as tx:
        session = await add_session(tx, room, ended=False)
        alice, bob = await add_peer(tx, session), await add_peer(tx, session, "bob")
        await peers.leave(tx, bob, "client request", START)
    active = (await node.http.get(f"/active-rooms/{room.id}")).json()
    assert (active["id"], active["session"]["id"], active["session"]["peers"]) == (room.id, session.id, [alice.id])
    there = (await node.http.get(f"/active-rooms/{room.id}/peers")).json()["peers"]
    assert (list(there), there[alice.id]["name"]) == ([alice.id], "alice")
    assert (await node.http.get(f"/active-rooms/{room.id}/peers?user_id=nobody")).json() == {"peers": {}}
