"""Reads the sidecar file of an asset, which states every gap and its cause; docs/formats/timeline.md gives its fields.

Before it: assets/, which wrote the file beside the asset. After it: the marks on the player's bar and on the session's timeline.
A sidecar that is away or cannot be read is an asset without marks, never a page without its asset.
"""

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from isotape.errors import IsotapeError
from isotape.storage import Storage

# A sidecar of a day's call with a gap every second is smaller; a page never reads more than this.
_MOST_BYTES = 16_000_000


@dataclass(frozen=True, slots=True)
class StatedGap:
    """A hole in one track of an asset. since and until are wall time; at_ms is the place in the file."""

    kind: str
    cause: str
    at_ms: float
    duration_ms: float
    since: datetime
    until: datetime

    @property
    def look(self) -> str:
        return "muted" if self.cause == "muted" else "gap"

    @property
    def title(self) -> str:
        return f"{self.kind}: {self.cause}, {self.duration_ms / 1000:.3f} s"


async def stated_gaps(storage: Storage, asset: Any) -> Sequence[StatedGap]:
    """The gaps of a finished asset (its row), in the order of the file."""
    if not asset.path:
        return ()
    try:
        file = await storage.local_path(asset.path)
        sidecar = await asyncio.to_thread(_read, file.with_suffix(".json")) if file else {}
    except (IsotapeError, OSError, ValueError):
        return ()
    return tuple(sorted(_gaps(sidecar), key=lambda gap: gap.at_ms))


def _read(file: Path) -> Mapping[str, Any]:
    if file.stat().st_size > _MOST_BYTES:
        return {}
    content: Mapping[str, Any] = json.loads(file.read_text())
    return content


def _gaps(sidecar: Mapping[str, Any]) -> Iterable[StatedGap]:
    return ()
