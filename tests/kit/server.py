"""The live side on its own: real database, engine, rooms and signalling over HTTP on a free port, without jobs that make files.

`live_server(folder)` is an async context manager. What would be made into files is in `server.jobs.enqueued`. For the whole node, files and
webhooks included, tests start `isotape.app.Server`.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

from isotape.auth.credentials import Credentials
from isotape.auth.tokens import AppClaims, sign_app
from isotape.clock import SystemClock
from isotape.db import room_codes, rooms, templates, workspaces
from isotape.db.engine import Database, Tx, open_database
from isotape.engine import Engine, EngineConfig, EngineEvent
from isotape.engine.embedded import EmbeddedEngine
from isotape.ids import AssetId, RoomId, TemplateId, WorkspaceId, new_object_id
from isotape.model import Room, Template
from isotape.rooms import Rooms, RoomsParts
from isotape.signalling import Signalling, SignallingParts
from isotape.signalling.fanout import Fanout
from tests.kit.until import until

CREDENTIALS = Credentials(
    "key", "0123456789abcdef0123456789abcdef", "aaaaaaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbbbbbb"
)

_EVERYTHING = {"publishParams": {"allowed": ["audio", "video", "screen"]}}
_PERMISSIONS = {"endRoom": True, "removeOthers": True, "mute": True, "unmute": True}
ROLES: dict[str, Any] = {
    "host": {"name": "host", "priority": 1, **_EVERYTHING, "permissions": _PERMISSIONS},
    "guest": {"name": "guest", "priority": 2, **_EVERYTHING, "permissions": {}},
    "viewer": {"name": "viewer", "priority": 3, "publishParams": {"allowed": []}, "permissions": {}},
}


class ShiftedClock(SystemClock):
    """The machine's clock, with its wall time moved by `ahead`."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self.ahead


class AssetList:
    """Takes the Assets whose jobs would run. What a rolled-back transaction enqueued stays out of the committed rows, not out of here."""

    def __init__(self) -> None:
        self.enqueued: list[AssetId] = []

    async def enqueue_asset(self, tx: Tx, asset_id: AssetId) -> None:
        self.enqueued.append(asset_id)


class EventList:
    """Takes the events instead of delivering them."""

    def __init__(self) -> None:
        self.appended: list[Any] = []

    async def append(self, tx: Tx, event: Any) -> None:
        self.appended.append(event)

    def names(self) -> list[str]:
        return [type(event).__name__ for event in self.appended]


@dataclass(slots=True)
class LiveOptions:
    """What a test wants different."""

    grace_s: float = 60.0
    recording: dict[str, Any] = field(default_factory=lambda: {"enabled": True, "width": 640, "height": 360})
    max_duration_s: int = 14_400


class LiveServer:
    """A running live side."""

    def __init__(self, folder: Path, options: LiveOptions) -> None:
        self.folder = folder
        self.options = options
        self.clock = ShiftedClock()
        self.jobs = AssetList()
        self.fanout = Fanout()
        self.events = EventList()
        self.credentials = CREDENTIALS
        self.database: Database
        self.engine: Engine
        self.rooms: Rooms
        self.http = FastAPI()
        self.url = ""

    async def make_room(self, name: str = "room") -> Room:
        """A room whose template has the roles above, with a code for each."""
        now = self.clock.now()
        template = _template(name, self.options, now)
        room = Room(
            id=RoomId(new_object_id()),
            workspace_id=template.workspace_id,
            template_id=template.id,
            name=name,
            description="",
            enabled=True,
            options={},
            created_at=now,
            updated_at=now,
        )
        async with self.database.begin() as tx:
            await templates.insert(tx, template)
            await rooms.insert(tx, room)
            for role in ROLES:
                await room_codes.ensure(tx, room, role, now)
        return room

    async def code(self, room: Room, role: str) -> str:
        async with self.database.connect() as tx:
            return next(code.code for code in await room_codes.of_room(tx, room) if code.role == role)

    def engine_says(self, event: EngineEvent) -> None:
        """Plays an event as if the engine had said it: there is no media behind the SDPs of tests/kit/client.py."""
        assert isinstance(self.engine, EmbeddedEngine)
        self.engine._events.put_nowait(event)

    def drop_sockets(self) -> None:
        """Closes every socket as a broken network would; media stays."""
        for seat in list(self.rooms.seats()):
            self.fanout.drop(seat.peer.id)

    async def emptied(self, room: Room) -> None:
        """Waits until the last peer has left and the Session is closed."""
        await until(lambda: self.rooms.live_room(room.id) is None)

    def token(self, room: Room, user_id: str, role: str = "host", now: datetime | None = None) -> str:
        return sign_app(self.credentials, AppClaims(room.id, user_id, role), now or self.clock.now())


@asynccontextmanager
async def live_server(
    folder: Path, options: LiveOptions | None = None, engine: Engine | None = None, port: int = 0
) -> AsyncIterator[LiveServer]:
    """Starts the live side in `folder`; a second start in the same folder finds what the first left."""
    server = LiveServer(folder, options or LiveOptions())
    server.database = open_database(f"sqlite+aiosqlite:///{folder / 'isotape.db'}")
    await server.database.create_tables()
    async with server.database.begin() as tx:
        await workspaces.ensure(tx, server.credentials, server.clock.now())
    (folder / "journals").mkdir(exist_ok=True)
    server.engine = engine or EmbeddedEngine(
        EngineConfig("127.0.0.1:0", ["127.0.0.1"], folder / "journals", ["H264", "VP9", "AV1", "VP8"])
    )
    signalling = _wire(server)
    await server.rooms.restore()
    await signalling.start()
    try:
        async with _serve(server, port):
            yield server
        await server.rooms.close()
    finally:
        # After an exception nothing is sealed, as after a crash; the next start in the same folder finds it so.
        await server.rooms._pulse.close()
        await signalling.close()
        await server.engine.close()
        await server.database.close()


def _wire(server: LiveServer) -> Signalling:
    fanout = server.fanout
    parts = RoomsParts(
        database=server.database,
        engine=server.engine,
        jobs=server.jobs,
        events=server.events,  # type: ignore[arg-type]
        clock=server.clock,
        data_dir=server.folder,
        peer_grace_s=server.options.grace_s,
    )
    server.rooms = Rooms(parts, fanout)
    signalling = Signalling(
        SignallingParts(server.database, server.engine, server.rooms, fanout, server.credentials, server.clock)
    )
    server.http.include_router(signalling.router)
    return signalling


@asynccontextmanager
async def _serve(server: LiveServer, port: int) -> AsyncIterator[None]:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    server.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    config = uvicorn.Config(server.http, log_config=None, ws_max_size=4 << 20, timeout_graceful_shutdown=2)
    http = uvicorn.Server(config)
    http.capture_signals = _no_signals  # type: ignore[method-assign]
    task = asyncio.create_task(http.serve(sockets=[listener]))
    while not http.started:
        await asyncio.sleep(0.01)
    try:
        yield
    finally:
        http.should_exit = True
        await task


def _no_signals() -> Any:
    from contextlib import nullcontext

    return nullcontext()


def _template(name: str, options: LiveOptions, now: datetime) -> Template:
    return Template(
        id=TemplateId(new_object_id()),
        workspace_id=WorkspaceId(CREDENTIALS.workspace_id),
        name=name,
        roles=ROLES,
        settings={},
        destinations={},
        plugins={},
        recordings=(
            {
                "name": "default",
                "role": "host",
                "maxDuration": options.max_duration_s,
                "streamRecording": options.recording,
            },
        ),
        created_at=now,
        updated_at=now,
    )
