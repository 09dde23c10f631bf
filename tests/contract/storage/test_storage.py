"""What every store promises. A new store adds itself to `STORES` and must pass all of it."""

import hashlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from isotape.errors import BadRequest, KeyTaken, NotFound, StorageError
from isotape.storage import Storage
from isotape.storage.local import LocalStorage
from isotape.storage.signed_url import UrlSigner
from tests.kit.outside import SetClock

pytestmark = pytest.mark.anyio

STORES: dict[str, Callable[[Path], Storage]] = {
    "local": lambda folder: LocalStorage(folder / "store", UrlSigner("secret", "http://isotape.test", SetClock())),
}


@pytest.fixture(params=STORES.values(), ids=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    made: Storage = request.param(tmp_path)
    return made


def _file(folder: Path, content: bytes) -> tuple[Path, str]:
    file = folder / "source"
    file.write_bytes(content)
    return file, hashlib.sha256(content).hexdigest()


async def test_a_stored_file_has_its_size_and_stays_when_its_source_goes(store: Storage, tmp_path: Path) -> None:
    file, sha256 = _file(tmp_path, b"media" * 1000)
    stored = await store.put("room/peer/a.mp4", file, sha256)
    assert file.read_bytes() == b"media" * 1000
    file.unlink()
    assert (stored.size_bytes, stored.sha256, await store.size(stored.uri)) == (5000, sha256, 5000)


async def test_the_same_bytes_again_are_fine_and_other_bytes_are_refused(store: Storage, tmp_path: Path) -> None:
    file, sha256 = _file(tmp_path, b"one")
    first = await store.put("a.mp4", file, sha256)
    assert await store.put("a.mp4", file, sha256) == first
    other, other_sha256 = _file(tmp_path / "..", b"two")
    with pytest.raises(KeyTaken) as error:
        await store.put("a.mp4", other, other_sha256)
    assert not error.value.retry
    assert await store.size(first.uri) == 3


async def test_a_file_that_is_not_what_it_should_be_is_not_stored(store: Storage, tmp_path: Path) -> None:
    file, _ = _file(tmp_path, b"torn")
    with pytest.raises(StorageError):
        await store.put("a.mp4", file, hashlib.sha256(b"whole").hexdigest())
    good, sha256 = _file(tmp_path, b"whole")
    assert (await store.put("a.mp4", good, sha256)).size_bytes == 5


async def test_a_missing_source_is_an_error_that_may_be_retried(store: Storage, tmp_path: Path) -> None:
    with pytest.raises(StorageError) as error:
        await store.put("a.mp4", tmp_path / "missing", "0" * 64)
    assert error.value.retry


async def test_what_is_not_there_is_not_found(store: Storage, tmp_path: Path) -> None:
    file, sha256 = _file(tmp_path, b"x")
    stored = await store.put("a/b.mp4", file, sha256)
    with pytest.raises(NotFound):
        await store.size(stored.uri.replace("b.mp4", "c.mp4"))
    with pytest.raises(NotFound):
        await store.size("ftp://elsewhere/b.mp4")


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/etc/x",
        "../x",
        "a/../../x",
        "a//b",
        "a/./b",
        "a\\..\\b",
        "a/\x00",
        ".hidden",
        "a/",
        "x" * 300,
        "..",
        "a\nb",
    ],
)
async def test_a_key_that_is_no_plain_path_is_refused(store: Storage, tmp_path: Path, key: str) -> None:
    file, sha256 = _file(tmp_path, b"x")
    with pytest.raises(BadRequest):
        await store.put(key, file, sha256)


async def test_a_signed_url_is_a_url(store: Storage, tmp_path: Path) -> None:
    file, sha256 = _file(tmp_path, b"x")
    stored = await store.put("room name/ä.mp4", file, sha256)
    url = await store.sign(stored.uri, timedelta(hours=1))
    assert url.startswith("http")
    assert url.isascii()
