"""docs/guide/rest.md names every route, parameter and field of the API, and no route that is not there."""

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from isotape.db import assets, peers
from isotape.model import AssetState
from tests.kit.outside import START, Outside, add_peer, add_room, add_session, an_asset, outside

pytestmark = pytest.mark.anyio

TEXT = (Path(__file__).parents[3] / "docs/guide/rest.md").read_text()
SECTIONS = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))
SHARED = "What all calls share"


def _named(section: str) -> set[str]:
    """Every word that stands in code marks in that section, alone or in an example such as `{"limit", "data"}`, or is shared by all."""
    marked = re.findall(r"`([^`\n]+)`", SECTIONS[section] + SECTIONS[SHARED])
    return set(re.findall(r"[A-Za-z_0-9]+", " ".join(marked)))


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


async def test_a_section_names_every_parameter_and_body_field_of_its_calls(node: Outside) -> None:
    for method, path, operation in _operations(node):
        section = operation["tags"][0].capitalize()
        parameters = {parameter["name"] for parameter in operation.get("parameters", [])}
        assert parameters - _named(section) == set(), f"{method} {path}"
    schemas = node.app.openapi()["components"]["schemas"]
    assert set(schemas["RoomBody"]["properties"]) - _named("Rooms") == set()
    assert set(schemas["CodeBody"]["properties"]) - _named("Room codes") == set()


async def test_a_section_names_every_field_that_its_calls_answer(node: Outside) -> None:
    async with node.database.begin() as tx:
        room = await add_room(tx)
        session = await add_session(tx, room, ended=False)
        peer = await add_peer(tx, session)
        gone = await add_peer(tx, session, "bob")
        await peers.leave(tx, gone, "client request", START)
        made = [an_asset(session), an_asset(session, AssetState.FAILED)]
        for asset in made:
            await assets.insert(tx, asset)
    calls = {
        "Recording assets": ["/recording-assets", f"/recording-assets/{made[0].id}/presigned-url"],
        "Rooms": ["/rooms"],
        "Room codes": [f"/room-codes/room/{room.id}"],
        "Sessions": ["/sessions"],
        "Recordings": ["/recordings"],
        "Active rooms": [f"/active-rooms/{room.id}", f"/active-rooms/{room.id}/peers"],
        SHARED: ["/rooms?limit=0", "/nothing"],
    }
    await node.http.post(f"/room-codes/room/{room.id}")
    for section, paths in calls.items():
        for path in paths:
            answered = set(_fields((await node.http.get(path)).json())) - {peer.id, gone.id}
            assert answered - _named(section) == set(), path
    job = (await node.http.get(f"/recordings/{session.job_id}")).json()
    assert set(job) - _named("Recordings") == set()
    template = (await node.http.get("/templates")).json()["data"][0]
    assert set(template) - _named("Templates") == set()


def _fields(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _fields(item)
    elif isinstance(value, list):
        for item in value:
            yield from _fields(item)
