"""A real receiver, real rows, and the real job queue: what a webhook test stands on."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from isotape.clock import SystemClock
from isotape.db import deliveries
from isotape.db.deliveries import Delivery
from isotape.db.engine import Tx
from isotape.db.tables import deliveries as delivery_table
from isotape.events import Account, Events
from isotape.ids import WorkspaceId
from isotape.jobs import Jobs
from isotape.webhooks.address_guard import AddressGuard
from isotape.webhooks.deliver import Deliverer
from tests.kit.outside import CREDENTIALS, Outside, outside

SECRET = "a webhook secret"
WITHIN_S = 30.0


@dataclass
class Received:
    """One request as it arrived, header names in lower case."""

    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """An HTTP server that keeps what it is sent. `answers` are given in turn, the last one for ever; None: no answer at all."""

    answers: list[bytes | None] = field(default_factory=lambda: [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"])
    received: list[Received] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?x=1"

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        body = await reader.readexactly(int(headers["content-length"]))
        self.received.append(Received(first.split(" ")[1], headers, body))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            await reader.read()
        else:
            writer.write(answer)
        writer.close()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(WITHIN_S):
            while len(self.received) < count:
                await asyncio.sleep(0.01)


@pytest.fixture
async def receiver(anyio_backend: str) -> AsyncIterator[Receiver]:
    receiver = Receiver()
    server = await asyncio.start_server(receiver.answer, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    yield receiver
    server.close()


@dataclass
class Webhooks:
    """A node that tells its events to the receiver. `enqueued` holds (delivery id, delay, attempt) when jobs are only noted."""

    node: Outside
    events: Events
    deliverer: Deliverer
    enqueued: list[tuple[str, float, int]]

    async def row(self) -> Any:
        async with self.node.database.connect() as tx:
            return (await tx.execute(select(delivery_table))).one()

    async def delivery(self) -> Delivery:
        async with self.node.database.connect() as tx:
            found = await deliveries.load(tx, (await self.row()).id)
        assert found is not None
        return found


@pytest.fixture
async def by_hand(tmp_path: Path, receiver: Receiver) -> AsyncIterator[Webhooks]:
    """The tries are made by the test itself, so that it decides the time of each."""
    enqueued: list[tuple[str, float, int]] = []

    class Noted:
        async def enqueue_delivery(self, tx: Tx, delivery_id: str, delay_s: float = 0, *, attempt: int = 1) -> None:
            enqueued.append((delivery_id, delay_s, attempt))

    async with outside(tmp_path) as node:
        account = Account(WorkspaceId(CREDENTIALS.workspace_id), CREDENTIALS.app_id)
        events = Events(Noted(), node.storage, node.clock, account, [receiver.url])
        guard = AddressGuard(["127.0.0.1"])
        deliverer = Deliverer(node.database, Noted().enqueue_delivery, node.clock, guard, SECRET)
        yield Webhooks(node, events, deliverer, enqueued)
        await deliverer.close()


@pytest.fixture
async def by_jobs(tmp_path: Path, receiver: Receiver) -> AsyncIterator[Webhooks]:
    """The tries are made by the real queue, as in a server."""
    async with outside(tmp_path) as node:
        clock = SystemClock()
        account = Account(WorkspaceId(CREDENTIALS.workspace_id), CREDENTIALS.app_id)

        async def deliver(delivery_id: str) -> None:
            await deliverer.deliver(delivery_id)

        async def no_assets(_asset_id: str) -> None:
            raise AssertionError("no asset is made here")

        jobs = Jobs(f"sqlite+aiosqlite:///{tmp_path / 'isotape.db'}", no_assets, deliver)
        deliverer = Deliverer(node.database, jobs.enqueue_delivery, clock, AddressGuard(["127.0.0.1"]), SECRET)
        await jobs.start()
        yield Webhooks(node, Events(jobs, node.storage, clock, account, [receiver.url]), deliverer, [])
        await jobs.close(drain_s=5)
        await deliverer.close()
