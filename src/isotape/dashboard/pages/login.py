"""The login page and the way out. The only dashboard pages that nobody needs to be logged in for."""

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response

from isotape.dashboard.gate import refuse_other_sites
from isotape.dashboard.login import COOKIE, LOGIN_LASTS, Logins
from isotape.dashboard.look import Look, see
from isotape.dashboard.parts import DashboardParts
from isotape.errors import TooManyRequests, Unauthenticated

_HOME = "/dashboard"


class LoginPage:
    def __init__(self, parts: DashboardParts, look: Look, logins: Logins) -> None:
        self._parts = parts
        self._look = look
        self._logins = logins

    def add_to(self, open_to_all: APIRouter, gated: APIRouter) -> None:
        open_to_all.add_api_route("/dashboard/login", self.ask, methods=["GET"])
        open_to_all.add_api_route("/dashboard/login", self.log_in, methods=["POST"])
        gated.add_api_route("/logout", self.log_out, methods=["POST"])

    async def ask(self, request: Request, next: str = _HOME) -> Response:  # noqa: A002 - the field's name
        return self._look.page(request, "login.html", {"next": _own_page(next), "error": ""})

    async def log_in(
        self,
        request: Request,
        name: Annotated[str, Form(max_length=64)],
        password: Annotated[str, Form(max_length=256)],
        next: Annotated[str, Form()] = _HOME,  # noqa: A002 - the field's name
    ) -> Response:
        refuse_other_sites(request)
        address = request.client.host if request.client else "unknown"
        try:
            cookie = await self._logins.open(name.strip(), password, address)
        except (Unauthenticated, TooManyRequests) as refusal:
            values = {"next": _own_page(next), "error": refusal.message}
            return self._look.page(request, "login.html", values, status=refusal.status)
        answer = see(_own_page(next))
        answer.set_cookie(
            COOKIE,
            cookie,
            max_age=int(LOGIN_LASTS.total_seconds()),
            path="/dashboard",
            secure=self._parts.over_tls,
            httponly=True,
            samesite="lax",
        )
        return answer

    async def log_out(self, request: Request) -> Response:
        await self._logins.close(request.state.login)
        answer = see("/dashboard/login")
        answer.delete_cookie(COOKIE, path="/dashboard")
        return answer


def _own_page(address: str) -> str:
    """The address when it is a page of the dashboard; a link must not send anybody to another site after the login."""
    own = address == _HOME or address.startswith((f"{_HOME}/", f"{_HOME}?"))
    return address if own and "\\" not in address and "\n" not in address else _HOME
