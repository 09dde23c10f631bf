"""Rows of logged-in browsers. The key is the SHA-256 of the cookie's secret, so that a copy of the table opens no door.

Before it: dashboard/login.py after a right password. After it: every page. Expired rows go when one is added.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, insert, select

from isotape.db.engine import Tx
from isotape.db.tables import logins, users


@dataclass(frozen=True, slots=True)
class Login:
    """Who is there, and the token that every form of theirs must carry."""

    id: str
    user_id: str
    user_name: str
    csrf_token: str
    expires_at: datetime


async def insert_login(tx: Tx, login: Login, now: datetime) -> None:
    await tx.execute(delete(logins).where(logins.c.expires_at <= now))
    await tx.execute(
        insert(logins).values(
            id=login.id,
            user_id=login.user_id,
            csrf_token=login.csrf_token,
            created_at=now,
            expires_at=login.expires_at,
        )
    )


async def find_login(tx: Tx, login_id: str, now: datetime) -> Login | None:
    """The login of that id while it holds."""
    row = (
        await tx.execute(
            select(logins.c.id, logins.c.user_id, users.c.name, logins.c.csrf_token, logins.c.expires_at)
            .join(users, users.c.id == logins.c.user_id)
            .where(logins.c.id == login_id, logins.c.expires_at > now)
        )
    ).one_or_none()
    return Login(*row) if row else None


async def delete_login(tx: Tx, login_id: str) -> None:
    await tx.execute(delete(logins).where(logins.c.id == login_id))
