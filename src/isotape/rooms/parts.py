"""What rooms/ works with: given once by the composition root."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from isotape.clock import Clock
from isotape.db.engine import Database, Tx
from isotape.engine import Engine
from isotape.events import Events
from isotape.ids import AssetId


class AssetQueue(Protocol):
    """The durable queue that makes files of sealed Assets; jobs.Jobs is one."""

    async def enqueue_asset(self, tx: Tx, asset_id: AssetId) -> None: ...


@dataclass(frozen=True, slots=True)
class RoomsParts:
    """peer_grace_s: how long a Peer with neither socket nor media stays in its room."""

    database: Database
    engine: Engine
    jobs: AssetQueue
    events: Events
    clock: Clock
    data_dir: Path
    peer_grace_s: float = 60.0
