"""Assets are listed, filtered, paged and signed as a 100ms client expects, and only within their workspace."""

from datetime import timedelta
from urllib.parse import urlsplit

import pytest

from isotape.db import assets
from isotape.model import Asset, AssetKind, AssetState
from tests.kit.outside import STRANGER, Outside, add_asset, add_room, add_session, an_asset

pytestmark = pytest.mark.anyio


async def _insert(node: Outside, *made: Asset) -> None:
    async with node.database.begin() as tx:
        for asset in made:
            await assets.insert(tx, asset)


@pytest.fixture
async def mixed(node: Outside) -> dict[str, Asset]:
    """One asset of each kind and some states in one session, and a regular one in another."""
    async with node.database.begin() as tx:
        room = await add_room(tx)
        one, other = await add_session(tx, room), await add_session(tx, room)
    made = {
        "regular": an_asset(one),
        "screen": an_asset(one, kind=AssetKind.SCREEN),
        "audio": an_asset(one, kind=AssetKind.AUDIO),
        "failed": an_asset(one, AssetState.FAILED),
        "other": an_asset(other),
    }
    hidden = [an_asset(one, state) for state in AssetState if state not in (AssetState.COMPLETED, AssetState.FAILED)]
    await _insert(node, *made.values(), *hidden)
    return made


async def test_a_finished_asset_has_the_documented_shape(node: Outside, mixed: dict[str, Asset]) -> None:
    it = mixed["regular"]
    answer = (await node.http.get(f"/recording-assets/{it.id}")).json()
    assert answer == {
        "id": it.id,
        "job_id": it.job_id,
        "room_id": it.room_id,
        "session_id": it.session_id,
        "type": "stream",
        "status": "completed",
        "path": it.path,
        "size": 22_989_889,
        "duration": 185,
        "created_at": "2024-02-29T04:51:16.041Z",
        "thumbnails": None,
        "metadata": {
            "stream_id": it.stream_id,
            "peer_id": it.peer_id,
            "user_id": "user-alice",
            "stream_type": "regular",
            "name": "Alice Ä",
            "role": "host",
            "offset_ms": 20,
            "duration_ms": 184_600,
        },
    }


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "regular screen audio failed other"),
        ("type=stream", "regular screen audio failed other"),
        ("asset_type=stream", "regular screen audio failed other"),
        ("type=track,stream", "regular screen audio failed other"),
        ("type=track", ""),
        ("asset_type=room-composite&asset_type=chat", ""),
        ("status=completed", "regular screen audio other"),
        ("status=failed", "failed"),
        ("status=failed,completed", "regular screen audio failed other"),
        ("status=processing", ""),
        ("stream_type=screen", "screen"),
        ("stream_type=screen,audio", "screen audio"),
        ("stream_type=screen&stream_type=audio", "screen audio"),
        ("session_id={one}", "regular screen audio failed"),
        ("session_id={one}&asset_type=stream&stream_type=regular&status=completed", "regular"),
        ("session_id={one},{other}&stream_type=regular", "regular failed other"),
        ("job_id={job}", "regular screen audio failed"),
        ("peer_id={peer}", "regular"),
        ("user_id=user-alice", "regular screen audio failed other"),
        ("user_id=nobody", ""),
        ("recording_id={asset}", "regular"),
        ("room_id={room}&colour=blue", "regular screen audio failed other"),
        ("room_id=65f000000000000000000001", ""),
        ("session_id=", "regular screen audio failed other"),
    ],
)
async def test_filters_of_different_names_must_all_hold(
    node: Outside, mixed: dict[str, Asset], query: str, expected: str
) -> None:
    it = mixed["regular"]
    ids = {"one": it.session_id, "other": mixed["other"].session_id, "job": it.job_id, "peer": it.peer_id}
    answer = (await node.http.get(f"/recording-assets?{query.format(**ids, asset=it.id, room=it.room_id)}")).json()
    found = {asset["id"] for asset in answer["data"]}
    assert found == {mixed[name].id for name in expected.split()}


