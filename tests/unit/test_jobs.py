"""A committed job runs, also after a kill; a rolled back one never does. On a real SQLite file, with DBOS' own threads."""

import asyncio
import sys
import threading
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from dbos import DBOS, DBOSClient
from dbos import _core as dbos_core
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from isotape import jobs as jobs_module
from isotape.clock import from_millis
from isotape.db.engine import Database, open_database
from isotape.db.tables import users
from isotape.errors import StorageError
from isotape.jobs import Jobs

pytestmark = pytest.mark.anyio

WITHIN_S = 20.0


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here depends on how long the queues and the later tries wait."""
    monkeypatch.setattr(jobs_module, "_POLL_S", dict.fromkeys(jobs_module._POLL_S, 0.05))
    monkeypatch.setattr(jobs_module, "_AGAIN_S", (0.2,))
    monkeypatch.setattr(jobs_module, "_WRITE_AGAIN_S", 0.1)


async def nothing(_id: str) -> None:
    """A job of the other kind, which these tests never enqueue."""


async def until(condition: Callable[[], bool]) -> None:
    """Waits for a condition, bounded."""
    async with asyncio.timeout(WITHIN_S):
        while not condition():
            await asyncio.sleep(0.01)


async def asset_interval_s() -> float:
    """How often DBOS looks for asset jobs, as its own table says."""

    def read() -> float:
        queue = DBOS.retrieve_queue("asset")
        assert queue is not None
        return queue.polling_interval_sec

    return await asyncio.to_thread(read)


async def eventually(ask: Callable[[], Awaitable[float]], is_so: Callable[[float], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not is_so(await ask()):
            await asyncio.sleep(0.01)


@asynccontextmanager
async def running(
    folder: Path, run_asset: Callable[[str], Awaitable[None]], run_delivery: Callable[[str], Awaitable[None]] = nothing
) -> AsyncIterator[tuple[Database, Jobs]]:
    url = f"sqlite+aiosqlite:///{folder / 'isotape.db'}"
    database = open_database(url)
    await database.create_tables()
    jobs = Jobs(url, run_asset, run_delivery)
    await jobs.start()
    try:
        yield database, jobs
    finally:
        await jobs.close(drain_s=5)
        await database.close()


async def test_a_committed_job_runs_and_a_rolled_back_one_never_does(tmp_path: Path) -> None:
    ran: list[str] = []

    async def run(asset_id: str) -> None:
        ran.append(asset_id)

    async with running(tmp_path, run) as (database, jobs):
        with pytest.raises(ZeroDivisionError):
            async with database.begin() as tx:
                await jobs.enqueue_asset(tx, "undone")
                raise ZeroDivisionError
        async with database.begin() as tx:
            await jobs.enqueue_asset(tx, "kept")
        await until(lambda: ran == ["kept"])
        # The queue is in order of enqueueing: had the first one been kept, it would have been taken with or before this one.
        async with database.begin() as tx:
            await jobs.enqueue_asset(tx, "later")
        await until(lambda: "later" in ran)
    assert ran == ["kept", "later"]


async def test_the_same_attempt_is_one_job_and_the_next_attempt_another(tmp_path: Path) -> None:
    ran: list[str] = []

    async def run(asset_id: str) -> None:
        ran.append(asset_id)

    async with running(tmp_path, run) as (database, jobs):
        for attempt in (1, 1, 2):
            async with database.begin() as tx:
                await jobs.enqueue_asset(tx, "a", attempt=attempt)
        await until(lambda: len(ran) == 2)
        async with database.begin() as tx:
            await jobs.enqueue_asset(tx, "b")
        await until(lambda: "b" in ran)
    assert ran == ["a", "a", "b"]


async def test_a_job_runs_on_the_loop_that_started_the_queues(tmp_path: Path) -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    async def run(_asset_id: str) -> None:
        loops.append(asyncio.get_running_loop())

    async with running(tmp_path, run) as (database, jobs):
        async with database.begin() as tx:
            await jobs.enqueue_asset(tx, "a")
        await until(lambda: bool(loops))
    assert loops == [asyncio.get_running_loop()]


async def test_a_delayed_delivery_waits_for_its_time(tmp_path: Path) -> None:
    ran: list[tuple[str, float]] = []

    async def run(delivery_id: str) -> None:
        ran.append((delivery_id, time.monotonic()))

    async with running(tmp_path, nothing, run) as (database, jobs):
        begun = time.monotonic()
        async with database.begin() as tx:
            await jobs.enqueue_delivery(tx, "late", delay_s=1.5)
            await jobs.enqueue_delivery(tx, "now")
        await until(lambda: len(ran) == 2)
    assert [delivery_id for delivery_id, _ in ran] == ["now", "late"]
    assert ran[1][1] - begun >= 1.5


async def test_a_job_that_raises_is_tried_again(tmp_path: Path) -> None:
    tries: list[str] = []

    async def run(asset_id: str) -> None:
        tries.append(asset_id)
        if len(tries) == 1:
            raise StorageError("store away: no answer")

    async with running(tmp_path, run) as (database, jobs):
        async with database.begin() as tx:
            await jobs.enqueue_asset(tx, "a")
        await until(lambda: len(tries) == 2)


async def test_a_job_is_not_lost_when_its_later_try_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []
    enqueue, refusals = DBOSClient.enqueue, [OperationalError("INSERT", {}, Exception("database is locked"))]

    async def run(asset_id: str) -> None:
        tries.append(asset_id)
        if len(tries) == 1:
            raise StorageError("store away: no answer")

    def locked_once(client: DBOSClient, *args: Any, **options: Any) -> Any:
        if refusals:
            raise refusals.pop()
        return enqueue(client, *args, **options)

    async with running(tmp_path, run) as (database, jobs):
        monkeypatch.setattr(DBOSClient, "enqueue", locked_once)
        async with database.begin() as tx:
            await jobs.enqueue_asset(tx, "a")
        await until(lambda: len(tries) == 2)
    assert refusals == []


async def test_the_queues_are_looked_into_seldom_while_nothing_is_expected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "_PACE_S", 0.05)
    monkeypatch.setattr(jobs_module, "_LINGER_S", 0.1)
    ran: list[str] = []

    async def run(asset_id: str) -> None:
        ran.append(asset_id)

    async with running(tmp_path, run) as (database, jobs):
        assert await asset_interval_s() < 1
        jobs.is_expecting = lambda: False
        await eventually(asset_interval_s, lambda interval_s: interval_s >= 2)
        jobs.is_expecting = lambda: True
        await eventually(asset_interval_s, lambda interval_s: interval_s < 1)
        jobs.is_expecting = lambda: False
        await eventually(asset_interval_s, lambda interval_s: interval_s >= 2)
        # A job that nobody foresaw is late and not lost, and what follows from it is quick.
        async with database.begin() as tx:
            await jobs.enqueue_asset(tx, "a")
        monkeypatch.setattr(jobs_module, "_LINGER_S", 60.0)
        await eventually(asset_interval_s, lambda interval_s: interval_s < 1)
        await until(lambda: ran == ["a"])


async def test_our_writers_and_the_queues_share_one_file(tmp_path: Path) -> None:
    ran: set[str] = set()

    async def run(delivery_id: str) -> None:
        async with database.begin() as tx:
            await tx.execute(
                users.insert().values(id=delivery_id, name=delivery_id, password_hash="", created_at=from_millis(0))
            )
        ran.add(delivery_id)

    async with running(tmp_path, nothing, run) as (database, jobs):
        for number in range(60):
            async with database.begin() as tx:
                await jobs.enqueue_delivery(tx, str(number))
        await until(lambda: len(ran) == 60)
        async with database.connect() as connection:
            written = (await connection.execute(select(func.count()).select_from(users))).scalar_one()
    assert written == 60


async def test_a_stop_waits_for_the_running_job_and_leaves_the_rest_to_the_next_start(tmp_path: Path) -> None:
    begun: list[str] = []
    ended: list[str] = []
    go_on = asyncio.Event()

    async def hold(asset_id: str) -> None:
        begun.append(asset_id)
        await go_on.wait()
        ended.append(asset_id)

    async with running(tmp_path, hold) as (database, jobs):
        for asset_id in ("a", "b", "c"):
            async with database.begin() as tx:
                await jobs.enqueue_asset(tx, asset_id)
        await until(lambda: len(begun) == 2)
        asyncio.get_running_loop().call_later(0.2, go_on.set)
    assert sorted(ended) == ["a", "b"]

    again: list[str] = []

    async def run(asset_id: str) -> None:
        again.append(asset_id)

    async with running(tmp_path, run):
        await until(lambda: "c" in again)
    assert again == ["c"]


async def test_a_job_that_outlasts_the_drain_runs_again_at_the_next_start(tmp_path: Path) -> None:
    begun: list[str] = []

    async def hold(asset_id: str) -> None:
        begun.append(asset_id)
        await asyncio.Event().wait()

    url = f"sqlite+aiosqlite:///{tmp_path / 'isotape.db'}"
    database = open_database(url)
    await database.create_tables()
    jobs = Jobs(url, hold, nothing)
    await jobs.start()
    async with database.begin() as tx:
        await jobs.enqueue_asset(tx, "a")
    await until(lambda: begun == ["a"])
    await jobs.close(drain_s=0)
    await database.close()

    again: list[str] = []

    async def run(asset_id: str) -> None:
        again.append(asset_id)

    async with running(tmp_path, run):
        await until(lambda: again == ["a"])


async def test_a_job_that_is_claimed_while_the_queues_stop_runs_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed, go_on = threading.Event(), threading.Event()
    dispatch = dbos_core.execute_dequeued_workflow

    def dispatch_late(*args: Any) -> Any:
        claimed.set()
        go_on.wait(WITHIN_S)
        return dispatch(*args)

    with monkeypatch.context() as patch:
        patch.setattr("dbos._queue.execute_dequeued_workflow", dispatch_late)
        async with asyncio.timeout(WITHIN_S / 2), running(tmp_path, nothing) as (database, jobs):
            async with database.begin() as tx:
                await jobs.enqueue_asset(tx, "a")
            await until(claimed.is_set)
            # By then DBOS would have ended its loop.
            asyncio.get_running_loop().call_later(0.5, go_on.set)

    again: list[str] = []

    async def run(asset_id: str) -> None:
        again.append(asset_id)

    async with running(tmp_path, run):
        await until(lambda: bool(again))
    assert again == ["a"]


KILLED = """
import asyncio, sys
from pathlib import Path
from isotape.db.engine import open_database
from isotape.jobs import Jobs

async def hold(asset_id):
    print("begun", asset_id, flush=True)
    await asyncio.Event().wait()

async def main():
    url = f"sqlite+aiosqlite:///{Path(sys.argv[1]) / 'isotape.db'}"
    database = open_database(url)
    await database.create_tables()
    jobs = Jobs(url, hold, hold)
    await jobs.start()
    async with database.begin() as tx:
        await jobs.enqueue_asset(tx, "a")
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_the_job_of_a_killed_process_is_resumed_by_the_next_one(tmp_path: Path) -> None:
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, str(tmp_path), stdout=PIPE, stderr=PIPE)
    assert child.stdout is not None
    assert await child.stdout.readline() == b"begun a\n"
    child.kill()
    _, complaints = await child.communicate()
    assert complaints == b""

    again: list[str] = []

    async def run(asset_id: str) -> None:
        again.append(asset_id)

    async with running(tmp_path, run):
        await until(lambda: again == ["a"])
