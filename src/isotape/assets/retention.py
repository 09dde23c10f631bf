"""Removes journals whose Asset is completed and has been for the retention time. Nothing else ever removes a journal.

Before it: build.py, which leaves the journals where they are. It goes by what lies on the disk: a folder without a row, or of an Asset
that is not completed (or discarded as empty), stays.
"""

import asyncio
import shutil
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from sqlalchemy import select

from isotape import journal
from isotape.clock import Clock
from isotape.db.engine import Database
from isotape.db.tables import assets, journals
from isotape.logs import logger
from isotape.model import AssetState

_EVERY_S = 3_600.0
# SQLite takes 32,766 values in one statement; a thousand keep each one short.
_AT_ONCE = 1_000


class Reaper:
    """Looks through the journals once an hour."""

    def __init__(self, database: Database, data_dir: Path, retention_h: float, clock: Clock) -> None:
        self._database = database
        self._root = data_dir / "journals"
        self._retention = timedelta(hours=retention_h)
        self._clock = clock
        self._log = logger(component="retention")

    async def run(self) -> None:
        """Reaps for ever."""
        while True:
            await self.reap()
            await asyncio.sleep(_EVERY_S)

    async def reap(self) -> int:
        """Removes every journal that is due; how many."""
        folders = {folder.name: folder for folder in await asyncio.to_thread(lambda: list(journal.find(self._root)))}
        ids = list(folders)
        due: list[str] = []
        for start in range(0, len(ids), _AT_ONCE):
            due += await self._due(ids[start : start + _AT_ONCE])
        for journal_id in due:
            await asyncio.to_thread(_remove, folders[journal_id])
        if due:
            self._log.info("journals removed", journals=len(due))
        return len(due)

    async def _due(self, ids: Sequence[str]) -> list[str]:
        """Those of the ids whose Asset ended well, long enough ago."""
        ended = (AssetState.COMPLETED, AssetState.DISCARDED)
        query = (
            select(journals.c.id)
            .join(assets, assets.c.id == journals.c.asset_id)
            .where(journals.c.id.in_(ids), assets.c.state.in_(ended))
            .where(assets.c.updated_at <= self._clock.now() - self._retention)
        )
        async with self._database.connect() as tx:
            return [str(row.id) for row in await tx.execute(query)]


def _remove(folder: Path) -> None:
    """The journal, and its session's folder when it was the last one in it."""
    shutil.rmtree(folder)
    with suppress(OSError):
        folder.parent.rmdir()
