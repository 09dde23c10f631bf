"""One process at a time works on a data folder.

Before it: cli.py, which has chosen the folder. After it: whatever changes rows or journals there, `serve` and `recover` alike. The lock
belongs to the open file, so the kernel gives it back when the process ends, in whatever way; the file itself always stays.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from isotape.errors import FolderInUse

NAME = "isotape.lock"


@contextmanager
def hold(data_dir: Path) -> Iterator[None]:
    """Keeps every other process off the folder while the block runs. FolderInUse when one is at work there."""
    data_dir.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(data_dir / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(descriptor, data_dir)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, data_dir: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(descriptor, 32, 0).decode().strip() or "unknown"
        raise FolderInUse(f"data folder {data_dir}: in use by process {holder}; stop it first") from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
