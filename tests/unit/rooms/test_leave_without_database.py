"""A leave whose transaction fails: gone for the others at once, written when the database is back, however late."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from isotape.auth.tokens import verify_app
from isotape.db import peers, sessions
from isotape.db.engine import Database, Tx
from isotape.errors import Conflict
from isotape.ids import PeerId
from isotape.model import PeerState
from isotape.rooms import LeaveReason, recorder
from tests.kit.client import client
from tests.kit.server import live_server
from tests.kit.until import until

pytestmark = pytest.mark.anyio


class Absence:
    """While `lasts` no transaction begins; `failures` counts those that tried."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.lasts = True
        self.failures = 0
        begin = Database.begin

        @asynccontextmanager
        async def failing(database: Database) -> AsyncIterator[Tx]:
            if self.lasts:
                self.failures += 1
                raise OperationalError("BEGIN", {}, Exception("database is locked"))
            async with begin(database) as tx:
                yield tx

        patch.setattr(Database, "begin", failing)


@pytest.fixture
def absence(monkeypatch: pytest.MonkeyPatch) -> Iterator[Absence]:
    """Of the database; the attempts to write come fast."""
    monkeypatch.setattr(recorder, "_WRITE_AGAIN_S", (0.01,))
    away = Absence(monkeypatch)
    away.lasts = False
    yield away
    away.lasts = False


async def test_a_leave_is_written_once_the_database_is_back(tmp_path: Path, absence: Absence) -> None:
    async with live_server(tmp_path) as live:
        room = await live.make_room()
        async with (
            client(live.url, live.token(room, "alice")) as alice,
            client(live.url, live.token(room, "bob")) as bob,
        ):
            await alice.join()
            await alice.publish("audio")
            await bob.join()
            absence.lasts = True
            await alice.tell("leave")
            assert await bob.notice("on-peer-leave", lambda left: left["peer_id"] == alice.peer_id)
            # More often than any fixed list of attempts would.
            await until(lambda: absence.failures > 20)
            assert [seat.peer.id for seat in live.rooms.seats()] == [bob.peer_id]
            assert live.jobs.enqueued == []
            absence.lasts = False

            async def is_written() -> bool:
                async with live.database.connect() as tx:
                    former = await peers.find(tx, PeerId(alice.peer_id))
                return former is not None and former.peer.state is PeerState.LEFT

            await until(is_written)
            assert len(live.jobs.enqueued) == 1


async def test_a_session_closes_with_the_last_leave_that_is_written(tmp_path: Path, absence: Absence) -> None:
    async with live_server(tmp_path) as live:
        room = await live.make_room()
        async with (
            client(live.url, live.token(room, "alice")) as alice,
            client(live.url, live.token(room, "bob")) as bob,
        ):
            await alice.join()
            await bob.join()
            absence.lasts = True
            await alice.tell("leave")
            await bob.tell("leave")
            await until(lambda: absence.failures > 20)
            assert list(live.rooms.seats()) == []
            absence.lasts = False
            await live.emptied(room)
        assert live.events.names()[-3:] == ["PeerLeft", "PeerLeft", "SessionClosed"]
        async with live.database.connect() as tx:
            assert await sessions.list_open(tx) == []


async def test_a_peer_whose_leave_is_not_written_yet_cannot_come_back(tmp_path: Path, absence: Absence) -> None:
    async with live_server(tmp_path) as live:
        room = await live.make_room()
        token = live.token(room, "alice")
        async with client(live.url, token) as alice:
            await alice.join()
            seat = live.rooms.seat(PeerId(alice.peer_id))
            assert seat is not None
            absence.lasts = True
            await alice.tell("leave")
            await until(lambda: absence.failures > 1)
            with pytest.raises(Conflict, match="has left"):
                await live.rooms.admit(verify_app(live.credentials, token, live.clock.now()), PeerId(alice.peer_id))
            await live.rooms.leave(
                seat, LeaveReason.KICKED
            )  # somebody else's hand comes too late and is no second leave
            absence.lasts = False
            await live.emptied(room)
        assert live.events.names().count("PeerLeft") == 1
