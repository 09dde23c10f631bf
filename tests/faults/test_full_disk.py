"""The disk of the journals is full in the middle of a call. What was written before stays; once there is room again, all of it is written.

Journals stand on a small file system of their own; the database and the files do not.
"""

import asyncio
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit import sent_media
from tests.kit.process import served_node
from tests.kit.publisher import Publisher, sending_peer
from tests.kit.until import until

pytestmark = [pytest.mark.slow, pytest.mark.anyio, pytest.mark.timeout(180)]

_DISK_BYTES = 2 << 20
_BEFORE_S, _FULL_S = 2.0, 2.0
# The journal thread tries for 10 s before it says that a disk takes no seal.
_REFUSED_S = 30.0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system where the journals go."""
    folder = tmp_path / "data" / "journals"
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "tmpfs", folder]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("the right to mount is missing")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk: Path) -> Path:
    """Takes all the room that is left, as any other program on the machine may; the file that holds it."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            return filler
    raise AssertionError("the disk never filled")


async def test_a_disk_that_is_full_for_a_while_costs_nothing(tmp_path: Path, publisher: Publisher, disk: Path) -> None:
    media = sent_media.Media(tmp_path)
    async with served_node(tmp_path) as node:
        room, code = await node.make_room()
        async with sending_peer(publisher, node.server.url, code, "alice") as peer:
            await media.begin(peer)
            await asyncio.sleep(_BEFORE_S)
            filler = fill(disk)
            await asyncio.sleep(_FULL_S)
            filler.unlink()
            sent = await media.end(peer)
            await peer.leave()
        (asset,) = await node.assets(room, 1)
        for folder in node.journal_folders():
            assert sent_media.in_journal(folder) == sent[sent_media.kind_of(folder)]
        assert sent_media.count_pictures(await node.download(asset, tmp_path)) == node.pictures(asset)
        assert "Traceback" not in node.server.text()


async def test_the_file_waits_for_a_disk_that_stays_full_and_lacks_nothing(
    tmp_path: Path, publisher: Publisher, disk: Path
) -> None:
    """A file made of what happened to be written would be taken for the whole recording."""
    media = sent_media.Media(tmp_path)
    async with served_node(tmp_path) as node:
        room, code = await node.make_room()
        async with sending_peer(publisher, node.server.url, code, "alice") as peer:
            await media.begin(peer)
            await asyncio.sleep(_BEFORE_S)
            filler = fill(disk)
            await peer.client.notice("on-record-update", lambda mark: "failed" in json.dumps(mark))
            sent = await media.end(peer)
            await peer.leave()
        await until(lambda: "journal not sealed" in node.server.text(), _REFUSED_S)

        async def is_over() -> bool:
            return not (await node.session(room))["active"]

        await until(is_over)
        assert await node.of_room(room) == []
        filler.unlink()
        (asset,) = await node.assets(room, 1)
        assert asset["status"] == "completed"
        for folder in node.journal_folders():
            assert sent_media.in_journal(folder) == sent[sent_media.kind_of(folder)]
        assert sent_media.count_pictures(await node.download(asset, tmp_path)) == node.pictures(asset)
        assert "No space left on device" in node.server.text()
        assert node.server.is_running
        assert "Traceback" not in node.server.text()
