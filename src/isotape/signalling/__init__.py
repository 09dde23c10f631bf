"""The client side of the server: the 100ms client protocol over HTTP and WebSocket.

In the order of a join: bootstrap.py (/init, tokens by room code), socket.py (one WebSocket), messages.py (what may be
said), requests.py and courtesies.py (what it does), conversation.py (one socket's state), negotiation.py and
channel.py (the subscribing connection), fanout.py (who is told). Below it: rooms/ and the engine. No packet and no
journal is touched here.
"""

import asyncio

from fastapi import APIRouter
from starlette.websockets import WebSocket

from isotape.engine import (
    ChannelData,
    ConnectionChanged,
    EngineEvent,
    JournalFailed,
    PeerFailed,
    SpeakersChanged,
    SubscribeOffer,
)
from isotape.logs import logger
from isotape.rooms.chores import Chores
from isotape.signalling.bootstrap import SOCKET_PATH, bootstrap_router
from isotape.signalling.channel import Channel
from isotape.signalling.negotiation import Negotiation
from isotape.signalling.parts import SignallingParts
from isotape.signalling.socket import serve_socket
from isotape.wire import client as wire

__all__ = ["Signalling", "SignallingParts"]

log = logger(part="signalling")


class Signalling:
    """The routes of the client protocol, and the reader of the engine's events."""

    def __init__(self, parts: SignallingParts) -> None:
        self._parts = parts
        self._negotiation = Negotiation(parts.engine, parts.fanout)
        parts.fanout.when_left(self._negotiation.forget)
        self._channel = Channel(parts.engine)
        self._chores = Chores()
        self._reader: asyncio.Task[None] | None = None
        self.router = bootstrap_router(parts)
        self._add_socket(self.router)

    async def start(self) -> None:
        """Begins to read the engine's events."""
        self._reader = asyncio.create_task(self._read_events(), name="engine events")

    async def close(self) -> None:
        """Stops reading. To be called before the engine is closed and after rooms/ is."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait((self._reader,))
        await self._chores.close()

    def _add_socket(self, router: APIRouter) -> None:
        @router.websocket(SOCKET_PATH)
        async def socket(websocket: WebSocket) -> None:
            await serve_socket(websocket, self._parts, self._negotiation)

    async def _read_events(self) -> None:
        async for event in self._parts.engine.events():
            try:
                self._react(event)
            except Exception:  # the named supervisor of events: one must not stop the others.
                log.exception("engine event failed", event_type=type(event).__name__)

    def _react(self, event: EngineEvent) -> None:
        match event:
            case SubscribeOffer():
                self._offered(event)
            case ChannelData():
                self._chores.spawn(self._channel.heard(event), "data channel request")
            case ConnectionChanged():
                self._connection_changed(event)
            case SpeakersChanged():
                self._speakers_changed(event)
            case JournalFailed():
                self._parts.rooms.journal_failed(event.journal, event.error)
            case PeerFailed():
                self._parts.rooms.peer_failed(event.peer, event.error)
            case _:
                pass  # MediaStarted: the plan of the Asset reads the first packet's time from the journal.

    def _offered(self, event: SubscribeOffer) -> None:
        """An offer made while its peer left would be kept for ever: the peer was forgotten before the engine was told."""
        seat = self._parts.rooms.seat(event.peer)
        if seat is not None and seat.peer.is_in:
            self._negotiation.offered(event.peer, event.sdp)

    def _connection_changed(self, event: ConnectionChanged) -> None:
        self._parts.rooms.media_changed(event.peer, event.connection, event.connected)
        if event.connection == "subscribe" and not event.connected and self._parts.rooms.seat(event.peer):
            self._chores.spawn(self._negotiation.restart(event.peer), "restart of a subscribing connection")

    def _speakers_changed(self, event: SpeakersChanged) -> None:
        room = self._parts.rooms.live_room(event.room)
        if room is not None:
            levels = [(one.peer, one.track_id, one.level) for one in event.speakers]
            self._parts.fanout.send_all(room.peers.values(), wire.Notice.SPEAKERS, wire.speakers(levels))
