"""Work that must come to its end whoever waits for it: the end of a grace, a join whose socket breaks, a leave while the server stops.

Each chore is a task of its owner, whose `close` waits for it. What a request began is a chore too: uvicorn cancels the tasks of sockets
that outlast its drain, and half a leave would leave rows open.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from isotape.logs import logger

log = logger(part="rooms")

_Result = TypeVar("_Result")


class Chores:
    """A set of running tasks. One that fails is logged and costs nothing else."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, object], name: str) -> None:
        """Runs work that nobody waits for."""
        self._start(self._supervise(work, name), name)

    async def finish(self, work: Coroutine[Any, Any, _Result], name: str) -> _Result:
        """The result of work that goes on to its end even when the caller is cancelled."""
        task = self._start(work, name)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_log_failure)
            raise

    async def close(self, within_s: float | None = None) -> None:
        """Waits until all is done, what is spawned meanwhile included. What takes longer than `within_s` is cancelled."""
        try:
            async with asyncio.timeout(within_s):
                while self._running:
                    await asyncio.wait(self._running)
        except TimeoutError:
            await self._cancel()

    async def _cancel(self) -> None:
        log.error("chores not finished in time", chores=sorted(task.get_name() for task in self._running))
        while self._running:
            for task in self._running:
                task.cancel()
            await asyncio.wait(self._running)

    def _start(self, work: Coroutine[Any, Any, _Result], name: str) -> asyncio.Task[_Result]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def _supervise(self, work: Coroutine[Any, Any, object], name: str) -> None:
        try:
            await work
        except Exception:  # the named supervisor of chores: one must not take the others along.
            log.exception("chore failed", chore=name)


def _log_failure(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("chore failed", chore=task.get_name(), error=str(error), exc_info=error)
