"""Events: facts that the outside is told. `Events.append` is the only way to announce one.

Before it: rooms.py and assets/, inside the transaction that makes the fact true. After it: webhooks/deliver.py. The event row,
one delivery row for each endpoint and the job that delivers it are written in the caller's transaction: the event is told
exactly when the fact was committed, whatever becomes of this process in between.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from isotape.clock import Clock
from isotape.db import deliveries, sessions
from isotape.db import events as event_rows
from isotape.db.engine import Tx
from isotape.errors import NotFound
from isotape.ids import EventId, RoomId, SessionId, WorkspaceId, new_object_id, new_uuid
from isotape.model import Asset, Peer, Room, Session
from isotape.storage import Storage
from isotape.wire import webhook


class DeliveryJobs(Protocol):
    """What this module needs of jobs.Jobs."""

    async def enqueue_delivery(self, tx: Tx, delivery_id: str, delay_s: float = 0, *, attempt: int = 1) -> None: ...


@dataclass(frozen=True, slots=True)
class Account:
    """Who the events are from: `account_id` and `app_id` of the envelope."""

    workspace_id: WorkspaceId
    app_id: str


@dataclass(frozen=True, slots=True)
class StreamRecordingSucceeded:
    """The asset's file is stored and verified."""

    asset: Asset


@dataclass(frozen=True, slots=True)
class StreamRecordingFailed:
    """The asset's file could not be made; its journals are kept."""

    asset: Asset


@dataclass(frozen=True, slots=True)
class SessionOpened:
    room: Room
    session: Session


@dataclass(frozen=True, slots=True)
class SessionClosed:
    """`session.ended_at` is set."""

    room: Room
    session: Session


@dataclass(frozen=True, slots=True)
class PeerJoined:
    room: Room
    session: Session
    peer: Peer


@dataclass(frozen=True, slots=True)
class PeerLeft:
    """`peer.left_at` is set; reason is the wording of the 100ms documentation."""

    room: Room
    session: Session
    peer: Peer
    reason: str


AssetEvent = StreamRecordingSucceeded | StreamRecordingFailed
RoomEvent = SessionOpened | SessionClosed | PeerJoined | PeerLeft
Event = AssetEvent | RoomEvent

TYPES: dict[type[Event], str] = {
    StreamRecordingSucceeded: webhook.STREAM_RECORDING_SUCCESS,
    StreamRecordingFailed: webhook.STREAM_RECORDING_FAILURE,
    SessionOpened: webhook.SESSION_OPEN,
    SessionClosed: webhook.SESSION_CLOSE,
    PeerJoined: webhook.PEER_JOIN,
    PeerLeft: webhook.PEER_LEAVE,
}


class Events:
    """Writes events. `endpoints` are the URLs that every event of the workspace goes to."""

    def __init__(
        self, jobs: DeliveryJobs, storage: Storage, clock: Clock, account: Account, endpoints: Sequence[str]
    ) -> None:
        self._jobs = jobs
        self._storage = storage
        self._clock = clock
        self._account = account
        self._endpoints = tuple(endpoints)

    async def append(self, tx: Tx, event: Event) -> None:
        """Announces the event if and when `tx` commits."""
        session = event.session if isinstance(event, RoomEvent) else await self._session_of(tx, event.asset)
        now = self._clock.now()
        envelope = webhook.Envelope(
            id=EventId(new_uuid()),
            account_id=self._account.workspace_id,
            app_id=self._account.app_id,
            template_id=session.template_id,
            type=TYPES[type(event)],
            at=now,
        )
        body = envelope.around(await self._data(event, session))
        row = event_rows.EventRow(
            id=envelope.id,
            workspace_id=self._account.workspace_id,
            type=envelope.type,
            room_id=RoomId(session.room_id),
            session_id=SessionId(session.id),
            body=json.dumps(body, ensure_ascii=False, separators=(",", ":")),
            created_at=now,
        )
        await event_rows.insert(tx, row)
        for url in self._endpoints:
            await self._send_to(tx, row, url)

    async def _send_to(self, tx: Tx, row: event_rows.EventRow, url: str) -> None:
        delivery_id = new_object_id()
        await deliveries.insert(tx, delivery_id, row.id, url, row.created_at)
        await self._jobs.enqueue_delivery(tx, delivery_id)

    async def _session_of(self, tx: Tx, asset: Asset) -> Session:
        session = await sessions.get(tx, self._account.workspace_id, asset.session_id)
        if session is None:
            raise NotFound(f"session {asset.session_id} of asset {asset.id}: not found")
        return session

    async def _data(self, event: Event, session: Session) -> dict[str, Any]:
        match event:
            case StreamRecordingSucceeded(asset):
                valid_for = timedelta(seconds=session.recording.presign_duration_s)
                return webhook.stream_recording_success(asset, await self._storage.sign(asset.path, valid_for))
            case StreamRecordingFailed(asset):
                return webhook.stream_recording_failure(asset)
            case SessionOpened(room, opened):
                return webhook.session_open(room, opened)
            case SessionClosed(room, closed):
                return webhook.session_close(room, closed)
            case PeerJoined(room, opened, peer):
                return webhook.peer_join(room, opened, peer)
            case PeerLeft(room, opened, peer, reason):
                return webhook.peer_leave(room, opened, peer, reason)
