"""Journals as folders on disk: find them, seal what a crash left open, read the facts of their first record.

Before it: the engine's journal thread, which writes them. After it: assets/, which reads them. Nothing here changes
a recorded byte except the torn tail that a crash leaves, which `recover` cuts where a record first fails its checksum.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isotape import _core
from isotape.errors import JournalError


@dataclass(frozen=True, slots=True)
class RecoveredJournal:
    """What recovery found in one journal folder. torn_bytes were cut from its tail; meta is the first record's own facts."""

    folder: Path
    meta: dict[str, Any]
    packets: int
    torn_bytes: int
    was_sealed: bool


@dataclass(frozen=True, slots=True)
class JournalSeal:
    """The last record of a journal that is over. sealed_ns is its time: of a recovered journal, that of the last record before it."""

    packets: int
    size_bytes: int
    sealed_ns: int


def find(root: Path) -> Iterator[Path]:
    """Every journal folder below `root`, which holds `<session id>/<journal id>/`, oldest session first."""
    if not root.is_dir():
        return
    for session in sorted(path for path in root.iterdir() if path.is_dir()):
        yield from sorted(path for path in session.iterdir() if path.is_dir())


def recover(folder: Path) -> RecoveredJournal:
    """Cuts a torn tail and seals the journal; a sealed one is left as it is. JournalError when nothing can be read."""
    try:
        report = json.loads(_core.recover_journal(str(folder)))
        meta = json.loads(_core.index_journal(str(folder)).header)["meta"]
    except (OSError, ValueError, KeyError) as error:
        raise JournalError(f"journal {folder.name}: {error}") from error
    return RecoveredJournal(
        folder, meta, int(report["packets"]), int(report["torn_bytes"]), bool(report["sealed_before"])
    )


def read_seal(folder: Path) -> JournalSeal | None:
    """What the journal's seal says; None while it has none. JournalError when the folder cannot be read."""
    try:
        index = _core.index_journal(str(folder))
        size_bytes = sum(Path(file).stat().st_size for file in index.files)
    except (OSError, ValueError) as error:
        raise JournalError(f"journal {folder.name}: {error}") from error
    if not index.sealed:
        return None
    sealed_ns, _, seal = index.notes[-1]
    return JournalSeal(int(json.loads(seal)["packets"]), size_bytes, sealed_ns)
