"""The one place that makes a SQLAlchemy engine, and the transaction that everything else uses.

SQLite is opened so that no acknowledged commit can be lost: WAL with `synchronous=FULL` (NORMAL lost all commits since the last
checkpoint in 20 of 20 power cuts), and every transaction begins with BEGIN IMMEDIATE (deferred transactions lost updates silently).
One writer at a time is what SQLite does anyway; `begin()` queues writers in this process instead of letting them collide.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import event, exists, make_url, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from isotape.db.tables import metadata, one_open_session, sessions

# How long a statement waits for another process's lock (ms) before it fails; DBOS writes the same file from its own threads.
_BUSY_TIMEOUT_MS = 10_000

Tx = AsyncConnection

# Without the index a room could have two open Sessions; the newest is the one that goes on.
_newer = sessions.alias()
_CLOSE_DOUBLES = (
    update(sessions)
    .where(sessions.c.state == "open")
    .where(
        exists().where(_newer.c.room_id == sessions.c.room_id, _newer.c.state == "open", _newer.c.id > sessions.c.id)
    )
    .values(state="closed", ended_at=sessions.c.updated_at)
)


class Database:
    """A pool of connections. `begin` writes, `connect` reads."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self._writer = asyncio.Lock()

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Tx]:
        """A write transaction: committed when the block ends, rolled back when it raises."""
        if not self.is_sqlite:
            async with self.engine.begin() as tx:
                yield tx
            return
        async with self._writer, self.engine.begin() as tx:
            yield tx

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Tx]:
        """A connection for reading."""
        async with self.engine.connect() as connection:
            yield await connection.execution_options(isotape_read=True)

    async def create_tables(self) -> None:
        """Makes every table that is missing, and the index that a database of an earlier release lacks."""
        async with self.begin() as tx:
            await tx.run_sync(metadata.create_all)
            await tx.execute(_CLOSE_DOUBLES)
            await tx.run_sync(lambda connection: one_open_session.create(connection, checkfirst=True))

    async def close(self) -> None:
        await self.engine.dispose()


def open_database(url: str) -> Database:
    """Opens the database of a SQLAlchemy URL (`sqlite+aiosqlite:///file`, `postgresql+psycopg://…`)."""
    engine = create_async_engine(url)
    if engine.dialect.name == "sqlite":
        database = make_url(url).database
        if database:
            Path(database).parent.mkdir(parents=True, exist_ok=True)
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_immediate)
    return Database(engine)


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        f"busy_timeout={_BUSY_TIMEOUT_MS}",
        "foreign_keys=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: Any) -> None:
    # Readers begin too, yet a reader that holds the write lock would stop every writer; `connect` blocks only read.
    mode = "" if connection.get_execution_options().get("isotape_read") else " IMMEDIATE"
    connection.exec_driver_sql(f"BEGIN{mode}")
