"""Finished files in a folder of this machine.

Before it: assets/build.py with a verified file. After it: signed_url.py and api/files.py. A file appears under its key whole or
not at all: it is linked or copied to a hidden name, read back, made durable, and renamed. The source is never removed.
"""

import asyncio
import hashlib
import os
import secrets
import shutil
from contextlib import suppress
from datetime import timedelta
from pathlib import Path, PurePosixPath

from isotape.errors import BadRequest, KeyTaken, NotFound, StorageError
from isotape.storage import StoredObject
from isotape.storage.signed_url import UrlSigner

SCHEME = "local://"
# The limit of a file name on every file system of Linux.
_MAX_NAME_BYTES = 255
_READ_BYTES = 1 << 20


class LocalStorage:
    """A folder as a store. Keys cannot leave it, neither by `..` nor by a symbolic link."""

    def __init__(self, root: Path, signer: UrlSigner) -> None:
        self._root = root.absolute()
        self._signer = signer

    async def put(self, key: str, file: Path, sha256: str) -> StoredObject:
        """Stores the file; see storage.Storage.put."""
        return await asyncio.to_thread(self._put, key, file, sha256)

    async def size(self, uri: str) -> int:
        path = self._path(_key_of(uri))
        try:
            return (await asyncio.to_thread(path.stat)).st_size
        except FileNotFoundError as error:
            raise NotFound(f"file {uri}: gone") from error

    async def sign(self, uri: str, valid_for: timedelta) -> str:
        return self._signer.sign(_key_of(uri), valid_for)

    async def local_path(self, uri: str) -> Path | None:
        path = self._path(_key_of(uri))
        return path if await asyncio.to_thread(path.is_file) else None

    def _put(self, key: str, file: Path, sha256: str) -> StoredObject:
        target = self._path(key)
        try:
            size = _check_taken(target, sha256) if target.exists() else self._place(file, target, sha256)
        except OSError as error:
            raise StorageError(f"file {SCHEME}{key}: {error}") from error
        return StoredObject(SCHEME + key, size, sha256)

    def _place(self, file: Path, target: Path, sha256: str) -> int:
        """Gives `target` the bytes of `file`, durably; its size."""
        self._make_folder(target.parent)
        hidden = target.parent / f".{secrets.token_hex(8)}.part"
        try:
            _link_or_copy(file, hidden)
            size = _check(hidden, sha256)
            _sync(hidden)
            hidden.rename(target)
        finally:
            with suppress(FileNotFoundError):
                hidden.unlink()
        _sync(target.parent)
        return size

    def _make_folder(self, folder: Path) -> None:
        """Makes the folder and those above it, each entry durable before a file goes in."""
        missing = [folder, *folder.parents]
        missing = missing[: next(index for index, path in enumerate(missing) if path.is_dir())]
        for path in reversed(missing):
            path.mkdir(exist_ok=True)
            _sync(path.parent)

    def _path(self, key: str) -> Path:
        parts = PurePosixPath(key).parts
        if not parts or key.startswith("/") or "\\" in key or not all(_is_name(part) for part in key.split("/")):
            raise BadRequest(f"storage key {key!r}: not a relative path of plain names")
        path = self._root.joinpath(*parts)
        if not path.resolve().is_relative_to(self._root.resolve()):
            raise BadRequest(f"storage key {key!r}: leads out of the store")
        return path


def _is_name(part: str) -> bool:
    """A name that is one file of this folder; hidden ones are ours."""
    return bool(part) and not part.startswith(".") and part.isprintable() and len(part.encode()) <= _MAX_NAME_BYTES


def _key_of(uri: str) -> str:
    if not uri.startswith(SCHEME):
        raise NotFound(f"file {uri!r}: not in this store")
    return uri.removeprefix(SCHEME)


def _link_or_copy(file: Path, hidden: Path) -> None:
    """A hard link costs nothing; another file system, or one without links, takes a copy."""
    try:
        os.link(file, hidden)
    except OSError:
        shutil.copyfile(file, hidden)


def _check(path: Path, sha256: str) -> int:
    """Reads the file back; its size. StorageError when it does not hold the promised bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(_READ_BYTES):
            digest.update(block)
        size = handle.tell()
    if digest.hexdigest() != sha256:
        raise StorageError(f"file {path.name}: holds other bytes than its SHA-256 {sha256[:12]}… says")
    return size


def _check_taken(path: Path, sha256: str) -> int:
    """The size of a file that is there already; KeyTaken when it is not the same one."""
    try:
        return _check(path, sha256)
    except StorageError as error:
        raise KeyTaken(error.message) from error


def _sync(path: Path) -> None:
    """Makes a file's bytes, or a folder's entries, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
