"""Tokens: what is signed, what is refused."""

import base64
import json
from datetime import timedelta
from typing import Any

import jwt
import pytest

from isotape.auth import tokens
from isotape.auth.credentials import Credentials
from isotape.errors import Unauthenticated
from tests.kit.moments import NOON

CREDENTIALS = Credentials("key", "0123456789abcdef0123456789abcdef", "workspace", "app")
CLAIMS = tokens.AppClaims("room", "alice", "host")


def payload_of(token: str) -> str:
    part = token.split(".")[1]
    return base64.b64decode(part + "=" * (-len(part) % 4)).decode("ascii")


def forge(key: str = CREDENTIALS.app_secret, algorithm: str = "HS256", **changes: Any) -> str:
    good = json.loads(payload_of(tokens.sign_app(CREDENTIALS, CLAIMS, NOON)))
    claims = {name: value for name, value in (good | changes).items() if value is not None}
    return jwt.encode(claims, key, algorithm=algorithm)


def test_an_app_token_opens_the_room_it_was_signed_for() -> None:
    token = tokens.verify_app(CREDENTIALS, tokens.sign_app(CREDENTIALS, CLAIMS, NOON), NOON)
    assert (token.room_id, token.user_id, token.role, token.workspace_id) == ("room", "alice", "host", "workspace")
    assert token.expires_at == NOON + timedelta(hours=24)


def test_the_client_can_read_any_payload_with_atob() -> None:
    # Python's b64decode is as strict as `atob` once the URL-safe alphabet is not asked for.
    for padding in range(3):
        claims = tokens.AppClaims("room", "a" * padding + ">?~\x7f>>>???~~~ü日", "host")
        token = tokens.sign_app(CREDENTIALS, claims, NOON)
        assert not set("-_") & set(token.split(".")[1])
        assert json.loads(payload_of(token))["user_id"] == claims.user_id


@pytest.mark.parametrize(
    "forged",
    [
        forge(algorithm="none", key=""),
        forge(key="another-secret-of-the-right-length"),
        forge(algorithm="HS512", key="0123456789abcdef" * 4),
        forge(type="management"),
        forge(access_key="another"),
        forge(version=1),
        forge(jti=None),
        forge(exp=None),
        forge(exp="tomorrow"),
        forge(exp=1e30),
        forge(room_id=None),
        forge(room_id=7),
        forge(role=""),
        "not.a.token",
        "",
    ],
)
def test_a_token_that_is_not_ours_is_refused_with_the_documented_words(forged: str) -> None:
    with pytest.raises(Unauthenticated, match=r"^Token validation error$"):
        tokens.verify_app(CREDENTIALS, forged, NOON, allow_expired=True)


def test_an_expired_token_is_refused_unless_its_peer_is_in_a_room() -> None:
    token = tokens.sign_app(CREDENTIALS, CLAIMS, NOON)
    late = NOON + timedelta(hours=24, seconds=61)
    with pytest.raises(Unauthenticated):
        tokens.verify_app(CREDENTIALS, token, late)
    assert tokens.verify_app(CREDENTIALS, token, late, allow_expired=True).user_id == "alice"


def test_clocks_may_differ_by_a_minute_and_no_more() -> None:
    token = tokens.sign_app(CREDENTIALS, CLAIMS, NOON)
    assert tokens.verify_app(CREDENTIALS, token, NOON - timedelta(seconds=60))
    with pytest.raises(Unauthenticated):
        tokens.verify_app(CREDENTIALS, token, NOON - timedelta(seconds=61))


def test_nbf_and_user_id_may_be_left_out() -> None:
    assert tokens.verify_app(CREDENTIALS, forge(nbf=None, user_id=None), NOON).user_id == ""


def test_a_management_token_opens_the_api_and_no_room() -> None:
    token = tokens.sign_management(CREDENTIALS, NOON)
    assert tokens.verify_management(CREDENTIALS, token, NOON).token_id
    with pytest.raises(Unauthenticated):
        tokens.verify_app(CREDENTIALS, token, NOON)
    with pytest.raises(Unauthenticated):
        tokens.verify_management(CREDENTIALS, tokens.sign_app(CREDENTIALS, CLAIMS, NOON), NOON)
