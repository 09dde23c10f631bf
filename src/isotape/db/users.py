"""Rows of people who may open the dashboard. A password is kept as its Argon2id hash and leaves this table in no other form.

Before it: the first start of the CLI, which makes the admin. After it: dashboard/login.py, which checks a password.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, insert, select

from isotape.db.engine import Tx
from isotape.db.tables import users
from isotape.ids import new_object_id


@dataclass(frozen=True, slots=True)
class User:
    id: str
    name: str
    password_hash: str
    created_at: datetime


async def insert_user(tx: Tx, name: str, password_hash: str, now: datetime) -> User:
    """Adds a user; the name must be free."""
    user = User(new_object_id(), name, password_hash, now)
    await tx.execute(
        insert(users).values(id=user.id, name=name, password_hash=password_hash, created_at=now),
    )
    return user


async def find_user(tx: Tx, name: str) -> User | None:
    row = (await tx.execute(select(users).where(users.c.name == name))).one_or_none()
    return User(**row._mapping) if row else None


async def count_users(tx: Tx) -> int:
    return int((await tx.execute(select(func.count()).select_from(users))).scalar_one())
