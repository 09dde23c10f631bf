"""What is recorded, seen from the rows: which Assets begin, which journals they have, when they are sealed."""

import asyncio
from pathlib import Path

import pytest

from isotape.db import assets, journals
from isotape.db.tables import sessions as session_table
from isotape.ids import WorkspaceId
from isotape.model import Asset, AssetKind, AssetState, Journal, JournalState
from tests.kit.client import Refused, client
from tests.kit.server import LiveOptions, LiveServer, live_server
from tests.kit.until import until

pytestmark = pytest.mark.anyio


async def rows(server: LiveServer) -> list[Asset]:
    workspace = WorkspaceId(server.credentials.workspace_id)
    async with server.database.connect() as tx:
        ids = (await tx.scalars(session_table.select().with_only_columns(session_table.c.id))).all()
        return [asset for one in ids for asset in await assets.of_session(tx, workspace, one)]


async def journals_of(server: LiveServer, asset: Asset) -> list[Journal]:
    async with server.database.connect() as tx:
        return list(await journals.of_asset(tx, asset.id))


async def sealed(server: LiveServer, stream_id: str) -> None:
    """Waits for the end of the stream's Asset, which a client does not wait for."""

    async def is_sealed() -> bool:
        return [one.state for one in await rows(server) if one.stream_id == stream_id] == [AssetState.SEALED]

    await until(is_sealed)


async def test_camera_microphone_and_two_shares_become_three_assets(live: LiveServer) -> None:
    room = await live.make_room()
    async with client(live.url, live.token(room, "alice")) as alice:
        await alice.join("Alice")
        await alice.publish("audio")
        await alice.publish("video")
        for share in ("share1", "share2"):
            picture = await alice.publish("video", "screen", share)
            sound = await alice.publish("audio", "screen", share)
            await alice.unpublish(picture)
            await alice.unpublish(sound)
            await sealed(live, share)
        kinds = [(asset.kind, asset.state) for asset in await rows(live)]
        assert kinds == [
            (AssetKind.REGULAR, AssetState.RECORDING),
            (AssetKind.SCREEN, AssetState.SEALED),
            (AssetKind.SCREEN, AssetState.SEALED),
        ]
        await alice.leave()
    await live.emptied(room)
    made = await rows(live)
    assert {asset.state for asset in made} == {AssetState.SEALED}
    assert live.jobs.enqueued == [made[1].id, made[2].id, made[0].id]
    for asset in made:
        written = await journals_of(live, asset)
        assert [journal.state for journal in written] == [JournalState.SEALED] * 2
        assert all((live.folder / journal.folder).is_dir() for journal in written)


async def test_a_journal_tells_on_its_own_whose_it_is(live: LiveServer) -> None:
    from isotape import journal

    room = await live.make_room()
    async with client(live.url, live.token(room, "alice")) as alice:
        await alice.join("Alice")
        track = await alice.publish("audio")
        await alice.leave()
    await live.emptied(room)
    (asset,) = await rows(live)
    (written,) = await journals_of(live, asset)
    meta = journal.recover(live.folder / written.folder).meta
    told = meta.get("meta", meta)
    assert (told["peer_id"], told["user_id"], told["name"], told["role"]) == (alice.peer_id, "alice", "Alice", "host")
    assert (told["asset_id"], told["track_id"], told["session_id"]) == (asset.id, track, asset.session_id)


async def test_a_template_that_does_not_record_leaves_no_trace(tmp_path: Path) -> None:
    async with live_server(tmp_path, LiveOptions(recording={})) as live:
        room = await live.make_room()
        async with client(live.url, live.token(room, "alice")) as alice:
            await alice.join()
            assert (await alice.notice("peer-list"))["room"]["recording"]["sfu"]["state"] == "none"
            await alice.publish("audio")
            await alice.leave()
        await live.emptied(room)
        assert await rows(live) == []
        assert list((tmp_path / "journals").iterdir()) == []


@pytest.mark.parametrize("method", ["rtmp-start", "rtmp-stop", "hls-start", "hls-stop", "transcription-start"])
async def test_clients_neither_start_nor_stop_a_recording(live: LiveServer, method: str) -> None:
    room = await live.make_room()
    async with client(live.url, live.token(room, "alice")) as alice:
        await alice.join()
        await alice.publish("audio")
        with pytest.raises(Refused, match="403"):
            await alice.request(method, meeting_url="https://example.test", record=True)
        assert [asset.state for asset in await rows(live)] == [AssetState.RECORDING]


async def test_an_offer_that_the_engine_refuses_leaves_no_rows(live: LiveServer) -> None:
    room = await live.make_room()
    async with client(live.url, live.token(room, "alice")) as alice:
        await alice.join()
        track = {"track_id": "t", "stream_id": "s", "type": "audio", "source": "regular", "mute": False}
        with pytest.raises(Refused, match="400"):
            await alice.request("offer", desc={"type": "offer", "sdp": "v=0\r\nnonsense"}, tracks={"t": track})
        assert await rows(live) == []
        await alice.publish("audio")
        assert len(await rows(live)) == 1


async def test_at_the_maximum_duration_the_recording_stops_and_the_session_goes_on(tmp_path: Path) -> None:
    async with live_server(tmp_path, LiveOptions(max_duration_s=1)) as live:
        room = await live.make_room()
        async with client(live.url, live.token(room, "alice")) as alice:
            await alice.join()
            mic = await alice.publish("audio")
            stopped = await alice.notice("on-record-update")
            assert (stopped["type"], stopped["state"]) == ("sfu", "stopped")
            await sealed(live, "cam")
            assert len(live.jobs.enqueued) == 1
            await alice.publish("video")
            assert mic in alice.tracks
            assert len(await rows(live)) == 1
            assert live.rooms.live_room(room.id) is not None


async def test_a_stop_of_the_server_seals_and_enqueues_everything(tmp_path: Path) -> None:
    async with live_server(tmp_path) as live:
        room = await live.make_room()
        alice = client(live.url, live.token(room, "alice"))
        one = await alice.__aenter__()
        await one.join()
        await one.publish("audio")
    assert len(live.jobs.enqueued) == 1
    assert live.events.names()[-2:] == ["PeerLeft", "SessionClosed"]
    await one.close()


async def test_two_peers_of_one_user_have_an_asset_each(live: LiveServer) -> None:
    room = await live.make_room()
    async with client(live.url, live.token(room, "alice")) as one, client(live.url, live.token(room, "alice")) as two:
        await asyncio.gather(one.join(), two.join())
        await asyncio.gather(one.publish("audio"), two.publish("audio"))
        made = await rows(live)
    assert {asset.peer_id for asset in made} == {one.peer_id, two.peer_id}
    assert len({asset.session_id for asset in made}) == 1
