"""Writes the rows of journals that the database does not know: it was lost, or an older copy of it was put back.

Before it: the journals, whose first record names everything a row needs. After it: `take_up` at the next start, which has the files
made. Stored files are made again to the same bytes under the same key, so none is doubled. Nothing is deleted here and no row that is
there is changed, except that a recording which turns out to have pictures says so.
"""

from collections.abc import AsyncIterator, Container, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import groupby
from pathlib import Path
from typing import Protocol

from isotape import journal
from isotape.db import assets, journals
from isotape.db.engine import Database, Tx
from isotape.errors import JournalError
from isotape.ids import SessionId, WorkspaceId
from isotape.model import AssetState
from isotape.rescue.facts import Facts, note_of, timed
from isotape.rescue.rows import Rebuilding


class Outcome(StrEnum):
    """What became of one journal."""

    KNOWN = "known to the database"
    REBUILT = "rows written again"
    FOREIGN = "of another workspace, no rows written"
    UNREADABLE = "unreadable, left alone"


@dataclass(frozen=True, slots=True)
class Finding:
    """One journal. note: what else a person wants to know."""

    folder: Path
    outcome: Outcome
    note: str


class _Queue(Protocol):
    async def next_attempts(self, asset_ids: Sequence[str]) -> dict[str, int]: ...
    async def enqueue_asset(self, tx: Tx, asset_id: str, *, attempt: int = 1) -> None: ...


async def take_up(database: Database, jobs: _Queue) -> int:
    """Gives every Asset on its way to a file a job, unless one is waiting or running; how many got one. For the start of a node."""
    async with database.connect() as tx:
        unfinished = await assets.in_states(tx, assets.UNFINISHED - {AssetState.RECORDING})
    attempts = await jobs.next_attempts([asset.id for asset in unfinished])
    if attempts:
        async with database.begin() as tx:
            for asset_id, attempt in attempts.items():
                await jobs.enqueue_asset(tx, asset_id, attempt=attempt)
    return len(attempts)


async def rescue(database: Database, data_dir: Path, workspace: WorkspaceId, now: datetime) -> AsyncIterator[Finding]:
    """Seals every open journal and writes the rows of those without, one transaction a session. The workspace's row must be there."""
    for session, folders in groupby(journal.find(data_dir / "journals"), key=lambda folder: folder.parent.name):
        async with database.connect() as tx:
            known = {str(row.id) for row in await journals.of_session(tx, SessionId(session))}
        missing: list[Facts] = []
        for folder in folders:
            found = _examine(folder, workspace, known)
            if isinstance(found, Facts):
                missing.append(found)
            else:
                yield found
        if missing:
            # As opened: an Asset's first journal says what its peer was called when it began.
            missing.sort(key=lambda facts: (facts.begun, facts.journal_id))
            async with database.begin() as tx:
                await Rebuilding(tx, data_dir, now).write(missing)
        for facts in missing:
            yield Finding(facts.folder, Outcome.REBUILT, facts.note)


def _examine(folder: Path, workspace: WorkspaceId, known: Container[str]) -> Facts | Finding:
    """Seals the journal; its facts when its rows are to be written."""
    try:
        found = journal.recover(folder)
        if folder.name in known:
            return Finding(folder, Outcome.KNOWN, note_of(found))
        facts = Facts.of(found)
        if facts.workspace_id != workspace:
            return Finding(folder, Outcome.FOREIGN, f"workspace {facts.workspace_id}")
        return timed(facts)
    except JournalError as error:
        return Finding(folder, Outcome.UNREADABLE, error.message)
