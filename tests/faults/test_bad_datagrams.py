"""Thousands of hostile datagrams on the media port while a peer records: nothing of the recording changes, nobody is thrown out."""

from functools import partial
from pathlib import Path

import httpx2
import pytest

from tests.kit import datagrams, sent_media
from tests.kit.process import ServedNode, served_node
from tests.kit.publisher import Publisher, SendingPeer, sending_peer
from tests.kit.until import until

pytestmark = [pytest.mark.slow, pytest.mark.anyio]

_COUNT = 3500


@pytest.mark.parametrize("by", ["a stranger", "the peer itself"])
async def test_hostile_datagrams_leave_a_recording_as_it_was_sent(
    tmp_path: Path, publisher: Publisher, by: str
) -> None:
    media = sent_media.Media(tmp_path)
    async with served_node(tmp_path) as node:
        room, code = await node.make_room()
        async with sending_peer(publisher, node.server.url, code, "alice") as peer:
            await media.begin(peer)
            await _attack(node, publisher, peer, by)
            sent = await media.end(peer)
            assert node.server.is_running
            await peer.leave()
        (asset,) = await node.assets(room, 1)
        for folder in node.journal_folders():
            assert sent_media.in_journal(folder) == sent[sent_media.kind_of(folder)]
        file = await node.download(asset, tmp_path)
        assert sent_media.count_pictures(file) == node.pictures(asset)
        assert {track["packets"]["lost"] for track in node.sidecar(asset)["tracks"]} == {0}
        assert "Traceback" not in node.server.text()


async def _attack(node: ServedNode, publisher: Publisher, peer: SendingPeer, by: str) -> None:
    """Before and after, the server's own counter says whether the datagrams came to it at all."""
    ssrcs = [(await until(partial(peer.sent, name)))[0].ssrc for name in peer.published]
    flood = datagrams.hostile(7, _COUNT, ssrcs)
    before = await _received(node)
    port = node.server.settings.rtc_port
    if by == "a stranger":
        await datagrams.send_from_a_stranger(port, flood)
    else:
        try:
            await datagrams.send_in_the_name_of(datagrams.udp_ports(publisher.pid), port, flood)
        except PermissionError:
            pytest.skip("the right to raw sockets is missing")

    async def all_came() -> bool:
        return await _received(node) > before + _COUNT * 0.9

    await until(all_came)


async def _received(node: ServedNode) -> float:
    async with httpx2.AsyncClient(trust_env=False) as http:
        text = (await http.get(f"{node.server.url}/metrics")).text
    return sum(float(line.split()[-1]) for line in text.splitlines() if "datagrams_received" in line and line[0] != "#")
