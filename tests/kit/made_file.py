"""Journals in, finished file out, by the same steps as the builder but without its database."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from isotape.assets.packets import read
from isotape.assets.plan import Plan, plan
from isotape.assets.render import Rendered, render
from isotape.assets.sidecar import sidecar
from isotape.assets.verify import verify
from isotape.ids import AssetId, JobId, PeerId, RoomId, SessionId, StreamId, WorkspaceId
from isotape.model import Asset, AssetKind, AssetState
from tests.kit.recorded_call import EPOCH_NS, Shown, watch


@dataclass(frozen=True)
class MadeFile:
    """A verified file, what its plan and sidecar say, and what a player makes of it."""

    path: Path
    plan: Plan
    rendered: Rendered
    sidecar: dict[str, Any]
    shown: Shown

    @property
    def offsets_ms(self) -> list[float]:
        """Beep minus flash, for each flash that has its beep within half a second."""
        pairs = [(flash, min(self.shown.beeps, key=lambda beep: abs(beep - flash))) for flash in self.shown.flashes]
        return [(beep - flash) * 1000 for flash, beep in pairs if abs(beep - flash) < 0.5]

    def track(self, kind: str) -> dict[str, Any]:
        return next(track for track in self.sidecar["tracks"] if track["kind"] == kind)

    def gaps(self, kind: str, cause: str) -> list[dict[str, Any]]:
        return [gap for gap in self.track(kind)["gaps"] if gap["cause"] == cause]

    def fillers(self, kind: str, name: str) -> list[dict[str, Any]]:
        return [filler for filler in self.track(kind)["fillers"] if filler["kind"] == name]


def an_asset(kind: AssetKind = AssetKind.REGULAR) -> Asset:
    return Asset(
        id=AssetId("a" * 24),
        workspace_id=WorkspaceId("w" * 24),
        room_id=RoomId("b" * 24),
        session_id=SessionId("5" * 24),
        job_id=JobId("c" * 24),
        peer_id=PeerId("peer-1"),
        user_id="user-1",
        stream_id=StreamId("{stream-1}"),
        kind=kind,
        state=AssetState.SEALED,
        created_at=datetime.fromtimestamp(EPOCH_NS / 1e9, UTC),
        metadata={"name": "Ada", "role": "host"},
    )


def make(folder: Path, *journals: Path, kind: AssetKind = AssetKind.REGULAR) -> MadeFile:
    """Plans, renders, verifies and watches."""
    planned = plan([read(journal) for journal in journals], kind)
    assert planned is not None
    rendered = render(planned, folder / f"made.{planned.container}")
    verify(planned, rendered)
    text = sidecar(planned, rendered, an_asset(kind), EPOCH_NS // 1_000_000)
    return MadeFile(rendered.path, planned, rendered, json.loads(text), watch(rendered.path))
