"""When this node was last at work, for the rows that its end leaves open.

Before it: `Rooms`, which lets it beat while somebody is there. After it: the next start, which otherwise knows only of recorded media how
long it went on. It is the time of an empty file; nothing depends on it but the end of a Peer that never came back.
"""

import asyncio
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from isotape.clock import Clock, from_millis, to_millis
from isotape.logs import logger

NAME = "isotape.alive"
# The error of a leave that a crash made.
_EVERY_S = 5.0

log = logger(part="rooms")


class Pulse:
    """The time of the file is the last beat."""

    def __init__(self, data_dir: Path, clock: Clock) -> None:
        self._file = data_dir / NAME
        self._clock = clock
        self._beating: asyncio.Task[None] | None = None

    def last(self) -> datetime | None:
        """The last beat, of the run before as long as this one has not begun; None when there was none."""
        try:
            return from_millis(self._file.stat().st_mtime_ns // 1_000_000)
        except OSError:
            return None

    def begin(self, is_needed: Callable[[], bool]) -> None:
        """Beats from now on, whenever `is_needed` says so."""
        self._beating = asyncio.create_task(self._run(is_needed), name="pulse")

    async def close(self) -> None:
        """Beats no more."""
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.wait((self._beating,))

    async def _run(self, is_needed: Callable[[], bool]) -> None:
        while True:
            if is_needed():
                self._beat()
            await asyncio.sleep(_EVERY_S)

    def _beat(self) -> None:
        now_ns = to_millis(self._clock.now()) * 1_000_000
        try:
            self._file.touch(mode=0o600)
            os.utime(self._file, ns=(now_ns, now_ns))
        except OSError as error:
            log.warning("pulse not written", error=str(error))
