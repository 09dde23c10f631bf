"""Who gets into the dashboard, and who does not."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from isotape.dashboard.login import LOGIN_LASTS, Logins, ensure_admin
from isotape.db.engine import Database, open_database
from isotape.db.tables import logins, users
from isotape.errors import TooManyRequests, Unauthenticated

pytestmark = pytest.mark.anyio


class HandClock:
    def __init__(self) -> None:
        self.at = datetime(2026, 11, 24, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = open_database(f"sqlite+aiosqlite:///{tmp_path / 'isotape.db'}")
    await opened.create_tables()
    yield opened
    await opened.close()


async def _admin(database: Database, clock: HandClock) -> str:
    async with database.begin() as tx:
        password = await ensure_admin(tx, clock.now())
    assert password is not None
    return password


async def test_the_first_password_is_made_once_and_stored_as_a_hash_only(database: Database) -> None:
    clock = HandClock()
    password = await _admin(database, clock)
    async with database.begin() as tx:
        assert await ensure_admin(tx, clock.now()) is None
        stored = (await tx.execute(select(users.c.password_hash))).scalar_one()
    assert stored.startswith("$argon2id$")
    assert password not in stored


async def test_the_right_password_opens_a_login_that_its_cookie_finds(database: Database) -> None:
    clock = HandClock()
    password = await _admin(database, clock)
    door = Logins(database, clock, "secret")
    cookie = await door.open("admin", password, "10.0.0.1")
    found = await door.find(cookie)
    assert found is not None
    assert found.user_name == "admin"


async def test_a_copy_of_the_table_opens_no_door(database: Database) -> None:
    clock = HandClock()
    password = await _admin(database, clock)
    door = Logins(database, clock, "secret")
    cookie = await door.open("admin", password, "10.0.0.1")
    async with database.connect() as tx:
        stored = (await tx.execute(select(logins.c.id))).scalar_one()
    assert stored not in cookie
    assert await door.find(stored) is None
    assert await Logins(database, clock, "another secret").find(cookie) is None


@pytest.mark.parametrize("cookie", [None, "", "x", "a.b", "ImEi.sig", "\u00e9"])
async def test_a_cookie_that_was_not_made_here_is_nobody(database: Database, cookie: str | None) -> None:
    assert await Logins(database, HandClock(), "secret").find(cookie) is None


async def test_a_login_ends_after_its_time_and_at_the_log_out(database: Database) -> None:
    clock = HandClock()
    password = await _admin(database, clock)
    door = Logins(database, clock, "secret")
    kept, closed = [await door.open("admin", password, "10.0.0.1") for _ in range(2)]
    login = await door.find(closed)
    assert login is not None
    await door.close(login)
    assert await door.find(closed) is None
    assert await door.find(kept) is not None
    clock.at += LOGIN_LASTS
    assert await door.find(kept) is None


async def test_five_wrong_passwords_close_the_door_to_that_address_for_five_minutes(database: Database) -> None:
    clock = HandClock()
    password = await _admin(database, clock)
    door = Logins(database, clock, "secret")
    for name in ("admin", "nobody", "admin", "admin", "admin"):
        with pytest.raises(Unauthenticated):
            await door.open(name, "wrong", "10.0.0.1")
    with pytest.raises(TooManyRequests):
        await door.open("admin", password, "10.0.0.1")
    assert await door.open("admin", password, "10.0.0.2")
    clock.at += timedelta(minutes=5)
    assert await door.open("admin", password, "10.0.0.1")