async def test_pages_go_from_new_to_old_and_end_with_an_empty_last(node: Outside) -> None:
    async with node.database.begin() as tx:
        session = await add_session(tx, await add_room(tx))
    made = [an_asset(session) for _ in range(20)]
    await _insert(node, *made)
    first = (await node.http.get("/recording-assets")).json()
    second = (await node.http.get(f"/recording-assets?start={first['last']}")).json()
    third = (await node.http.get(f"/recording-assets?start={second['last']}")).json()
    assert [asset["id"] for asset in first["data"] + second["data"]] == [asset.id for asset in reversed(made)]
    assert (first["limit"], first["last"]) == (10, first["data"][-1]["id"])
    assert third == {"limit": 10, "data": [], "last": ""}


async def test_a_newer_asset_neither_shifts_nor_hides_what_a_reader_is_paging_through(node: Outside) -> None:
    async with node.database.begin() as tx:
        session = await add_session(tx, await add_room(tx))
    made = [an_asset(session) for _ in range(4)]
    await _insert(node, *made)
    first = (await node.http.get("/recording-assets?limit=2")).json()
    await _insert(node, an_asset(session))
    second = (await node.http.get(f"/recording-assets?limit=2&start={first['last']}")).json()
    assert [asset["id"] for asset in second["data"]] == [made[1].id, made[0].id]


@pytest.mark.parametrize("limit", [1, 7, 200, 1000])
async def test_a_page_is_as_long_as_asked(node: Outside, limit: int) -> None:
    async with node.database.begin() as tx:
        session = await add_session(tx, await add_room(tx))
    await _insert(node, *(an_asset(session) for _ in range(210)))
    answer = (await node.http.get(f"/recording-assets?limit={limit}")).json()
    assert (answer["limit"], len(answer["data"])) == (limit, min(limit, 210))


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "ten", ""])
async def test_a_limit_that_cannot_be_kept_is_refused_and_never_cut(node: Outside, limit: str) -> None:
    answer = await node.http.get(f"/recording-assets?limit={limit}")
    assert (answer.status_code, answer.json()["message"]) == (400, "invalid input")


async def test_an_asset_that_is_unknown_unfinished_or_a_strangers_is_not_found(node: Outside) -> None:
    async with node.database.begin() as tx:
        own = await add_session(tx, await add_room(tx))
        foreign = await add_session(tx, await add_room(tx, workspace=STRANGER.workspace_id))
    unfinished, strangers = an_asset(own, AssetState.VERIFIED), an_asset(foreign)
    await _insert(node, unfinished, strangers)
    for asset_id in (unfinished.id, strangers.id, "65f000000000000000000001", "x"):
        for path in ("", "/presigned-url"):
            answer = await node.http.get(f"/recording-assets/{asset_id}{path}")
            assert (answer.status_code, answer.json()) == (404, {"code": 404, "message": "asset not found"})
    assert (await node.http.get("/recording-assets")).json()["data"] == []


async def test_a_signed_url_lives_as_long_as_asked_or_as_the_template_said(node: Outside) -> None:
    async with node.database.begin() as tx:
        session = await add_session(tx, await add_room(tx))
    asset = await add_asset(node, session, b"0123456789")
    asked = (await node.http.get(f"/recording-assets/{asset.id}/presigned-url?presign_duration=60")).json()
    default = (await node.http.get(f"/recording-assets/{asset.id}/presigned-url")).json()
    assert (asked["id"], asked["path"], asked["expiry"], default["expiry"]) == (asset.id, asset.path, 60, 3600)
    parts = urlsplit(asked["url"])
    path = f"http://isotape.test{parts.path}?{parts.query}"
    assert (await node.http.get(path)).content == b"0123456789"
    node.clock.forward(timedelta(seconds=61))
    assert (await node.http.get(path)).status_code == 403


@pytest.mark.parametrize("duration", ["0", "-5", "1209601", "long"])
async def test_a_duration_that_cannot_be_kept_is_refused(node: Outside, mixed: dict[str, Asset], duration: str) -> None:
    answer = await node.http.get(f"/recording-assets/{mixed['regular'].id}/presigned-url?presign_duration={duration}")
    assert answer.status_code == 400


async def test_a_failed_asset_says_why_and_has_no_file(node: Outside, mixed: dict[str, Asset]) -> None:
    answer = (await node.http.get(f"/recording-assets/{mixed['failed'].id}")).json()
    assert (answer["status"], answer["metadata"]["error_message"]) == ("failed", "asset: no space left")
    url = await node.http.get(f"/recording-assets/{mixed['failed'].id}/presigned-url")
    assert (url.status_code, url.json()["message"]) == (404, "asset file not found")
