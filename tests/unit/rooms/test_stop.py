"""A stop finishes what was begun, also what it cuts the sockets of; what is held up too long is finished by the next start."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import select

from isotape import rooms as rooms_module
from isotape.db.engine import Database, Tx
from isotape.db.tables import assets, peers, sessions
from isotape.engine import SealReport
from isotape.ids import JournalId
from tests.kit.client import Client
from tests.kit.server import LiveServer, live_server

pytestmark = pytest.mark.anyio

States = tuple[list[str], list[str], list[str]]


class Held:
    """Something slow of which the stop gets in the way: `begun` when it is asked, and it goes on when the stop waits for rooms/."""

    def __init__(self, live: LiveServer, patch: pytest.MonkeyPatch, *, is_freed: bool = True) -> None:
        self.begun = asyncio.Event()
        self._free = asyncio.Event()
        close = live.rooms.close

        async def close_freed() -> None:
            """By now uvicorn has cancelled the tasks of the sockets."""
            if is_freed:
                self._free.set()
            await close()

        patch.setattr(live.rooms, "close", close_freed)

    async def pass_by(self) -> None:
        self.begun.set()
        await self._free.wait()


def hold_seals(live: LiveServer, patch: pytest.MonkeyPatch, *, is_freed: bool = True) -> Held:
    held, seal = Held(live, patch, is_freed=is_freed), live.engine.seal

    async def slow(journal: JournalId, reason: str) -> SealReport:
        await held.pass_by()
        return await seal(journal, reason)

    patch.setattr(live.engine, "seal", slow)
    return held


def hold_commits(live: LiveServer, patch: pytest.MonkeyPatch) -> Held:
    """The next transaction is committed, and its writer hears of it late."""
    held, begin, is_next = Held(live, patch), Database.begin, True

    @asynccontextmanager
    async def slow(database: Database) -> AsyncIterator[Tx]:
        nonlocal is_next
        is_mine, is_next = is_next, False
        async with begin(database) as tx:
            yield tx
        if is_mine:
            await held.pass_by()

    patch.setattr(Database, "begin", slow)
    return held


async def states(folder: Path) -> States:
    """Of all sessions, peers and assets, as the next process would find them."""
    from isotape.db.engine import open_database

    database = open_database(f"sqlite+aiosqlite:///{folder / 'isotape.db'}")
    async with database.connect() as tx:
        found = [list((await tx.execute(select(table.c.state))).scalars()) for table in (sessions, peers, assets)]
    await database.close()
    return found[0], found[1], found[2]


async def test_a_leave_whose_socket_the_stop_cuts_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with live_server(tmp_path) as live:
        room = await live.make_room()
        alice = Client(live.url, live.token(room, "alice"))
        await alice.open()
        await alice.join()
        await alice.publish("audio")
        held = hold_seals(live, monkeypatch)
        await alice.tell("leave")
        await held.begun.wait()
    await alice.close()
    assert await states(tmp_path) == (["closed"], ["left"], ["sealed"])
    assert len(live.jobs.enqueued) == 1


async def test_a_join_whose_socket_the_stop_cuts_leaves_no_row_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with live_server(tmp_path) as live:
        room = await live.make_room()
        alice = Client(live.url, live.token(room, "alice"))
        await alice.open()
        held = hold_commits(live, monkeypatch)
        await alice.tell("join", name="Alice")
        await held.begun.wait()
    await alice.close()
    assert await states(tmp_path) == (["closed"], ["left"], [])
    assert live.engine.metrics()["peers"] == 0


async def test_what_a_disk_holds_up_is_finished_by_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rooms_module, "_CLOSE_WITHIN_S", 0.2)
    async with live_server(tmp_path) as live:
        room = await live.make_room()
        alice = Client(live.url, live.token(room, "alice"))
        await alice.open()
        await alice.join()
        await alice.publish("audio")
        held = hold_seals(live, monkeypatch, is_freed=False)
        await alice.tell("leave")
        await held.begun.wait()
    await alice.close()
    assert live.jobs.enqueued == []
    async with live_server(tmp_path) as again:
        assert again.rooms.live_room(room.id) is not None
    assert await states(tmp_path) == (["closed"], ["left"], ["sealed"])
    assert len(again.jobs.enqueued) == 1
