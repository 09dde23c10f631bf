"""The unmodified client SDK in Chromium against the live side: see each other, mute, share, chat, lose the socket, lose the server."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser
from sqlalchemy import func, select

from isotape.db.tables import assets, journals
from tests.browser.sdk_browser import SdkPeer, bundle, chromium, serve_page
from tests.kit.server import LiveServer, live_server
from tests.kit.until import until

pytestmark = [pytest.mark.anyio, pytest.mark.browser]


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle(tmp_path_factory.mktemp("sdk"))


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as one:
        yield one


async def kinds(server: LiveServer) -> list[tuple[str, str]]:
    async with server.database.connect() as tx:
        return [(row.kind, row.state) for row in await tx.execute(select(assets).order_by(assets.c.id))]


async def test_two_peers_see_each_other_mute_share_and_chat(tmp_path: Path, browser: Browser, script: Path) -> None:
    async with live_server(tmp_path) as live:
        serve_page(live, script)
        room = await live.make_room()
        code = await live.code(room, "host")
        alice = await SdkPeer.join(browser, live.url, code, "alice")
        bob = await SdkPeer.join(browser, live.url, code, "bob")
        for one in (alice, bob):
            await one.sees_pictures(source="regular")
            assert await one.do("isotape.recording()") == "started"

        await alice.do("isotape.actions.setLocalAudioEnabled(false)")
        await bob.sees(1, type="audio", enabled=False)
        await alice.do("isotape.actions.setLocalAudioEnabled(true)")
        await bob.sees(1, type="audio", enabled=True)

        for _ in range(2):
            await alice.do("isotape.actions.setScreenShareEnabled(true)")
            await bob.sees_pictures(source="screen")
            await alice.do("isotape.actions.setScreenShareEnabled(false)")
            await bob.sees(0, source="screen")
        await alice.do("isotape.actions.sendBroadcastMessage('hello')")
        await bob.becomes("isotape.messages()", ["hello"])

        await alice.do("isotape.actions.leave()")
        await bob.becomes("isotape.peers().length", 1)
        await bob.do("isotape.actions.leave()")
        await live.emptied(room)
        assert sorted(await kinds(live)) == [("regular", "sealed")] * 2 + [("screen", "sealed")] * 2
        async with live.database.connect() as tx:
            empty = select(func.count()).where(journals.c.packets == 0)
            assert await tx.scalar(empty) == 0


async def test_a_dropped_socket_comes_back_by_itself_and_the_recording_goes_on(
    tmp_path: Path, browser: Browser, script: Path
) -> None:
    async with live_server(tmp_path) as live:
        serve_page(live, script)
        room = await live.make_room()
        code = await live.code(room, "host")
        alice = await SdkPeer.join(browser, live.url, code, "alice")
        bob = await SdkPeer.join(browser, live.url, code, "bob")
        await bob.sees_pictures(source="regular")
        live.drop_sockets()
        for one in (alice, bob):
            await one.becomes("isotape.news.includes('RECONNECTED')", True)
            await one.sees_pictures(source="regular")
        assert live.events.names() == ["SessionOpened", "PeerJoined", "PeerJoined"]
        assert await kinds(live) == [("regular", "recording")] * 2
        assert live.rooms.counts()["journals"] == 4


class Crash(Exception):
    """Ends a server without its orderly stop."""


async def test_after_a_crash_of_the_server_the_clients_come_back_into_their_assets(
    tmp_path: Path, browser: Browser, script: Path
) -> None:
    peers: list[SdkPeer] = []
    with pytest.raises(Crash):
        async with live_server(tmp_path) as live:
            serve_page(live, script)
            code = await live.code(await live.make_room(), "host")
            peers += [await SdkPeer.join(browser, live.url, code, name) for name in ("alice", "bob")]
            await peers[0].do("isotape.actions.setScreenShareEnabled(true)")
            for one in peers:
                await one.sees_pictures()
            port = int(live.url.rpartition(":")[2])
            raise Crash
    async with live_server(tmp_path, port=port) as live:
        for one in peers:
            await one.becomes("isotape.news.includes('RECONNECTED')", True)
            await one.sees_pictures(source="regular")
        await peers[1].sees_pictures(source="screen")
        assert sorted(await kinds(live)) == [("regular", "recording")] * 2 + [("screen", "recording")]
        for one in peers:
            await one.do("isotape.actions.leave()")
        await until(lambda: live.rooms.counts()["rooms"] == 0)
        assert len(live.jobs.enqueued) == 3
        assert sorted(await kinds(live)) == [("regular", "sealed")] * 2 + [("screen", "sealed")]
