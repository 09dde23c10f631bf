"""A file appears in the folder whole or not at all, and no name leads out of the folder."""

import hashlib
import os
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from isotape.errors import BadRequest, Forbidden, StorageError
from isotape.storage.local import LocalStorage
from isotape.storage.signed_url import UrlSigner
from tests.kit.outside import SetClock

pytestmark = pytest.mark.anyio

CONTENT = b"frames" * 10_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "store", UrlSigner("secret", "http://isotape.test", SetClock()))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "rendered.mp4"
    file.write_bytes(CONTENT)
    return file


def _everything_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


async def test_a_file_system_without_links_gets_a_copy(
    store: LocalStorage, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", no_links)
    stored = await store.put("a/b.mp4", file, SHA256)
    path = await store.local_path(stored.uri)
    assert path is not None
    assert path.read_bytes() == CONTENT
    assert path.stat().st_ino != file.stat().st_ino


@pytest.mark.parametrize("failing", ["fsync", "rename"])
async def test_a_failure_at_any_step_leaves_nothing_behind(
    store: LocalStorage, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def fails(*_: object) -> None:
        raise OSError(5, "Input/output error")

    (tmp_path / "store").mkdir()
    with monkeypatch.context() as broken:
        broken.setattr(os, failing, fails)
        with pytest.raises(StorageError, match=r"local://b\.mp4"):
            await store.put("b.mp4", file, SHA256)
    assert _everything_in(tmp_path / "store") == []
    assert file.read_bytes() == CONTENT
    assert (await store.put("b.mp4", file, SHA256)).size_bytes == len(CONTENT)


async def test_a_torn_copy_is_noticed_before_it_gets_its_name(
    store: LocalStorage, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tears(_source: Path, target: Path) -> None:
        target.write_bytes(CONTENT[:-1])

    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError()))
    monkeypatch.setattr(shutil, "copyfile", tears)
    with pytest.raises(StorageError):
        await store.put("b.mp4", file, SHA256)
    assert _everything_in(tmp_path / "store") == []


async def test_a_symbolic_link_does_not_lead_out_of_the_store(store: LocalStorage, file: Path, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("very secret")
    (tmp_path / "store" / "room").symlink_to(tmp_path / "secret")
    with pytest.raises(BadRequest):
        await store.local_path("local://room/key")
    with pytest.raises(BadRequest):
        await store.put("room/key", file, SHA256)


async def test_a_signature_is_bound_to_its_key_its_time_and_its_secret(store: LocalStorage) -> None:
    clock = SetClock()
    ours, theirs = (UrlSigner(secret, "http://isotape.test", clock) for secret in ("ours", "theirs"))
    query = dict(part.split("=") for part in ours.sign("a.mp4", timedelta(seconds=10)).split("?")[1].split("&"))
    ours.check("a.mp4", query["expires"], query["signature"])
    for signer, key, expires in (
        (theirs, "a.mp4", query["expires"]),
        (ours, "b.mp4", query["expires"]),
        (ours, "a.mp4", str(int(query["expires"]) + 1)),
        (ours, "a.mp4", ""),
        (ours, "a.mp4", "ä"),
    ):
        with pytest.raises(Forbidden):
            signer.check(key, expires, query["signature"])
    clock.forward(timedelta(seconds=10))
    with pytest.raises(Forbidden):
        ours.check("a.mp4", query["expires"], query["signature"])
