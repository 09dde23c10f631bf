"""Whatever fails between the engine and the rows: every Asset that was begun comes to its end, once."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from isotape.db import assets
from isotape.db.engine import Database, Tx
from isotape.db.tables import assets as asset_table
from isotape.db.tables import journals as journal_table
from isotape.errors import Unavailable
from isotape.ids import PeerId
from isotape.model import Asset, AssetState, JournalState
from tests.kit.client import Client, Refused, client
from tests.kit.server import LiveServer, live_server
from tests.kit.until import until

pytestmark = pytest.mark.anyio


async def made(live: LiveServer) -> list[Asset]:
    async with live.database.connect() as tx:
        return await assets.in_states(tx, list(AssetState))


def lock_database(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    begin = Database.begin

    @asynccontextmanager
    async def failing(database: Database) -> AsyncIterator[Tx]:
        nonlocal times
        if times:
            times -= 1
            raise OperationalError("BEGIN", {}, Exception("database is locked"))
        async with begin(database) as tx:
            yield tx

    monkeypatch.setattr(Database, "begin", failing)


async def test_a_share_that_ends_while_the_database_is_locked_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with live_server(tmp_path) as live:
        room = await live.make_room()
        async with client(live.url, live.token(room, "alice")) as alice:
            await alice.join()
            share = await alice.publish("video", "screen", "share")
            lock_database(monkeypatch, times=2)
            await alice.unpublish(share)

            async def is_sealed() -> bool:
                return [asset.state for asset in await made(live)] == [AssetState.SEALED]

            await until(is_sealed)
            assert len(live.jobs.enqueued) == 1


async def test_what_an_engine_that_is_away_may_have_opened_ends_with_its_peer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with live_server(tmp_path) as live:
        room = await live.make_room()
        async with client(live.url, live.token(room, "alice")) as alice:
            await alice.join()

            async def away(*_arguments: object) -> str:
                raise Unavailable("engine: command queue is full")

            with monkeypatch.context() as patch:
                patch.setattr(live.engine, "publish_offer", away)
                with pytest.raises(Refused, match="503"):
                    await alice.publish("audio")
            await alice.leave()
        await live.emptied(room)
        [asset] = await made(live)
        assert (asset.state, live.jobs.enqueued) == (AssetState.SEALED, [asset.id])


async def test_an_asset_whose_end_was_never_written_is_made_after_the_next_start(tmp_path: Path) -> None:
    async with live_server(tmp_path) as live:
        room = await live.make_room()
        async with client(live.url, live.token(room, "alice")) as alice:
            await alice.join()
            await alice.publish("audio")
            await alice.leave()
        await live.emptied(room)
        async with live.database.begin() as tx:
            await tx.execute(asset_table.update().values(state=AssetState.RECORDING))
            await tx.execute(journal_table.update().values(state=JournalState.OPEN.value))
    async with live_server(tmp_path) as live:
        [asset] = await made(live)
        assert (asset.state, live.jobs.enqueued) == (AssetState.SEALED, [asset.id])


async def test_a_seat_taken_through_a_replaced_socket_is_left_with_the_newer_one(tmp_path: Path) -> None:
    async with live_server(tmp_path) as live:
        room = await live.make_room()
        token = live.token(room, "alice")
        older = Client(live.url, token)
        await older.open()
        newer = Client(live.url, token, peer_id=older.peer_id)
        seats = live.rooms.join

        async def join_late(*arguments: object) -> object:
            """The client gives its first socket up while its join is under way."""
            await newer.open()
            return await seats(*arguments)  # type: ignore[arg-type]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(live.rooms, "join", join_late)
            await older.tell("join", name="Alice")
            await older.closed()
        await newer.close()
        await until(lambda: _is_alone(live, older.peer_id))


def _is_alone(live: LiveServer, peer_id: str) -> bool:
    seat = live.rooms.seat(PeerId(peer_id))
    return seat is not None and not seat.peer.has_socket and seat.peer.farewell is not None
