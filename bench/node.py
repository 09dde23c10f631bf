"""isotape as a process of its own, on the release build, and what a customer does with it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2

from bench.processes import free_port, running
from bench.release import Release
from isotape.auth.credentials import load_or_make
from isotape.auth.tokens import sign_management
from tests.kit.node import PERMISSIONS, PUBLISHER
from tests.kit.until import until

_READY_S = 30.0


@dataclass
class BenchNode:
    """A running server by its pid, its URL and its data folder."""

    pid: int
    url: str
    data_dir: Path
    api: httpx2.AsyncClient

    async def post(self, path: str, body: object) -> Any:
        return (await self.api.post(path, json=body)).raise_for_status().json()

    async def get(self, path: str) -> Any:
        return (await self.api.get(path)).raise_for_status().json()

    async def recorded_template(self) -> str:
        role = {"name": "host", "publishParams": PUBLISHER, "permissions": PERMISSIONS}
        role["subscribeParams"] = {"subscribeToRoles": ["host"], "maxSubsBitRate": 3200}
        template = await self.post("/templates", {"roles": {"host": role}})
        config = {"name": "bench", "role": "host", "streamRecording": {"enabled": True}}
        await self.post(f"/templates/{template['id']}/recordings", [config])
        return str(template["id"])

    async def make_room(self, template: str) -> tuple[str, str]:
        """A room and its code for role `host`."""
        room = await self.post("/rooms", {"template_id": template})
        codes = await self.post(f"/room-codes/room/{room['id']}", {})
        return room["id"], codes["data"][0]["code"]


@asynccontextmanager
async def running_isotape(release: Release, folder: Path, **environment: str) -> AsyncIterator[BenchNode]:
    """A server on a free loopback port with default settings and its data in `folder`."""
    await asyncio.to_thread(folder.mkdir)
    port, data_dir = free_port(), folder / "data"
    serve = "from isotape.cli import main; main()"
    command = release.python("-c", serve, "serve", "--port", str(port), "--data-dir", data_dir)
    log = folder / "isotape.log"
    async with running(command, log, {**release.env, **environment}) as process:
        await until(lambda: "isotape ready" in log.read_text() or process.returncode is not None, _READY_S)
        if process.returncode is not None:
            raise RuntimeError(f"isotape: did not start: {log.read_text()[-2000:]}")
        credentials = await asyncio.to_thread(load_or_make, data_dir / "credentials.json")
        token = sign_management(credentials, datetime.now(UTC))
        url, headers = f"http://127.0.0.1:{port}", {"Authorization": f"Bearer {token}"}
        async with httpx2.AsyncClient(base_url=f"{url}/v2", headers=headers, trust_env=False, timeout=60) as api:
            yield BenchNode(process.pid, url, data_dir, api)
