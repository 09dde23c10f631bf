"""Where finished files are kept: the Storage protocol and the table of schemes.

Before it: assets/build.py with a verified local file. After it: a signed URL. A store never deletes its source file.
"""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StoredObject:
    """uri is what the API shows as `path`; size and SHA-256 are those of the stored bytes."""

    uri: str
    size_bytes: int
    sha256: str


class Storage(Protocol):
    """A place for finished files. Keys are `/`-separated relative paths; a stored key is never overwritten with other bytes."""

    async def put(self, key: str, file: Path, sha256: str) -> StoredObject:
        """Stores the file under the key and checks what arrived. Same bytes again: fine. Raises StorageError, retriable."""

    async def size(self, uri: str) -> int:
        """Bytes of a stored object; NotFound when it is gone."""

    async def sign(self, uri: str, valid_for: timedelta) -> str:
        """A URL that downloads the object with GET, Range included, until it expires."""

    async def local_path(self, uri: str) -> Path | None:
        """The file itself when the store is a folder of this machine, else None."""
