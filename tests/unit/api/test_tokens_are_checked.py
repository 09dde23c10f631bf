"""No call is answered without a valid management token of this workspace, and no refusal says more than that."""

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest

from isotape.auth.tokens import AppClaims, sign_app, sign_management
from tests.kit.outside import CREDENTIALS, START, STRANGER, Outside, client_of

pytestmark = pytest.mark.anyio


def _claims(**changes: Any) -> dict[str, Any]:
    now = int(START.timestamp())
    claims = {
        "access_key": CREDENTIALS.access_key,
        "type": "management",
        "version": 2,
        "iat": now,
        "nbf": now,
        "exp": now + 3600,
        "jti": "one",
    }
    return {key: value for key, value in {**claims, **changes}.items() if value is not None}


def _signed(secret: str = CREDENTIALS.app_secret, headers: dict[str, Any] | None = None, **changes: Any) -> str:
    return jwt.encode(_claims(**changes), secret, "HS256", headers=headers)


def _unsigned(algorithm: str) -> str:
    parts = ({"alg": algorithm, "typ": "JWT"}, _claims())
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts) + "."


def _with_flipped_bit() -> str:
    token = _signed()
    return token[:-2] + ("A" if token[-2] != "A" else "B") + token[-1]


BAD_TOKENS: dict[str, Callable[[], str]] = {
    "empty": lambda: "",
    "garbage": lambda: "garbage",
    "three empty parts": lambda: "..",
    "not base64": lambda: "ä.ö.ü".encode().decode("latin-1"),
    "alg none": lambda: _unsigned("none"),
    "alg None": lambda: _unsigned("None"),
    "alg nOnE": lambda: _unsigned("nOnE"),
    "alg HS512": lambda: jwt.encode(_claims(), CREDENTIALS.app_secret * 2, "HS512"),
    "wrong key": lambda: _signed(secret=STRANGER.app_secret),
    "another workspace": lambda: sign_management(STRANGER, START),
    "kid that is a path": lambda: _signed(secret="x" * 32, headers={"kid": "../../dev/null"}),
    "own access key, stranger's secret": lambda: _signed(secret=STRANGER.app_secret),
    "stranger's access key, own secret": lambda: _signed(access_key=STRANGER.access_key),
    "expired by 61 s": lambda: _signed(exp=int(START.timestamp()) - 61),
    "not yet valid": lambda: _signed(nbf=int(START.timestamp()) + 120),
    "app token": lambda: sign_app(CREDENTIALS, AppClaims("room", "user", "host"), START),
    "no type": lambda: _signed(type=None),
    "no exp": lambda: _signed(exp=None),
    "no jti": lambda: _signed(jti=None),
    "exp is text": lambda: _signed(exp="tomorrow"),
    "exp is true": lambda: _signed(exp=True),
    "exp is huge": lambda: _signed(exp=10**30),
    "version 1": lambda: _signed(version=1),
    "access key is a list": lambda: _signed(access_key=[CREDENTIALS.access_key]),
    "one bit of the signature flipped": _with_flipped_bit,
}

CALLS = (
    ("GET", "/recording-assets"),
    ("GET", "/recording-assets/65f000000000000000000001/presigned-url"),
    ("POST", "/rooms"),
    ("GET", "/templates"),
    ("POST", "/templates/65f000000000000000000001/recordings"),
    ("POST", "/room-codes/code"),
    ("GET", "/sessions"),
    ("POST", "/recordings/room/65f000000000000000000001/start"),
    ("GET", "/active-rooms/65f000000000000000000001"),
)


@pytest.mark.parametrize("make", BAD_TOKENS.values(), ids=BAD_TOKENS)
async def test_a_bad_token_opens_nothing(node: Outside, make: Callable[[], str]) -> None:
    async with client_of(node.app, "") as stranger:
        for method, path in CALLS:
            answer = await stranger.request(method, path, headers={"Authorization": b"Bearer " + make().encode()})
            assert (answer.status_code, answer.json()) == (401, {"code": 401, "message": "Token validation error"}), (
                path
            )


async def test_every_route_of_the_api_refuses_a_stranger(node: Outside) -> None:
    async with client_of(node.app, "") as stranger:
        for path, methods in node.app.openapi()["paths"].items():
            for method in methods if path.startswith("/v2") else ():
                plain = path.removeprefix("/v2").replace("{", "").replace("}", "")
                answer = await stranger.request(method, plain, content=b"{" if method == "post" else None)
                assert answer.status_code == 401, f"{method} {path}"


@pytest.mark.parametrize("scheme", ["Basic", "Token", ""])
async def test_another_scheme_is_refused(node: Outside, scheme: str) -> None:
    answer = await node.http.get("/rooms", headers={"Authorization": f"{scheme} {node.token}".strip()})
    assert answer.status_code == 401


async def test_a_token_without_nbf_and_one_used_all_day_are_fine(node: Outside) -> None:
    without = jwt.encode(_claims(nbf=None, exp=int(START.timestamp()) + 86_400), CREDENTIALS.app_secret, "HS256")
    async with client_of(node.app, without) as client:
        for _ in range(3):
            assert (await client.get("/rooms")).status_code == 200
            node.clock.forward(timedelta(hours=7))
