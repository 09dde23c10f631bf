"""Reads the sidecar file of an asset, which states every gap and its cause; docs/formats/timeline.md gives its fields.

Before it: assets/, which wrote the file beside the asset. After it: the marks on the player's bar and on the session's timeline.
A sidecar that is away or cannot be read is an asset without marks, never a page without its asset.
"""

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from isotape.clock import from_millis
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
    uri = asset.metadata.get("sidecar")
    if not uri:
        return ()
    try:
        file = await storage.local_path(uri)
        sidecar = await asyncio.to_thread(_read, file) if file else {}
        return tuple(sorted(_gaps(sidecar), key=lambda gap: gap.at_ms))
    except (IsotapeError, OSError, ValueError, KeyError, TypeError):
        return ()


def _read(file: Path) -> Mapping[str, Any]:
    if file.stat().st_size > _MOST_BYTES:
        return {}
    content: Mapping[str, Any] = json.loads(file.read_text())
    return content


def _gaps(sidecar: Mapping[str, Any]) -> Iterable[StatedGap]:
    if not sidecar:
        return
    zero = from_millis(sidecar["zero"]["session_ns"] // 1_000_000)
    for track in sidecar["tracks"]:
        for gap in track["gaps"]:
            start, end = float(gap["from_ms"]), float(gap["to_ms"])
            since, until = zero + timedelta(milliseconds=start), zero + timedelta(milliseconds=end)
            yield StatedGap(track["kind"], gap["cause"], start, end - start, since, until)
