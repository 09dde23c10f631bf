"""A signed URL gives exactly its one file, whole or in ranges, until it expires; nothing else opens /files."""

from datetime import timedelta
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from isotape.model import Asset, AssetKind
from tests.kit.outside import Outside, add_asset, add_room, add_session

pytestmark = pytest.mark.anyio

CONTENT = bytes(range(256)) * 1000


@pytest.fixture
async def asset(node: Outside) -> Asset:
    async with node.database.begin() as tx:
        session = await add_session(tx, await add_room(tx))
    return await add_asset(node, session, CONTENT)


async def _url(node: Outside, asset: Asset) -> str:
    return await node.storage.sign(asset.path, timedelta(hours=1))


async def test_the_whole_file_comes_with_a_readable_name_and_is_kept_by_no_cache(node: Outside, asset: Asset) -> None:
    answer = await node.http.get(await _url(node, asset))
    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["content-disposition"] == 'attachment; filename="Alice-regular-20240229-045116.mp4"'
    assert answer.headers["cache-control"] == "private, no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("0-0", 0, 1), ("100-199", 100, 200), ("255990-", 255_990, 256_000), ("-7", 255_993, 256_000)],
)
async def test_a_range_is_those_bytes(node: Outside, asset: Asset, asked: str, start: int, end: int) -> None:
    answer = await node.http.get(await _url(node, asset), headers={"Range": f"bytes={asked}"})
    assert (answer.status_code, answer.content) == (206, CONTENT[start:end])
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/256000"


async def test_a_range_beyond_the_end_is_refused(node: Outside, asset: Asset) -> None:
    answer = await node.http.get(await _url(node, asset), headers={"Range": "bytes=256000-"})
    assert (answer.status_code, answer.headers["content-range"]) == (416, "bytes */256000")


async def test_head_tells_the_size_and_sends_nothing(node: Outside, asset: Asset) -> None:
    answer = await node.http.head(await _url(node, asset))
    assert (answer.status_code, answer.headers["content-length"], answer.content) == (200, "256000", b"")


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
async def test_a_url_only_reads(node: Outside, asset: Asset, method: str) -> None:
    assert (await node.http.request(method, await _url(node, asset))).status_code == 405


async def test_audio_is_served_as_audio(node: Outside) -> None:
    async with node.database.begin() as tx:
        session = await add_session(tx, await add_room(tx))
    asset = await add_asset(node, session, b"sound", AssetKind.AUDIO)
    assert (await node.http.head(await _url(node, asset))).headers["content-type"] == "audio/mp4"


async def test_no_changed_byte_of_the_query_opens_the_file(node: Outside, asset: Asset) -> None:
    url = await _url(node, asset)
    base, query = url.split("?")
    for position, letter in enumerate(query):
        changed = query[:position] + ("0" if letter != "0" else "1") + query[position + 1 :]
        assert (await node.http.get(f"{base}?{changed}")).status_code == 403, changed


async def test_a_url_opens_no_other_file_and_none_after_its_time(node: Outside, asset: Asset) -> None:
    async with node.database.begin() as tx:
        session = await add_session(tx, await add_room(tx, "red"))
    other = await add_asset(node, session, b"another's")
    query = urlsplit(await _url(node, asset)).query
    path = other.path.removeprefix("local://")
    assert (await node.http.get(f"http://isotape.test/files/{path}?{query}")).status_code == 403
    url = await _url(node, asset)
    node.clock.forward(timedelta(hours=1))
    assert (await node.http.get(url)).status_code == 403


@pytest.mark.parametrize(
    "key", ["../isotape.db", "..%2fisotape.db", "%2e%2e/isotape.db", "a/../../isotape.db", "/etc/passwd", "x\x00y"]
)
async def test_a_path_out_of_the_store_is_refused(node: Outside, key: str) -> None:
    answer = await node.http.get(f"http://isotape.test/files/{quote(key, safe='/%.')}?expires=9999999999&signature=00")
    assert answer.status_code in (403, 404)
    signed = parse_qs(urlsplit(node.signer.sign(key, timedelta(hours=1))).query)
    query = {"expires": signed["expires"][0], "signature": signed["signature"][0]}
    answer = await node.http.get(f"http://isotape.test/files/{quote(key, safe='/%.')}", params=query)
    assert answer.status_code in (400, 403, 404)


async def test_a_file_that_is_gone_is_not_found(node: Outside, asset: Asset) -> None:
    url = await _url(node, asset)
    path = await node.storage.local_path(asset.path)
    assert path is not None
    path.unlink()
    assert (await node.http.get(url)).status_code == 404
