"""/init, tokens by room code, and the sinks, as pages of another origin call them."""

import httpx2
import pytest

from isotape.auth.tokens import verify_app
from isotape.db import room_codes, rooms
from tests.kit.client import Client
from tests.kit.server import LiveServer

pytestmark = pytest.mark.anyio


async def test_a_page_of_another_origin_may_ask(live: LiveServer) -> None:
    async with httpx2.AsyncClient() as http:
        for path in ("/init", "/v2/token", "/v2/layouts/ui", "/v2/client/feedback"):
            headers = {"Origin": "https://app.test", "Access-Control-Request-Headers": "authorization"}
            asked = await http.options(f"{live.url}{path}", headers=headers)
            assert asked.status_code == 204
            assert asked.headers["access-control-allow-origin"] == "*"
            assert "authorization" in asked.headers["access-control-allow-headers"]


async def test_init_says_where_the_socket_is(live: LiveServer) -> None:
    room = await live.make_room()
    answer = await Client(live.url, live.token(room, "alice")).init()
    body = answer.json()
    assert body["endpoint"] == live.url.replace("http", "ws") + "/ws"
    assert body["rtcConfiguration"]["ice_servers"] == []
    assert body["config"] == {"enabledFlags": []}
    assert answer.headers["access-control-allow-origin"] == "*"


async def test_what_fails_on_our_side_is_a_404_that_the_client_tries_again(
    live: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = await live.make_room()

    async def broken(*_args: object) -> None:
        raise RuntimeError("the database is away")

    monkeypatch.setattr(rooms, "find", broken)
    answer = await Client(live.url, live.token(room, "alice")).init()
    assert (answer.status_code, answer.json()["code"]) == (404, 404)


async def test_a_room_that_is_not_there_or_a_role_it_does_not_have_is_refused(live: LiveServer) -> None:
    room = await live.make_room()
    assert (await Client(live.url, live.token(room, "alice", "king")).init()).status_code == 403
    async with live.database.connect() as tx:
        ghost = await rooms.get(tx, room.workspace_id, room.id)
    object.__setattr__(ghost, "id", "0" * 24)
    assert (await Client(live.url, live.token(ghost, "alice")).init()).status_code == 403


async def test_a_room_code_is_changed_for_a_token_whatever_the_content_type(live: LiveServer) -> None:
    room = await live.make_room()
    async with httpx2.AsyncClient() as http:
        answer = await http.post(
            f"{live.url}/v2/token",
            content=f'{{"code":"{await live.code(room, "guest")}","user_id":"alice"}}',
            headers={"Content-Type": "text/plain;charset=UTF-8", "Origin": "https://app.test"},
        )
    assert answer.headers["access-control-allow-origin"] == "*"
    token = verify_app(live.credentials, answer.json()["token"], live.clock.now())
    assert (token.room_id, token.user_id, token.role) == (room.id, "alice", "guest")


@pytest.mark.parametrize(("body", "code"), [("{", 400), ("[]", 400), ("{}", 404), ('{"code":"abc-defg-hij"}', 404)])
async def test_a_code_that_opens_nothing_is_refused_with_a_code(live: LiveServer, body: str, code: int) -> None:
    async with httpx2.AsyncClient() as http:
        answer = await http.post(f"{live.url}/v2/token", content=body)
    assert (answer.status_code, answer.json()["code"]) == (code, code)


async def test_a_disabled_code_is_refused(live: LiveServer) -> None:
    room = await live.make_room()
    async with live.database.begin() as tx:
        for code in await room_codes.of_room(tx, room):
            await room_codes.set_enabled(tx, code, live.clock.now(), enabled=False)
    async with httpx2.AsyncClient() as http:
        answer = await http.post(f"{live.url}/v2/token", json={"code": await live.code(room, "host")})
    assert answer.status_code == 403


async def test_feedback_reports_and_layouts_are_answered(live: LiveServer) -> None:
    async with httpx2.AsyncClient() as http:
        assert (await http.post(f"{live.url}/v2/client/report", json={"event": 1})).status_code == 200
        assert (await http.post(f"{live.url}/v2/client/feedback", json={})).status_code == 200
        assert (await http.get(f"{live.url}/v2/layouts/ui")).json() == {"data": []}
