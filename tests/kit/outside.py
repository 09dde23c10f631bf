"""The outside of one node without media: rows, store and API, on a real SQLite file and a clock that a test moves."""

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp

from isotape.api import ApiParts, build_api
from isotape.api.first_start import ensure_default_template
from isotape.auth.credentials import Credentials
from isotape.auth.tokens import sign_management
from isotape.db import assets, peers, rooms, sessions, templates, workspaces
from isotape.db.engine import Database, Tx, open_database
from isotape.ids import AssetId, JobId, PeerId, RoomId, SessionId, StreamId, WorkspaceId, new_object_id, new_uuid
from isotape.model import (
    Asset,
    AssetKind,
    AssetState,
    Peer,
    PeerState,
    Room,
    Session,
    SessionState,
    StreamRecording,
)
from isotape.storage.local import LocalStorage
from isotape.storage.signed_url import UrlSigner

CREDENTIALS = Credentials(
    "65f0000000000000000000ac", "an app secret of thirty-two bytes", "65f0" + "0" * 20, "65f1" + "0" * 20
)
STRANGER = Credentials(
    "65f9000000000000000000ac", "another secret of thirty-two byte", "65f9" + "0" * 20, "65fa" + "0" * 20
)
START = datetime(2024, 2, 29, 4, 51, 16, 41_000, UTC)


class SetClock:
    """A clock that stands until a test moves it."""

    def __init__(self, now: datetime = START) -> None:
        self.time = now

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()

    def forward(self, by: timedelta) -> None:
        self.time += by


@dataclass
class Outside:
    """What a test of the outside works on. `http` speaks to the application with a management token."""

    database: Database
    storage: LocalStorage
    clock: SetClock
    app: FastAPI
    http: httpx2.AsyncClient
    folder: Path
    signer: UrlSigner = field(repr=False)

    @property
    def token(self) -> str:
        return sign_management(CREDENTIALS, self.clock.now())


@asynccontextmanager
async def outside(folder: Path, public_url: str = "http://isotape.test") -> AsyncIterator[Outside]:
    """A node's outside with its default template, as after the first start."""
    clock = SetClock()
    database = open_database(f"sqlite+aiosqlite:///{folder / 'isotape.db'}")
    await database.create_tables()
    async with database.begin() as tx:
        for credentials in (CREDENTIALS, STRANGER):
            await workspaces.ensure(tx, credentials, clock.now())
            await ensure_default_template(tx, WorkspaceId(credentials.workspace_id), clock.now())
    signer = UrlSigner(CREDENTIALS.app_secret, public_url, clock)
    storage = LocalStorage(folder / "assets", signer)
    app = build_api(ApiParts(database, CREDENTIALS, storage, clock, signer))
    token = sign_management(CREDENTIALS, clock.now(), timedelta(days=365))
    async with client_of(app, token) as http:
        yield Outside(database, storage, clock, app, http, folder, signer)
    await database.close()


def client_of(app: ASGIApp, token: str) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=app),
        base_url="http://isotape.test/v2",
        headers={"Authorization": f"Bearer {token}"} if token else {},
    )


class _Server(uvicorn.Server):
    """uvicorn in the test's own loop, which leaves the test's signals alone."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def listening(app: ASGIApp) -> AsyncIterator[str]:
    """The application behind a real HTTP server on a free port; its URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = _Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        async with asyncio.timeout(30):
            while not server.started:
                await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


async def add_room(tx: Tx, name: str = "blue", workspace: str = CREDENTIALS.workspace_id) -> Room:
    template = await templates.find_named(tx, WorkspaceId(workspace), templates.DEFAULT_NAME)
    assert template is not None
    room = Room(
        RoomId(new_object_id()),
        WorkspaceId(workspace),
        template.id,
        name,
        "",
        enabled=True,
        options={},
        created_at=START,
        updated_at=START,
    )
    await rooms.insert(tx, room)
    return room


async def add_session(tx: Tx, room: Room, *, ended: bool = True) -> Session:
    session = Session(
        SessionId(new_object_id()),
        room.workspace_id,
        room.id,
        room.template_id,
        JobId(new_object_id()),
        SessionState.OPEN,
        StreamRecording(enabled=True, presign_duration_s=3600),
        START,
    )
    await sessions.insert(tx, session)
    if ended:
        session = replace(session, state=SessionState.CLOSED, ended_at=START + timedelta(minutes=1))
        await sessions.close(tx, session.id, session.ended_at or START)
    return session


async def add_peer(tx: Tx, session: Session, name: str = "alice") -> Peer:
    peer = Peer(PeerId(new_uuid()), session.id, f"user-{name}", name, "host", "", PeerState.JOINED, START)
    await peers.insert(tx, peer, "a-token")
    return peer


def an_asset(session: Session, state: AssetState = AssetState.COMPLETED, kind: AssetKind = AssetKind.REGULAR) -> Asset:
    stream = StreamId(new_uuid())
    return Asset(
        id=AssetId(new_object_id()),
        workspace_id=session.workspace_id,
        room_id=session.room_id,
        session_id=session.id,
        job_id=session.job_id,
        peer_id=PeerId(new_uuid()),
        user_id="user-alice",
        stream_id=stream,
        kind=kind,
        state=state,
        created_at=START,
        path=f"local://{session.room_id}/{stream}.mp4" if state is AssetState.COMPLETED else "",
        size_bytes=22_989_889,
        duration_ms=184_600,
        error="asset: no space left" if state is AssetState.FAILED else "",
        metadata={"name": "Alice Ä", "role": "host", "offset_ms": 20},
    )


async def add_asset(node: Outside, session: Session, content: bytes, kind: AssetKind = AssetKind.REGULAR) -> Asset:
    """A finished asset whose file holds `content`."""
    draft = an_asset(session, kind=kind)
    file = node.folder / draft.stream_id
    file.write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    stored = await node.storage.put(draft.path.removeprefix("local://"), file, sha256)
    asset = replace(draft, path=stored.uri, size_bytes=stored.size_bytes, sha256=sha256)
    async with node.database.begin() as tx:
        await assets.insert(tx, asset)
    return asset
