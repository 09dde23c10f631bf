"""The pages on the rows of pages_rows.py, served by a real HTTP server in its own thread."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from isotape.clock import SystemClock
from isotape.dashboard import DashboardParts, build_dashboard, ensure_admin, static_files
from isotape.db.engine import Database, open_database
from isotape.storage.local import LocalStorage
from isotape.storage.signed_url import UrlSigner
from tests.kit.pages_rows import WORKSPACE, Rows, write_rows

SECRET = "a secret of thirty-two bytes or more"
_START_S = 30.0


@dataclass(frozen=True)
class Site:
    url: str
    password: str
    rows: Rows


@contextmanager
def serve_pages(folder: Path, *, empty: bool = False) -> Iterator[Site]:
    """The site on a free port, stopped when the block ends. empty: no room was ever joined."""
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(app=FastAPI(), log_level="warning", lifespan="off"))
    ready: list[Site] = []
    up = threading.Event()

    async def run() -> None:
        database = open_database(f"sqlite+aiosqlite:///{folder / 'isotape.db'}")
        site, server.config.app = await build_site(database, folder, url, empty=empty)
        ready.append(site)
        up.set()
        await server.serve(sockets=[listener])
        await database.close()

    thread = threading.Thread(target=lambda: asyncio.run(run()), name="pages")
    thread.start()
    try:
        assert up.wait(_START_S), "the pages did not come up"
        yield ready[0]
    finally:
        server.should_exit = True
        thread.join(_START_S)


async def build_site(database: Database, folder: Path, url: str, *, empty: bool = False) -> tuple[Site, FastAPI]:
    """The app and what a test needs to know about it."""
    clock = SystemClock()
    storage = LocalStorage(folder / "assets", UrlSigner(SECRET, url, clock))
    await database.create_tables()
    async with database.begin() as tx:
        password = await ensure_admin(tx, clock.now())
        rows = await write_rows(tx, storage, folder, clock.now(), empty=empty)
    assert password is not None
    app = FastAPI()
    parts = DashboardParts(
        database=database,
        workspace=WORKSPACE,
        storage=storage,
        clock=clock,
        secret=SECRET,
        public_url=url,
        webhook_urls=("https://hooks.example.com/isotape",),
    )
    app.include_router(build_dashboard(parts))
    app.mount("/static", static_files())
    return Site(url, password, rows), app
