"""kill -9 between the leave and the finished asset, again and again: each asset completes exactly once and is told exactly once."""

import asyncio
from pathlib import Path

import pytest

from tests.kit import sent_media
from tests.kit.process import served_node
from tests.kit.publisher import Publisher, sending_peer
from tests.kit.until import until

pytestmark = [pytest.mark.slow, pytest.mark.anyio, pytest.mark.timeout(240)]

# Seconds from the leave to the kill. An asset of this size is made within 0.2 s and its event delivered 0.3 s later, so that
# the kills fall before the seal, into every step of the build, and into the delivery.
_MOMENTS_S = (0.0, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.45, 0.7, 1.2)
_CALL_S = 1.0
_GRACE_S = 1.0
_ALL_DONE_S = 60.0


async def test_each_asset_completes_once_and_is_told_once_through_a_storm_of_kills(
    tmp_path: Path, publisher: Publisher
) -> None:
    media = sent_media.Media(tmp_path)
    async with served_node(tmp_path, peer_grace_s=_GRACE_S) as node:
        room, code = await node.make_room()
        for number, moment_s in enumerate(_MOMENTS_S):
            async with sending_peer(publisher, node.server.url, code, f"peer{number}") as peer:
                await media.begin(peer)
                await asyncio.sleep(_CALL_S)
                await peer.leave()
            await asyncio.sleep(moment_s)
            await node.server.kill()
            await node.server.start()

        async def all_ended() -> bool:
            states = [row["state"] for row in node.rows("select state from assets")]
            return len(states) == len(_MOMENTS_S) and set(states) == {"completed"}

        await until(all_ended, _ALL_DONE_S)
        assets = [asset["id"] for asset in await node.of_room(room)]
        assert len(assets) == len(_MOMENTS_S)
        assert sorted(await node.told()) == sorted(assets)
        for asset in await node.of_room(room):
            file = await node.download(asset, tmp_path)
            assert sent_media.count_pictures(file) > _CALL_S * 20
        left = [path for path in node.server.settings.data_dir.rglob("*") if path.parent.name == "rendering"]
        assert not left, "a killed render left its working file behind"
        assert "Traceback" not in node.server.text()
