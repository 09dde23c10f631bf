"""Tokens: JWTs signed with the app secret, in the two kinds that 100ms has. One way to sign, one way to verify.

An *app* token lets a user into one room with one role; the client SDK sends it to /init and in the socket's URL. A
*management* token opens the REST API. Verification raises, it never returns a verdict; only HS256 is accepted,
whatever the token's header says.
"""

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from jwt.types import Options

from isotape.auth.credentials import Credentials
from isotape.errors import Unauthenticated

_ALGORITHM = "HS256"
_VERSION = 2
# Times are checked against our own clock in `_check_times`, so that they can be tested and an expired token be told apart.
_OPTIONS: Options = {
    "require": ["exp", "jti"],
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
    "verify_iss": False,
    "verify_sub": False,
    "verify_jti": False,
}
# Clocks of token makers and ours may differ by this much; the Node server SDK backdates its tokens by 10 s for the
# same reason.
_LEEWAY = timedelta(seconds=60)
# The documentation's samples use a day for both kinds.
DEFAULT_VALIDITY = timedelta(hours=24)
# The wording that clients of the 100ms REST API know.
_REFUSAL = "Token validation error"


@dataclass(frozen=True, slots=True)
class AppClaims:
    """Whom an app token lets in where."""

    room_id: str
    user_id: str
    role: str


@dataclass(frozen=True, slots=True)
class AppToken:
    """A verified app token. `token_id` is its jti; the workspace is that of the key that signed it."""

    workspace_id: str
    room_id: str
    user_id: str
    role: str
    token_id: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class ManagementToken:
    """A verified management token."""

    token_id: str
    expires_at: datetime


class _ClientSafeJson(json.JSONEncoder):
    """JSON whose base64url form is plain base64: the client SDK decodes payloads with `atob`, which knows no `-` and
    `_`.

    ASCII text yields those two only where `>`, `?`, `~` or DEL stand on every third byte.
    """

    def encode(self, o: Any) -> str:
        text = super().encode(o)
        for character in ">?~\x7f":
            text = text.replace(character, f"\\u{ord(character):04x}")
        return text


def sign_app(
    credentials: Credentials, claims: AppClaims, now: datetime, valid_for: timedelta = DEFAULT_VALIDITY
) -> str:
    """An app token as the client SDK expects it."""
    who = {"room_id": claims.room_id, "user_id": claims.user_id, "role": claims.role}
    return _sign(credentials, {"type": "app", **who}, now, valid_for)


def sign_management(credentials: Credentials, now: datetime, valid_for: timedelta = DEFAULT_VALIDITY) -> str:
    """A management token for the REST API."""
    return _sign(credentials, {"type": "management"}, now, valid_for)


def verify_app(credentials: Credentials, token: str, now: datetime, *, allow_expired: bool = False) -> AppToken:
    """The claims of a valid app token. Raises Unauthenticated.

    allow_expired is for a peer that is in a room already: its client comes back with the token it first joined with.
    """
    claims = _verify(credentials, token, "app")
    expires_at = _check_times(claims, now, allow_expired)
    return AppToken(
        workspace_id=credentials.workspace_id,
        room_id=_text(claims, "room_id"),
        user_id=_text(claims, "user_id", optional=True),
        role=_text(claims, "role"),
        token_id=_text(claims, "jti"),
        expires_at=expires_at,
    )


def verify_management(credentials: Credentials, token: str, now: datetime) -> ManagementToken:
    """The claims of a valid management token. Raises Unauthenticated."""
    claims = _verify(credentials, token, "management")
    return ManagementToken(token_id=_text(claims, "jti"), expires_at=_check_times(claims, now, allow_expired=False))


def _sign(credentials: Credentials, claims: dict[str, Any], now: datetime, valid_for: timedelta) -> str:
    issued_at = int(now.timestamp())
    payload = {
        "access_key": credentials.access_key,
        "version": _VERSION,
        "iat": issued_at,
        "nbf": issued_at,
        "exp": issued_at + int(valid_for.total_seconds()),
        "jti": str(uuid.uuid4()),
        **claims,
    }
    return jwt.encode(payload, credentials.app_secret, algorithm=_ALGORITHM, json_encoder=_ClientSafeJson)


def _verify(credentials: Credentials, token: str, kind: str) -> dict[str, Any]:
    try:
        claims: dict[str, Any] = jwt.decode(token, credentials.app_secret, algorithms=[_ALGORITHM], options=_OPTIONS)
    except jwt.InvalidTokenError as error:
        raise Unauthenticated(_REFUSAL) from error
    if claims.get("access_key") != credentials.access_key or claims.get("type") != kind:
        raise Unauthenticated(_REFUSAL)
    if claims.get("version") != _VERSION:
        raise Unauthenticated(_REFUSAL)
    return claims


def _check_times(claims: dict[str, Any], now: datetime, allow_expired: bool) -> datetime:
    # A token without nbf is common in the wild; exp is not optional.
    not_before = _moment(claims, "nbf") if "nbf" in claims else None
    expires_at = _moment(claims, "exp")
    if not_before is not None and now + _LEEWAY < not_before:
        raise Unauthenticated(_REFUSAL)
    if not allow_expired and now - _LEEWAY >= expires_at:
        raise Unauthenticated(_REFUSAL)
    return expires_at


def _moment(claims: dict[str, Any], name: str) -> datetime:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Unauthenticated(_REFUSAL)
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, OSError, ValueError) as error:
        raise Unauthenticated(_REFUSAL) from error


def _text(claims: dict[str, Any], name: str, *, optional: bool = False) -> str:
    value = claims.get(name, "" if optional else None)
    if not isinstance(value, str) or not (value or optional):
        raise Unauthenticated(_REFUSAL)
    return value
