"""A room has one open Session, whoever opens it: the database refuses a second one, and its loser joins the first."""

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from isotape.db import peers, sessions
from isotape.db.engine import open_database
from isotape.ids import JobId, SessionId, new_object_id
from isotape.model import Room, Session, SessionState, StreamRecording
from tests.kit.client import client
from tests.kit.server import LiveServer, live_server

pytestmark = pytest.mark.anyio


def opened(live: LiveServer, room: Room) -> Session:
    return Session(
        id=SessionId(new_object_id()),
        workspace_id=room.workspace_id,
        room_id=room.id,
        template_id=room.template_id,
        job_id=JobId(new_object_id()),
        state=SessionState.OPEN,
        recording=StreamRecording(enabled=True),
        created_at=live.clock.now(),
    )


async def test_who_joins_a_room_that_another_process_opened_joins_its_session(tmp_path: Path) -> None:
    async with live_server(tmp_path) as live:
        room = await live.make_room()
        async with client(live.url, live.token(room, "alice")) as alice:
            winner = opened(live, room)
            async with live.database.begin() as tx:
                await sessions.insert(tx, winner)
            await alice.join()
            await alice.publish("audio")
            assert {seat.room.session.id for seat in live.rooms.seats()} == {winner.id}
            await alice.leave()
        await live.emptied(room)
        async with live.database.connect() as tx:
            assert await sessions.list_open(tx) == []
            (peer,) = await peers.of_sessions(tx, [winner.id])
        assert peer.left_at is not None
        assert len(live.jobs.enqueued) == 1
        assert live.events.names()[-2:] == ["PeerLeft", "SessionClosed"]


async def test_the_database_refuses_a_second_open_session(tmp_path: Path) -> None:
    async with live_server(tmp_path) as live:
        room = await live.make_room()
        async with live.database.begin() as tx:
            await sessions.insert(tx, opened(live, room))
        with pytest.raises(IntegrityError):
            async with live.database.begin() as tx:
                await sessions.insert(tx, opened(live, room))
        async with live.database.begin() as tx:
            await sessions.insert(tx, replace(opened(live, room), state=SessionState.CLOSED))


async def test_a_database_of_an_earlier_release_keeps_the_newest_of_two_open_sessions(tmp_path: Path) -> None:
    async with live_server(tmp_path) as live:
        room = await live.make_room()
        older, newer = opened(live, room), opened(live, room)
        async with live.database.begin() as tx:
            await tx.execute(text("DROP INDEX uq_sessions_room_id_open"))
            await sessions.insert(tx, older)
            await sessions.insert(tx, newer)
        database = open_database(f"sqlite+aiosqlite:///{tmp_path / 'isotape.db'}")
        await database.create_tables()
        async with database.connect() as tx:
            assert [session.id for session in await sessions.list_open(tx)] == [newer.id]
        with pytest.raises(IntegrityError):
            async with database.begin() as tx:
                await sessions.insert(tx, opened(live, room))
        await database.close()
