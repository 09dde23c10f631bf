"""`isotape serve` as the process that a customer runs: started, killed, stopped and started again on the same ports and data.

What the test learns of it is what an operator sees: the ready line, the exit code, the log, the REST API and the files.
"""

import asyncio
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from isotape.auth.credentials import load_or_make
from isotape.auth.tokens import sign_management
from isotape.clock import SystemClock
from isotape.demo.receiver import Receiver
from isotape.settings import Settings
from tests.kit.node import Json, Node
from tests.kit.until import until

_SECRET = "webhook secret of the test"
_PROGRAM = Path(sys.executable).with_name("isotape")
# A bound, not a pace: a start takes 3 s on a machine at rest.
_PATIENCE_S = 60.0
_PORTS = range(20_000, 32_000)


@dataclass(eq=False)
class Process:
    """One node's process. `settings` are what it runs with; stderr of all its lives stands in `log`."""

    settings: Settings
    log: Path
    prepare: Callable[[], None] | None = None
    _running: asyncio.subprocess.Process | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        return f"http://{self.settings.host}:{self.settings.port}"

    @property
    def pid(self) -> int:
        assert self._running is not None
        return self._running.pid

    @property
    def is_running(self) -> bool:
        return self._running is not None and self._running.returncode is None

    async def start(self) -> None:
        """Returns when the process says that it accepts joins."""
        assert not self.is_running
        with self.log.open("ab") as log:
            self._running = await asyncio.create_subprocess_exec(
                _PROGRAM,
                "serve",
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **_environment(self.settings)},
                preexec_fn=self.prepare,
            )
        assert self._running.stdout is not None
        async with asyncio.timeout(_PATIENCE_S):
            async for line in self._running.stdout:
                if line.startswith(b"isotape ready "):
                    return
        raise AssertionError(
            f"isotape serve: ended with {await self._running.wait()} before it was ready\n{self.text()}"
        )

    async def kill(self) -> None:
        """kill -9: nothing of the process runs any further."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """SIGTERM; the exit code."""
        return await self._end(signal.SIGTERM)

    async def _end(self, number: signal.Signals) -> int:
        assert self._running is not None
        self._running.send_signal(number)
        return await self.ended()

    def tell_to_stop(self) -> None:
        """SIGTERM without waiting for the end."""
        assert self._running is not None
        self._running.terminate()

    async def ended(self) -> int:
        """Waits for the end of the process; its exit code."""
        assert self._running is not None
        async with asyncio.timeout(_PATIENCE_S):
            return await self._running.wait()

    async def close(self) -> None:
        if self.is_running:
            await self.kill()

    def text(self) -> str:
        """Everything it logged."""
        return self.log.read_text(errors="replace")


@dataclass
class ServedNode(Node):
    """A node whose server is a process of its own; the REST client and the webhook receiver live on when it dies."""

    server: Process  # type: ignore[assignment]

    async def told(self, patience_s: float = _PATIENCE_S) -> list[str]:
        """The Asset of every success event, once all are delivered. Of a doubled event both are here; of a doubled delivery not."""
        await until(lambda: not self.rows("select id from deliveries where state = 'pending'"), patience_s)
        events = self.rows("select id, body from events where type = 'stream.recording.success' order by sequence")
        arrived = {event["id"] for event in self.receiver.received if event["type"] == "stream.recording.success"}
        assert arrived == {row["id"] for row in events}
        return [json.loads(row["body"])["data"]["asset_id"] for row in events]

    async def of_room(self, room: str) -> list[Json]:
        """Every asset of the room, whatever its session."""
        assets: list[Json] = (await self.get(f"/recording-assets?room_id={room}&asset_type=stream&limit=100"))["data"]
        return assets or []

    def rows(self, query: str) -> list[dict[str, Any]]:
        """What stands in the database now."""
        with closing(
            sqlite3.connect(f"file:{self.server.settings.data_dir / 'isotape.db'}?mode=ro", uri=True)
        ) as database:
            database.row_factory = sqlite3.Row
            return [dict(row) for row in database.execute(query)]

    def pictures(self, asset: Json) -> int:
        """How many pictures the timeline says the file holds, the placeholder among them."""
        (video,) = [track for track in self.sidecar(asset)["tracks"] if track["kind"] == "video"]
        made = [filler for filler in video["fillers"] if filler["kind"] == "placeholder"]
        return int(video["frames"]["real"]) + len(made)

    def journal_folders(self) -> list[Path]:
        """The folder of every journal, oldest first."""
        folders = {Path(path) for path in self.server.settings.journal_root.glob("*/*")}
        return sorted(folders, key=lambda folder: folder.stat().st_ctime_ns)


@asynccontextmanager
async def served_node(
    folder: Path, prepare: Callable[[], None] | None = None, **settings: Any
) -> AsyncIterator[ServedNode]:
    """A started node with its data in `folder`/data; `prepare` runs in the process before isotape does."""
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(Receiver(_SECRET))
        values: dict[str, Any] = {
            "data_dir": folder / "data",
            "port": free_port(),
            "rtc_port": free_port(),
            "webhook_url": receiver.url,
            "webhook_secret": _SECRET,
            "webhook_allow": ("127.0.0.1",),
            "drain_s": 5,
            **settings,
        }
        process = Process(Settings(**values), folder / "serve.log", prepare)
        stack.push_async_callback(process.close)
        await process.start()
        token = sign_management(load_or_make(folder / "data" / "credentials.json", "", ""), SystemClock().now())
        # One connection a request: a kept one would be the dead server's.
        limits = httpx2.Limits(max_keepalive_connections=0)
        api = await stack.enter_async_context(
            httpx2.AsyncClient(
                base_url=f"{process.url}/v2",
                headers={"Authorization": f"Bearer {token}"},
                trust_env=False,
                timeout=20,
                limits=limits,
            )
        )
        yield ServedNode(process, api, receiver)


def _environment(settings: Settings) -> dict[str, str]:
    """The settings as ISOTAPE_* variables."""
    given = settings.model_dump(exclude_unset=True)
    given["webhook_secret"] = settings.webhook_secret.get_secret_value()
    text = {name: ",".join(value) if isinstance(value, tuple) else str(value) for name, value in given.items()}
    return {f"ISOTAPE_{name.upper()}": value for name, value in text.items()}


def free_port() -> int:
    """A port that UDP and TCP are free on, and stay so while a server is away.

    Below 32,768 the kernel gives none to a client for its own end (ip_local_port_range), which could come between two starts.
    """
    for port in random.sample(_PORTS, len(_PORTS)):
        if _is_free(port, socket.SOCK_STREAM) and _is_free(port, socket.SOCK_DGRAM):
            return port
    raise AssertionError(f"no port of {_PORTS} is free")


def _is_free(port: int, kind: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_INET, kind) as one:
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
