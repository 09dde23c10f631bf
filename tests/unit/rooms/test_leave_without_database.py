"""A leave whose transaction fails is written when the database is back."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from isotape.db.engine import Database, Tx
from isotape.ids import PeerId
from isotape.rooms import LeaveReason
from tests.kit.client import client
from tests.kit.server import live_server

pytestmark = pytest.mark.anyio


async def test_a_leave_is_written_once_the_database_is_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with live_server(tmp_path) as live:
        room = await live.make_room()
        async with client(live.url, live.token(room, "alice")) as alice:
            await alice.join()
            await alice.publish("audio")
            seat = live.rooms.seat(PeerId(alice.peer_id))
            assert seat is not None
            begin, failures = Database.begin, 2

            @asynccontextmanager
            async def failing(database: Database) -> AsyncIterator[Tx]:
                nonlocal failures
                if failures:
                    failures -= 1
                    raise OperationalError("BEGIN", {}, Exception("database is locked"))
                async with begin(database) as tx:
                    yield tx

            monkeypatch.setattr(Database, "begin", failing)
            await live.rooms.leave(seat, LeaveReason.CLIENT)
            assert failures == 0
            assert len(live.jobs.enqueued) == 1
            assert live.rooms.live_room(room.id) is None
