"""The red mark is true: failed while packets are not kept, started again when they are."""

from pathlib import Path
from typing import Any

import pytest

from isotape.engine import JournalFailed
from isotape.rooms import mark
from tests.kit.client import Client, client
from tests.kit.publisher import Publishing, running_publisher, sending_peer
from tests.kit.server import LiveServer, live_server
from tests.kit.until import until

pytestmark = pytest.mark.anyio

_LOAD = {"fake": {"codec": "opus", "packets_per_second": 50, "payload_bytes": 100}}


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mark, "_LOOK_EVERY_S", 0.1)
    monkeypatch.setattr(mark, "_WELL_AFTER_S", 2.0)


def marks(one: Client) -> list[Any]:
    return [update["state"] for update in one.heard("on-record-update")]


async def test_the_mark_is_red_again_once_the_disk_takes_the_packets(tmp_path: Path) -> None:
    async with live_server(tmp_path) as live, running_publisher(tmp_path) as publisher:
        room = await live.make_room()
        async with sending_peer(publisher, live.url, await live.code(room, "host"), "alice") as alice:
            (seat,) = live.rooms.seats()
            in_the_way = tmp_path / "journals" / seat.room.session.id
            in_the_way.touch()
            await alice.publish(Publishing("mic", "opus"))
            await alice.start(mic=_LOAD)
            await until(lambda: marks(alice.client) == ["failed"])
            in_the_way.unlink()
            await until(lambda: marks(alice.client) == ["failed", "started"])
            assert seat.room.failing == {}
            await alice.leave()


async def test_the_mark_stays_failed_while_the_disk_says_so_again_and_again(tmp_path: Path) -> None:
    """Writes that work and syncs that fail: the file grows, and after a power cut nothing of it would be there."""
    async with live_server(tmp_path) as live, running_publisher(tmp_path) as publisher:
        room = await live.make_room()
        async with sending_peer(publisher, live.url, await live.code(room, "host"), "alice") as alice:
            await alice.publish(Publishing("mic", "opus"))
            await alice.start(mic=_LOAD)
            (seat,) = live.rooms.seats()
            (journal_id,) = seat.peer.journals.values()
            for _ in range(10):
                live.rooms.journal_failed(journal_id, "fdatasync: input/output error")
                await grown(live)
                await until(lambda: marks(alice.client))
                assert marks(alice.client) == ["failed"]
            await until(lambda: marks(alice.client) == ["failed", "started"])
            await alice.leave()


async def test_a_peer_that_leaves_takes_its_failing_journal_off_the_mark(tmp_path: Path) -> None:
    async with live_server(tmp_path) as live:
        room = await live.make_room()
        async with (
            client(live.url, live.token(room, "alice")) as alice,
            client(live.url, live.token(room, "bob")) as bob,
        ):
            await alice.join()
            await bob.join()
            await alice.publish("audio")
            await fail_all(live)
            await until(lambda: marks(bob) == ["failed"])
            await alice.leave()
            await until(lambda: marks(bob) == ["failed", "started"])


async def grown(live: LiveServer) -> None:
    """Waits for some packets more on the disk."""
    enough = live.engine.metrics()["journal_records"] + 5
    await until(lambda: live.engine.metrics()["journal_records"] > enough)


async def fail_all(live: LiveServer) -> None:
    for seat in live.rooms.seats():
        for journal_id in seat.peer.journals.values():
            live.engine_says(JournalFailed(journal_id, "no space left on device"))
