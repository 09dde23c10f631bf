"""What every call shares: forms of the request target, bounds, and the wording of errors. On a real HTTP server where bytes matter."""

import asyncio
import json

import pytest

from isotape.api.access import MAX_BODY_BYTES
from tests.kit.outside import Outside, listening

pytestmark = pytest.mark.anyio


async def _raw(url: str, head: str, body: bytes = b"") -> tuple[int, bytes]:
    """Sends these very bytes; the status and the body of the answer."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(head.replace("\n", "\r\n").encode() + b"\r\n" + body)
    answer = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length")
    )
    content = await reader.readexactly(length)
    writer.close()
    return int(answer.split()[1]), content


@pytest.mark.parametrize(
    "target",
    [
        "/v2/templates",
        "/v2/templates/",
        "/v2/templates/?limit=10",
        "http://api.100ms.live/v2/templates",
        "https://api.100ms.live/v2/templates?limit=10",
        "HTTPS://API.100MS.LIVE:443/v2/templates/",
    ],
)
async def test_every_form_of_a_target_reaches_the_same_call(node: Outside, target: str) -> None:
    async with listening(node.app) as url:
        head = f"GET {target} HTTP/1.1\nHost: api.100ms.live\nAuthorization: Bearer {node.token}\n"
        status, content = await _raw(url, head)
    assert (status, json.loads(content)["data"][0]["name"]) == (200, "default")


async def test_an_absolute_target_without_a_path_is_just_not_found(node: Outside) -> None:
    async with listening(node.app) as url:
        assert (await _raw(url, "GET http://api.100ms.live HTTP/1.1\nHost: x\n"))[0] == 404


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_over_the_bound_is_refused(node: Outside, announced: bool) -> None:
    body = json.dumps({"name": "x", "description": "x" * MAX_BODY_BYTES}).encode()

    async def in_parts() -> object:
        for start in range(0, len(body), 1000):
            yield body[start : start + 1000]

    answer = await node.http.post("/rooms", content=body if announced else in_parts())  # type: ignore[arg-type]
    assert (answer.status_code, answer.json()["code"]) == (413, 413)
    assert (await node.http.get("/rooms")).json()["data"] == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "request body must not be empty"),
        (b'{"name": "a",', "request body contains badly-formed JSON (at position 13)"),
        (b'"text"', "invalid input"),
        (b"[[[[", "request body contains badly-formed JSON (at position 4)"),
        (b"\xff\xfe", None),
        (b"[" * 60_000, None),
    ],
)
async def test_a_body_that_cannot_be_read_is_a_bad_request(node: Outside, content: bytes, message: str | None) -> None:
    answer = await node.http.post("/rooms", content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (400, 400)
    assert message is None or answer.json()["message"] == message


async def test_what_is_not_there_is_answered_in_the_same_shape(node: Outside) -> None:
    assert (await node.http.get("/nothing")).json() == {"code": 404, "message": "Not Found"}
    assert (await node.http.put("/rooms")).json() == {"code": 405, "message": "Method Not Allowed"}


async def test_unknown_fields_and_keys_are_ignored(node: Outside) -> None:
    assert (await node.http.post("/rooms?trace=1", json={"name": "a", "colour": "blue"})).status_code == 200


async def test_the_api_describes_itself_without_a_page_from_elsewhere(node: Outside) -> None:
    assert (await node.http.get("http://isotape.test/openapi.json")).json()["info"]["title"] == "isotape"
    for page in ("docs", "redoc"):
        assert (await node.http.get(f"http://isotape.test/{page}")).status_code == 404
