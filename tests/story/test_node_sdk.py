"""A program written for 100ms, with its own unmodified server SDK, makes a room and fetches every recording of a session from here."""

import asyncio
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from isotape.auth import tokens
from isotape.clock import SystemClock
from isotape.ids import SessionId
from tests.kit.outside import (
    CREDENTIALS,
    STRANGER,
    Outside,
    add_asset,
    add_peer,
    add_room,
    add_session,
    listening,
    outside,
)

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

_REPOSITORY = Path(__file__).parents[2]
_SDK = _REPOSITORY / "node_modules/@100mslive/server-sdk/package.json"
_CONTENT = bytes(range(251)) * 1500
_COUNT = 25


def _node() -> str:
    found = shutil.which("node")
    if found is None:
        pytest.skip("node is missing")
    if not _SDK.exists():
        pytest.skip("node_modules/@100mslive/server-sdk is missing (make setup)")
    assert json.loads(_SDK.read_text())["version"] == "0.3.0"
    return found


async def _recorded_session(node: Outside) -> tuple[SessionId, list[str]]:
    """A past session of alice with 25 assets of the same content; the asset ids, oldest first."""
    async with node.database.begin() as tx:
        session = await add_session(tx, await add_room(tx))
        await add_peer(tx, session)
    return session.id, [(await add_asset(node, session, _CONTENT)).id for _ in range(_COUNT)]


async def _run(**environment: str) -> dict[str, Any]:
    names = {
        "ACCESS_KEY": CREDENTIALS.access_key,
        "APP_SECRET": CREDENTIALS.app_secret,
        "WRONG_SECRET": STRANGER.app_secret,
    }
    plain = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    program = await asyncio.create_subprocess_exec(
        _node(),
        str(Path(__file__).with_name("node_sdk.mjs")),
        env={**plain, **names, **environment},
        cwd=_REPOSITORY,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, problems = await program.communicate()
    assert program.returncode == 0, problems.decode()
    # The SDK logs its own lines before ours.
    result: dict[str, Any] = json.loads(out.splitlines()[-1])
    return result


@pytest.mark.parametrize("way", ["base URL", "https_proxy"])
async def test_the_unmodified_node_sdk_fetches_every_recording(tmp_path: Path, way: str) -> None:
    """By a changed base URL, and without a changed line: behind `https_proxy` the SDK asks in absolute form."""
    now = SystemClock().now()
    async with outside(tmp_path) as node, listening(node.app) as url:
        node.signer._public_url = url
        node.clock.time = now
        session_id, asset_ids = await _recorded_session(node)
        environment = {"API_URL": url} if way == "base URL" else {"API_URL": "", "https_proxy": url}
        result = await _run(SESSION_ID=session_id, **environment)

    assert result["assets"] == asset_ids[::-1]
    assert (result["wide"], result["exact"], result["job"]) == (_COUNT, _COUNT, _COUNT)
    assert result["sha256"] == hashlib.sha256(_CONTENT).hexdigest()
    assert (result["createdAt"], result["expiry"]) == ("2024-02-29T04:51:16.041Z", 600)
    assert result["session"] == ["alice"]

    assert result["room"]["byName"] == result["room"]["id"]
    assert (result["updated"], result["disabled"], result["code"]) == ("two", False, False)
    assert [code["role"] for code in result["codes"]] == ["host", "guest"]
    assert tokens.verify_management(CREDENTIALS, result["token"], now)
    joins = tokens.verify_app(CREDENTIALS, result["appToken"], now)
    assert (joins.room_id, joins.role, joins.user_id) == (result["room"]["id"], "host", "node")

    assert result["start"]["code"] == 403
    assert result["unknown"] == {"code": 404, "message": "asset not found"}
    assert result["stranger"] == {"code": 401, "message": "Token validation error"}
