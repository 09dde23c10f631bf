"""The gate before every dashboard page: a login, and on every change the login's own token from the same site.

Before it: the cookie that login.py made. After it: a page function, which finds the Login in `request.state.login`.
Nothing behind the gate runs for a request that it did not let through.
"""

import secrets

from fastapi import Request

from isotape.dashboard.login import COOKIE, Logins
from isotape.db.logins import Login
from isotape.errors import Forbidden, IsotapeError

_READING = frozenset({"GET", "HEAD"})


class LoginNeeded(IsotapeError):
    """Nobody is logged in; look.py turns this into the way to the login page."""

    status = 401


class Gate:
    """A FastAPI dependency for a whole router."""

    def __init__(self, logins: Logins) -> None:
        self._logins = logins

    async def __call__(self, request: Request) -> None:
        login = await self._logins.find(request.cookies.get(COOKIE))
        if login is None:
            raise LoginNeeded("dashboard: log in first")
        if request.method not in _READING:
            refuse_other_sites(request)
            await _check_token(request, login)
        request.state.login = login


def refuse_other_sites(request: Request) -> None:
    """Every browser of today says where a form was sent from (Fetch Metadata); a form of another site is refused."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Forbidden("form: sent from another site")


async def _check_token(request: Request, login: Login) -> None:
    sent = request.headers.get("x-csrf-token") or str((await request.form()).get("csrf", ""))
    if not secrets.compare_digest(sent.encode(), login.csrf_token.encode()):
        raise Forbidden("form: it is out of date. Load the page again and repeat what you did.")
