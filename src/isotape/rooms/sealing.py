"""From a journal that is over to its counts, which are true once a seal stands on the disk.

Before it: `Recorder`, which ends a Track. After it: the rows, and the job that makes the file. A disk may refuse for as long as it likes,
so nobody waits for more than the first attempt. Nothing is made of a journal that somebody may still be writing.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path

from isotape.engine import Engine, SealReport
from isotape.errors import EngineError, JournalError, Unavailable
from isotape.ids import JournalId
from isotape.logs import logger

log = logger(part="rooms")

# Between two looks at a journal that is not sealed yet; the last one repeats. The journal thread tries four times a second.
_LOOK_AGAIN_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
# The engine's answer for a journal that it does not hold, or holds no more.
_NOT_OPEN = 404
# Of a journal that was never begun, or cannot be read.
_NOTHING = SealReport(0, 0, None, None, 0)


def pauses(steps: tuple[float, ...]) -> Iterator[float]:
    """These, and then the last one for ever."""
    return chain(steps, repeat(steps[-1]))


@dataclass(slots=True)
class Sealing:
    """One journal on its way to its seal. `is_asked`: the engine has the order and carries it out when the disk lets it."""

    engine: Engine
    journal: JournalId
    folder: Path
    reason: str
    is_asked: bool = False

    async def attempt(self) -> SealReport | None:
        """What the sealed journal holds; None while it is not sealed."""
        if self.is_asked:
            return await asyncio.to_thread(look, self.folder)
        try:
            report = await self.engine.seal(self.journal, self.reason)
        except Unavailable as error:
            # The order was not taken. A dead engine never takes it: the next start recovers what it left.
            self._log(error.message)
            return None
        except EngineError as error:
            if error.status == _NOT_OPEN:
                return await asyncio.to_thread(recover, self.folder)
            self._log(error.message)
            self.is_asked = True
            return None
        if report.failure is not None or report.lost_to_queue:
            self._log(report.failure or "", lost_packets=report.lost_to_queue)
        self.is_asked = True
        return report if report.failure is None else None

    async def insist(self) -> SealReport:
        """Attempts until the journal is sealed."""
        for pause_s in pauses(_LOOK_AGAIN_S):
            await asyncio.sleep(pause_s)
            if (report := await self.attempt()) is not None:
                break
        return report or _NOTHING

    def _log(self, error: str, **facts: object) -> None:
        log.error("journal not sealed, or not whole", journal=self.journal, error=error, **facts)


def look(folder: Path) -> SealReport | None:
    """What a sealed journal holds; None while there is no seal in it, or it cannot be read."""
    # The compiled module is needed only here and below: everything else of rooms/ runs with any engine.
    from isotape import journal as journal_files

    try:
        sealed = journal_files.read_seal(folder)
    except JournalError:
        return None
    return None if sealed is None else SealReport(sealed.packets, sealed.size_bytes, None, sealed.sealed_ns, 0)


def recover(folder: Path) -> SealReport | None:
    """Seals a journal that no engine holds. None when the disk refuses, and then it may be tried again.

    One without a readable record is over as it is: its Asset fails by name, or does without it when there is no record at all.
    """
    from isotape import journal as journal_files

    if not folder.is_dir():
        return _NOTHING  # What was to come after the row never came: nothing was recorded.
    try:
        recovered = journal_files.recover(folder)
    except JournalError as error:
        log.error("journal not recovered", journal=folder.name, error=error.message)
        return None if isinstance(error.__cause__, OSError) else _NOTHING
    log.info("journal recovered", journal=folder.name, torn_bytes=recovered.torn_bytes, sealed=recovered.was_sealed)
    return look(folder)
