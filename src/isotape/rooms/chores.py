"""Work that nobody waits for, such as the end of a grace. Each chore is a task that its owner's `close` waits for."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from isotape.logs import logger

log = logger(part="rooms")


class Chores:
    """A set of running tasks. One that fails is logged and costs nothing else."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, object], name: str) -> None:
        task = asyncio.get_running_loop().create_task(self._supervise(work, name), name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def close(self) -> None:
        """Waits until all is done, what is spawned meanwhile included."""
        while self._running:
            await asyncio.wait(self._running)

    async def _supervise(self, work: Coroutine[Any, Any, object], name: str) -> None:
        try:
            await work
        except Exception:  # the named supervisor of chores: one must not take the others along.
            log.exception("chore failed", chore=name)
