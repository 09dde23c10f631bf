"""docs/guide/rest.md names every route, parameter and field of the API, and no route that is not there."""

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from isotape.db import assets
from isotape.model import AssetState
from tests.kit.outside import Outside, add_peer, add_room, add_session, an_asset, outside

pytestmark = pytest.mark.anyio

TEXT = (Path(__file__).parents[3] / "docs/guide/rest.md").read_text()
# Every word that stands in code marks, alone or in an example such as `{"limit", "data"}`.
NAMED = set(re.findall(r"[A-Za-z_0-9]+", " ".join(re.findall(r"`([^`\n]+)`", TEXT))))


@pytest.fixture
async def node(tmp_path: Path, anyio_backend: str) -> AsyncIterator[Outside]:
    async with outside(tmp_path) as node:
        yield node


def _operations(node: Outside) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in node.app.openapi()["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


async def test_the_guide_lists_exactly_the_routes_of_the_api(node: Outside) -> None:
    documented = set(re.findall(r"^\| `([A-Z]+ /[^`]+)` \|", TEXT, re.MULTILINE))
    assert documented == {f"{method} {path}" for method, path, _ in _operations(node)}


async def test_the_guide_names_every_parameter_and_body_field(node: Outside) -> None:
    schemas = node.app.openapi()["components"]["schemas"]
    taken = {
        parameter["name"] for _, _, operation in _operations(node) for parameter in operation.get("parameters", [])
    }
    taken |= {field for name in ("RoomBody", "CodeBody") for field in schemas[name]["properties"]}
    assert taken - NAMED == set()


async def test_the_guide_names_every_field_that_a_call_answers(node: Outside) -> None:
    async with node.database.begin() as tx:
        room = await add_room(tx)
        session = await add_session(tx, room, ended=False)
        peer = await add_peer(tx, session)
        made = [an_asset(session), an_asset(session, AssetState.FAILED)]
        for asset in made:
            await assets.insert(tx, asset)
    template = (await node.http.get("/templates")).json()["data"][0]
    answers = [
        await node.http.get("/recording-assets"),
        await node.http.get(f"/recording-assets/{made[0].id}/presigned-url"),
        await node.http.get("/rooms"),
        await node.http.post(f"/room-codes/room/{room.id}"),
        await node.http.get(f"/room-codes/room/{room.id}"),
        await node.http.get("/sessions"),
        await node.http.get(f"/recordings/{session.job_id}"),
        await node.http.get("/recordings"),
        await node.http.get(f"/active-rooms/{room.id}"),
        await node.http.get(f"/active-rooms/{room.id}/peers"),
        await node.http.get("/rooms?limit=0"),
    ]
    answered = set(template) | {field for answer in answers for field in _fields(answer.json())}
    assert answered - NAMED - {peer.id} == set()


def _fields(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _fields(item)
    elif isinstance(value, list):
        for item in value:
            yield from _fields(item)
