"""A stop in the middle of a call: the process ends by itself and in time, what was recorded is an asset, newcomers are told why not."""

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path

import httpx2
import pytest

from isotape.engine import SealReport
from isotape.engine.embedded import EmbeddedEngine
from isotape.ids import JournalId
from tests.kit import sent_media
from tests.kit.node import running_node
from tests.kit.process import served_node
from tests.kit.publisher import Publisher, sending_peer, token_of_code

pytestmark = [pytest.mark.slow, pytest.mark.anyio]

_DRAIN_S = 5
# Besides the drain of the jobs: sockets 3 s, and whatever a busy machine adds.
_STOP_WITHIN_S = _DRAIN_S + 10
_CALL_S = 3.0


async def test_a_stop_in_a_call_is_clean_and_keeps_everything(tmp_path: Path, publisher: Publisher) -> None:
    media = sent_media.Media(tmp_path)
    async with served_node(tmp_path, drain_s=_DRAIN_S) as node:
        room, code = await node.make_room()
        async with sending_peer(publisher, node.server.url, code, "alice") as peer:
            await media.begin(peer)
            await asyncio.sleep(_CALL_S)
            sent = {name: await sent_media.sent(peer, name) for name in ("video", "audio")}
            began = time.monotonic()
            assert await node.server.stop() == 0
            assert time.monotonic() - began < _STOP_WITHIN_S
        await node.server.start()
        (asset,) = await node.assets(room, 1)
        assert asset["status"] == "completed"
        assert await node.told() == [asset["id"]]
        tracks = {track["kind"]: track for track in node.sidecar(asset)["tracks"]}
        for name, packets in sent.items():
            assert tracks[name]["packets"]["received"] >= len(packets)
            assert tracks[name]["packets"]["lost"] == 0
        assert sent_media.count_pictures(await node.download(asset, tmp_path)) > _CALL_S * 20
        assert "Traceback" not in node.server.text()


class SlowDisk:
    """Lets no journal be sealed before `free` is set: the engine's own seal, on a disk that takes its time."""

    def __init__(self, engine: EmbeddedEngine) -> None:
        self.asked = asyncio.Event()
        self.free = asyncio.Event()
        self._seal = engine.seal
        engine.seal = self.seal  # type: ignore[method-assign]

    async def seal(self, journal: JournalId, reason: str) -> SealReport:
        self.asked.set()
        await self.free.wait()
        return await self._seal(journal, reason)


async def test_a_join_while_a_stop_seals_is_refused_in_words(tmp_path: Path, publisher: Publisher) -> None:
    media = sent_media.Media(tmp_path)
    async with AsyncExitStack() as running, AsyncExitStack() as calls:
        node = await running.enter_async_context(running_node(tmp_path / "data"))
        _room, code = await node.make_room()
        token = await token_of_code(node.server.url, code, "late")
        peer = await calls.enter_async_context(sending_peer(publisher, node.server.url, code, "alice"))
        await media.begin(peer)
        assert await _knock(node.server.url, token) == (200, "")
        disk = SlowDisk(node.server.engine)
        stopping = asyncio.create_task(running.aclose())
        await disk.asked.wait()
        try:
            assert await _knock(node.server.url, token) == (404, "server: stopping, try again")
        finally:
            disk.free.set()
            await stopping


async def _knock(url: str, token: str) -> tuple[int, str]:
    """What /init says to a newcomer."""
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(trust_env=False, timeout=5) as http:
        answer = await http.get(f"{url}/init", params={"peer_id": "late"}, headers=headers)
    return answer.status_code, str(answer.json().get("message", ""))


async def test_what_a_server_writes_is_for_its_own_user_alone(tmp_path: Path) -> None:
    async with served_node(tmp_path) as node:
        await node.make_room()
    (database,) = tmp_path.rglob("isotape.db")
    written = [database.parent, *database.parent.rglob("*")]
    open_to_others = [path for path in written if path.name != "serve.log" and path.stat().st_mode & 0o077]
    assert open_to_others == []
