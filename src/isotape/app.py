"""The composition root: builds every object of one node, starts and stops them in order. No other file wires.

Start: credentials, the data folder's lock, database, jobs, recovery of what the last run left, media, HTTP. Stop, the other way
round: refuse joins, seal what is recorded, finish or hand over jobs, close media, close rows. Each `_start_*` registers its own undo,
so that a start that fails half way leaves nothing behind.
"""

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any, Self

import uvicorn
from fastapi import FastAPI

from isotape import folder_lock, health, logs, rescue
from isotape.api import ApiParts, build_api
from isotape.api.first_start import ensure_default_template
from isotape.assets.build import AssetBuilder, Places
from isotape.assets.retention import Reaper
from isotape.auth.credentials import Credentials, load_or_make
from isotape.clock import Clock, SystemClock
from isotape.dashboard import DashboardParts, build_dashboard, ensure_admin, prebuilt_files, static_files
from isotape.db import workspaces
from isotape.db.engine import Database, open_database
from isotape.engine import EngineConfig
from isotape.engine.embedded import EmbeddedEngine
from isotape.errors import IsotapeError
from isotape.events import Account, Events
from isotape.ids import WorkspaceId
from isotape.jobs import Jobs
from isotape.metrics import Metrics
from isotape.rooms import Rooms, RoomsParts
from isotape.settings import Settings
from isotape.signalling import Signalling, SignallingParts
from isotape.signalling.fanout import Fanout
from isotape.storage import Storage
from isotape.storage.local import LocalStorage
from isotape.storage.signed_url import UrlSigner
from isotape.webhooks.address_guard import AddressGuard
from isotape.webhooks.deliver import Deliverer

# The socket layer answers a frame above 1 MiB with an error that names the bound; only far larger ones end the socket here.
_WS_MAX_BYTES = 4 << 20
# Sockets have this long to close by themselves after their peers were told.
_HTTP_DRAIN_S = 3
_log = logs.logger(part="app")


class Server:
    """One node. `async with Server(settings) as server` runs it; joins are accepted inside the block."""

    database: Database
    jobs: Jobs
    storage: Storage
    events: Events
    builder: AssetBuilder
    deliverer: Deliverer
    engine: EmbeddedEngine
    rooms: Rooms
    signalling: Signalling
    http: FastAPI

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock: Clock = SystemClock()
        self.metrics = Metrics()
        self.state = health.Health()
        self.credentials = _credentials(settings)
        self.workspace_id = WorkspaceId(self.credentials.workspace_id)
        self.first_password: str | None = None
        self._listener = _listen(settings.host, settings.port)
        self._undo = AsyncExitStack()

    @property
    def url(self) -> str:
        """Under which browsers and API clients reach this node."""
        host = f"[{self.settings.host}]" if ":" in self.settings.host else self.settings.host
        return self.settings.public_url or f"http://{host}:{self._listener.getsockname()[1]}"

    async def __aenter__(self) -> Self:
        try:
            self._undo.callback(self._listener.close)
            self._undo.enter_context(folder_lock.hold(self.settings.data_dir))
            await self._start_database()
            self._build_files()
            await self._start_jobs()
            await self._start_media()
            await self._start_http()
        except BaseException:
            await self._undo.aclose()
            raise
        self.state.ready = True
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self.state.ready = False
        # While HTTP still answers, so that whoever knocks now reads why and tries again.
        await self.rooms.close()
        await self._undo.aclose()

    async def _start_database(self) -> None:
        self.database = open_database(self.settings.resolved_database_url)
        self._undo.push_async_callback(self.database.close)
        await self.database.create_tables()
        now = self.clock.now()
        async with self.database.begin() as tx:
            await workspaces.ensure(tx, self.credentials, now)
            await ensure_default_template(tx, self.workspace_id, now)
            self.first_password = await ensure_admin(tx, now)

    def _build_files(self) -> None:
        if not self.settings.resolved_storage_url.startswith("file://"):
            raise IsotapeError(f"setting ISOTAPE_STORAGE_URL {self.settings.storage_url}: only file:// is known")
        self.signer = UrlSigner(self.credentials.app_secret, self.url, self.clock)
        self.storage = LocalStorage(self.settings.storage_folder, self.signer)

    async def _start_jobs(self) -> None:
        """Jobs run builder and deliverer, which enqueue jobs: the two methods below close the circle."""
        settings = self.settings
        secret = settings.webhook_secret.get_secret_value() or self.credentials.app_secret
        self.jobs = Jobs(settings.resolved_database_url, self._build_asset, self._deliver)
        account = Account(self.workspace_id, self.credentials.app_id)
        self.events = Events(self.jobs, self.storage, self.clock, account, endpoints=self._endpoints())
        places = Places(settings.data_dir)
        self.builder = AssetBuilder(self.database, self.storage, self.events.append, places, self.clock)
        guard = AddressGuard(settings.webhook_allow)
        self.deliverer = Deliverer(self.database, self.jobs.enqueue_delivery, self.clock, guard, secret)
        self._undo.push_async_callback(self.deliverer.close)
        await self.builder.sweep()
        await self.jobs.start()
        self._undo.push_async_callback(self.jobs.close, settings.drain_s)
        if taken_up := await rescue.take_up(self.database, self.jobs):
            _log.info("assets without a job taken up", assets=taken_up)
        reaper = Reaper(self.database, settings.data_dir, settings.journal_retention_h, self.clock)
        self._own(asyncio.create_task(reaper.run(), name="reaper"))

    async def _build_asset(self, asset_id: str) -> None:
        await self.builder.build(asset_id)

    async def _deliver(self, delivery_id: str) -> None:
        await self.deliverer.deliver(delivery_id)

    def _endpoints(self) -> tuple[str, ...]:
        return (self.settings.webhook_url,) if self.settings.webhook_url else ()

    async def _start_media(self) -> None:
        settings = self.settings
        self.settings.journal_root.mkdir(parents=True, exist_ok=True)
        self.engine = EmbeddedEngine(
            EngineConfig(
                bind=f"{settings.rtc_bind}:{settings.rtc_port}",
                announce=settings.rtc_announce,
                journal_root=settings.journal_root,
                video_codecs=settings.video_codecs,
                sync_interval_ms=settings.journal_sync_ms,
                tcp=settings.rtc_tcp,
            )
        )
        self._undo.push_async_callback(self.engine.close)
        self.metrics.watch("media", self.engine.metrics)
        fanout = Fanout()
        parts = RoomsParts(
            database=self.database,
            engine=self.engine,
            jobs=self.jobs,
            events=self.events,
            clock=self.clock,
            data_dir=settings.data_dir,
            peer_grace_s=settings.peer_grace_s,
        )
        self.rooms = Rooms(parts, fanout)
        self.jobs.is_expecting = self.rooms.has_sessions
        self.metrics.watch("live", self.rooms.counts)
        self.metrics.watch("signalling", fanout.counts)
        self.signalling = Signalling(
            SignallingParts(
                database=self.database,
                engine=self.engine,
                rooms=self.rooms,
                fanout=fanout,
                credentials=self.credentials,
                clock=self.clock,
                public_url=settings.public_url,
            )
        )
        await self.rooms.restore()
        await self.signalling.start()
        self._undo.push_async_callback(self.signalling.close)
        self._undo.push_async_callback(self.rooms.close)

    async def _start_http(self) -> None:
        self.http = build_api(ApiParts(self.database, self.credentials, self.storage, self.clock, signer=self.signer))
        self.http.include_router(self.signalling.router)
        self.state.engine_failed = self.engine.failed.is_set
        self.http.include_router(health.build_health(self.state, self.database, self.metrics))
        self.http.include_router(build_dashboard(self._dashboard_parts()))
        self.http.mount("/static/prebuilt", prebuilt_files())
        self.http.mount("/static", static_files())
        config = uvicorn.Config(
            self.http,
            log_config=None,
            access_log=False,  # request lines carry tokens in their query
            ws_max_size=_WS_MAX_BYTES,
            timeout_graceful_shutdown=_HTTP_DRAIN_S,
            server_header=False,
        )
        server = _Uvicorn(config)
        task = asyncio.create_task(server.serve(sockets=[self._listener]), name="http")
        self._undo.push_async_callback(_stop_http, server, task)
        await _until_started(server, task)

    def _dashboard_parts(self) -> DashboardParts:
        return DashboardParts(
            database=self.database,
            workspace=self.workspace_id,
            storage=self.storage,
            clock=self.clock,
            secret=self.credentials.app_secret,
            public_url=self.url,
            webhook_urls=self._endpoints(),
        )

    def _own(self, task: asyncio.Task[Any]) -> None:
        self._undo.push_async_callback(_cancel, task)


