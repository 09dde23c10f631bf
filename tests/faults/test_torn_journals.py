"""kill -9, and then the disk holds what it should not: garbage behind the last record, or only half of it.

Each peer's journals get another damage. After the restart all are sealed, and everything before the damage is in journal and file.
"""

import asyncio
import random
import shutil
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from isotape import journal
from isotape.assets.packets import read
from tests.kit import sent_media
from tests.kit.process import served_node
from tests.kit.publisher import Publisher, sending_peer

pytestmark = [pytest.mark.slow, pytest.mark.anyio]

_CALL_S = 3.0
_GRACE_S = 0.5
_GARBAGE = random.Random(4).randbytes(3000)


def _garbage(content: bytes) -> bytes:
    return content + _GARBAGE


def _zeros(content: bytes) -> bytes:
    return content + bytes(4096)


def _half_a_record(content: bytes) -> bytes:
    """The beginning of a record that would be good if it were whole."""
    return content + content[8:40]


def _cut(content: bytes) -> bytes:
    return content[:-7]


_DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "garbage": _garbage,
    "zeros": _zeros,
    "half": _half_a_record,
    "cut": _cut,
}


async def test_a_damaged_tail_costs_at_most_the_record_it_hit(tmp_path: Path, publisher: Publisher) -> None:
    media = sent_media.Media(tmp_path)
    async with served_node(tmp_path, peer_grace_s=_GRACE_S) as node, AsyncExitStack() as stack:
        room, code = await node.make_room()
        peers = {}
        for name in _DAMAGES:
            peers[name] = await stack.enter_async_context(sending_peer(publisher, node.server.url, code, name))
            await media.begin(peers[name])
        await asyncio.sleep(_CALL_S)
        sent = {
            name: {kind: await sent_media.sent(peer, kind) for kind in peer.published} for name, peer in peers.items()
        }
        await node.server.kill()
        before = {}
        for folder in node.journal_folders():
            meta = read(folder).meta
            kept = tmp_path / "before" / folder.name
            shutil.copytree(folder, kept)
            before[folder] = sent_media.in_journal(kept)
            # A kill takes at most what had not reached the file yet, and that is less than was sent since the last look.
            truth = sent[meta["name"]][meta["kind"]]
            assert before[folder][: len(truth)] == truth
            last = sorted(folder.iterdir())[-1]
            last.write_bytes(_DAMAGES[meta["name"]](last.read_bytes()))
        assert len(before) == 2 * len(_DAMAGES)
        await node.server.start()
        for asset in await node.assets(room, len(_DAMAGES)):
            assert asset["status"] == "completed"
            assert sent_media.count_pictures(await node.download(asset, tmp_path)) > _CALL_S * 20
        for folder, packets in before.items():
            assert journal.recover(folder).was_sealed
            lost = 1 if read(folder).meta["name"] == "cut" else 0
            assert len(packets) - len(found := sent_media.in_journal(folder)) in (0, lost)
            assert found == packets[: len(found)]
        assert len(await node.told()) == len(_DAMAGES)
        assert "Traceback" not in node.server.text()
