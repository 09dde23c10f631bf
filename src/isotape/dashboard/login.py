"""Who may open the dashboard: the first admin, the check of a password, the cookie of a logged-in browser.

Before it: the CLI, which prints the first password once. After it: gate.py, which asks on every request who is there.
A password or a cookie's secret is never logged and never stored: the tables hold an Argon2id hash and a SHA-256.
"""

import asyncio
import hashlib
import secrets
from collections import OrderedDict, deque
from datetime import datetime, timedelta

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from itsdangerous import BadSignature, URLSafeSerializer

from isotape.clock import Clock
from isotape.db.engine import Database, Tx
from isotape.db.logins import Login, delete_login, find_login, insert_login
from isotape.db.users import User, count_users, find_user, insert_user
from isotape.errors import TooManyRequests, Unauthenticated

ADMIN = "admin"
COOKIE = "isotape_login"
# A working day and its evening; the next morning asks again.
LOGIN_LASTS = timedelta(hours=16)
# 96 bits, in the letters that people can read aloud and type.
_PASSWORD_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"  # noqa: S105 - an alphabet
_PASSWORD_LENGTH = 20
# Five wrong passwords from one address in five minutes, then it waits: OWASP ASVS 2.2.1 asks for no more than 100 an hour.
_TRIES = 5
_TRIES_WITHIN_S = 300.0
# Addresses remembered at once; the oldest goes first.
_ADDRESSES = 4096

_hasher = PasswordHasher()


async def ensure_admin(tx: Tx, now: datetime) -> str | None:
    """Makes the user `admin` when there is no user at all, and returns its password: the only time it can be seen."""
    if await count_users(tx):
        return None
    password = "".join(secrets.choice(_PASSWORD_LETTERS) for _ in range(_PASSWORD_LENGTH))
    await insert_user(tx, ADMIN, await asyncio.to_thread(_hasher.hash, password), now)
    return password


class Logins:
    """Opens, finds and closes the logins of one node."""

    def __init__(self, database: Database, clock: Clock, secret: str) -> None:
        self._database = database
        self._clock = clock
        self._cookie = URLSafeSerializer(
            secret, salt="isotape.dashboard.login", signer_kwargs={"digest_method": hashlib.sha256}
        )
        self._tries = _Tries(clock)
        # Checked when the name is unknown, so that the answer takes as long as for a known one.
        self._nobody = _hasher.hash(secrets.token_hex())

    async def open(self, name: str, password: str, address: str) -> str:
        """The cookie's value for a right name and password; Unauthenticated or TooManyRequests otherwise."""
        self._tries.refuse_when_spent(address)
        async with self._database.connect() as tx:
            user = await find_user(tx, name)
        if (
            not await asyncio.to_thread(_matches, user.password_hash if user else self._nobody, password)
            or user is None
        ):
            self._tries.count(address)
            raise Unauthenticated("login: name and password do not match")
        return await self._open_for(user)

    async def _open_for(self, user: User) -> str:
        secret, now = secrets.token_urlsafe(32), self._clock.now()
        login = Login(_digest(secret), user.id, user.name, secrets.token_urlsafe(32), now + LOGIN_LASTS)
        async with self._database.begin() as tx:
            await insert_login(tx, login, now)
        return str(self._cookie.dumps(secret))

    async def find(self, cookie: str | None) -> Login | None:
        login_id = self._login_id(cookie)
        if login_id is None:
            return None
        async with self._database.connect() as tx:
            return await find_login(tx, login_id, self._clock.now())

    async def close(self, login: Login) -> None:
        async with self._database.begin() as tx:
            await delete_login(tx, login.id)

    def _login_id(self, cookie: str | None) -> str | None:
        try:
            return _digest(self._cookie.loads(cookie)) if cookie else None
        except (BadSignature, AttributeError):
            return None


class _Tries:
    """Counts wrong passwords by address within a sliding window."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wrong: OrderedDict[str, deque[float]] = OrderedDict()

    def refuse_when_spent(self, address: str) -> None:
        moments = self._wrong.get(address, deque[float]())
        while moments and moments[0] <= self._clock.monotonic() - _TRIES_WITHIN_S:
            moments.popleft()
        if len(moments) >= _TRIES:
            raise TooManyRequests("login: too many wrong passwords from this address. Wait five minutes and try again.")

    def count(self, address: str) -> None:
        self._wrong.setdefault(address, deque(maxlen=_TRIES)).append(self._clock.monotonic())
        self._wrong.move_to_end(address)
        if len(self._wrong) > _ADDRESSES:
            self._wrong.popitem(last=False)


def _matches(password_hash: str, password: str) -> bool:
    try:
        return _hasher.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