class _Uvicorn(uvicorn.Server):
    """uvicorn in our loop; signals are ours, so that a stop seals recordings before sockets close."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(settings: Settings) -> None:
    """Runs one node until SIGTERM or SIGINT."""
    logs.configure(settings.log_format)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Server(settings) as server:
        if server.first_password:
            print(f"isotape first start: dashboard user admin, password {server.first_password}", flush=True)  # noqa: T201
        print(f"isotape ready {server.url}", flush=True)  # noqa: T201
        _log.info("ready", url=server.url, media_port=server.engine.media_port)
        engine_failed = await _stopped_or_failed(stop, server.engine.failed)
        _log.info("stopping: joins are refused, recordings are sealed, jobs finish", engine_failed=engine_failed)
    if engine_failed:
        raise IsotapeError("engine: a thread of the media core died; what was recorded is kept, start the server again")


async def recover(settings: Settings) -> AsyncIterator[rescue.Finding]:
    """What `isotape recover` does, a finding for each journal. FolderInUse while a node runs on the folder."""
    with folder_lock.hold(settings.data_dir):
        credentials = _credentials(settings)
        database = open_database(settings.resolved_database_url)
        now = SystemClock().now()
        try:
            await database.create_tables()
            async with database.begin() as tx:
                await workspaces.ensure(tx, credentials, now)
            async for finding in rescue.rescue(database, settings.data_dir, WorkspaceId(credentials.workspace_id), now):
                yield finding
        finally:
            await database.close()


async def _stopped_or_failed(stop: asyncio.Event, failed: asyncio.Event) -> bool:
    """Waits for the first of the two; whether it was the failure. A supervisor then starts a new process."""
    waits = [asyncio.create_task(event.wait()) for event in (stop, failed)]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        await _cancel(wait)
    return failed.is_set()


def _credentials(settings: Settings) -> Credentials:
    return load_or_make(
        settings.data_dir / "credentials.json", settings.access_key, settings.app_secret.get_secret_value()
    )


def _listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket, so that port 0 is known before anything is announced."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise IsotapeError(f"listener {host}:{port}: {error.strerror}; choose another --port") from error
    return listener


async def _until_started(server: uvicorn.Server, task: asyncio.Task[None]) -> None:
    while not server.started:  # uvicorn tells it by this flag alone
        if task.done():
            task.result()
            raise IsotapeError("http: the listener ended while it started")
        await asyncio.sleep(0.01)


async def _stop_http(server: uvicorn.Server, task: asyncio.Task[None]) -> None:
    server.should_exit = True
    await task


async def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
