"""Processes of one measurement: started, waited for, measured by their pid, and ended by it."""

import asyncio
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
# proc(5): utime and stime are fields 14 and 15; counted from behind the name, which may hold spaces.
_UTIME = 11
# A server that is told to end seals its recordings first; after this long it is killed.
_END_S = 30.0


def cpu_s(pid: int) -> float:
    """CPU seconds of all threads of a process so far."""
    behind_name = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(behind_name[_UTIME]) + int(behind_name[_UTIME + 1])) / _TICKS


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def running(
    command: Sequence[str | Path], log: Path, env: dict[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A server with its output in `log`; ended by SIGTERM."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={**os.environ, **(env or {})}
        )
    try:
        yield process
    finally:
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(_END_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


@dataclass(frozen=True, slots=True)
class Spent:
    """What commands took, one after another."""

    wall_s: float
    cpu_s: float

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(self.wall_s + other.wall_s, self.cpu_s + other.cpu_s)


def spend(command: Sequence[str | Path], env: dict[str, str] | None = None) -> Spent:
    """Runs one command to its end, from before it is forked until it is gone. CalledProcessError when it fails."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, env={**os.environ, **(env or {})}, capture_output=True, text=True)
    wall = time.monotonic() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        print(done.stdout[-2000:], done.stderr[-2000:])
        done.check_returncode()
    return Spent(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
