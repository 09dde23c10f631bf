"""The engine of this process: `isotape._core.Engine` seen from asyncio.

Commands go out as JSON with a request number and come back as `reply` events; everything else the core says becomes
one of the typed events of engine/__init__.py. The core's threads wake the loop through an eventfd. No packet passes
here.
"""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Protocol

from isotape.engine import (
    ChannelData,
    Connection,
    ConnectionChanged,
    EngineConfig,
    EngineEvent,
    JournalFailed,
    JournalPlace,
    Layer,
    MediaStarted,
    PeerFailed,
    PublishedTrack,
    SealReport,
    Speaker,
    SpeakersChanged,
    SubscribeOffer,
)
from isotape.errors import EngineError, Unavailable
from isotape.ids import JournalId, PeerId, RoomId, TrackId
from isotape.logs import logger

# A sync of a busy disk may hold a seal for seconds; a command unanswered for this long means that the core is stuck.
_REPLY_TIMEOUT_S = 30.0
# Events wait here for the one reader. At 4 speaker changes a second and room this is minutes of work: more means
# nobody reads.
_EVENT_BOUND = 4096
# How many times as far the queue may grow for events that are told only once.
_PATIENCE = 16
_CLOSED = None

log = logger(part="engine")


class Core(Protocol):
    """What this module uses of the Rust class."""

    @property
    def port(self) -> int: ...
    def fileno(self) -> int: ...
    def poll(self) -> list[str]: ...
    def command(self, json: str, /) -> None: ...
    def metrics(self) -> dict[str, int]: ...
    def close(self) -> None: ...


def open_core(config: EngineConfig) -> Core:
    """Starts the Rust engine: binds its socket and starts its threads."""
    from isotape import _core  # The control plane can be imported and tested without the compiled module.

    core: Core = _core.Engine(
        json.dumps(
            {
                "bind": config.bind,
                "announce": list(config.announce),
                "journal_root": str(config.journal_root),
                "video_codecs": list(config.video_codecs),
                "sync_interval_ms": config.sync_interval_ms,
                "tcp": config.tcp,
                **config.extra,
            }
        )
    )
    return core


class EmbeddedEngine:
    """The Engine protocol over the core. To be made inside a running loop, which it stays with."""

    def __init__(self, config: EngineConfig, start: Callable[[EngineConfig], Core] = open_core) -> None:
        self._core = start(config)
        self._loop = asyncio.get_running_loop()
        self._requests = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._events: asyncio.Queue[EngineEvent | None] = asyncio.Queue()
        self._dropped_events = 0
        self._gap_packets = 0
        self._closed = False
        # Set when a thread of the core has died: nothing more is recorded, and only a restart of the process mends it.
        self.failed = asyncio.Event()
        self._loop.add_reader(self._core.fileno(), self._drain)

    @property
    def media_port(self) -> int:
        return self._core.port

    async def events(self) -> AsyncIterator[EngineEvent]:
        while (event := await self._events.get()) is not _CLOSED:
            yield event

    async def add_peer(self, room: RoomId, peer: PeerId) -> None:
        await self._ask("add_peer", room=room, peer=peer)

    async def publish_offer(self, peer: PeerId, sdp: str, tracks: Sequence[PublishedTrack]) -> str:
        answer = await self._ask("publish_offer", peer=peer, sdp=sdp, tracks=[_track(item) for item in tracks])
        return str(answer["sdp"])

    async def subscribe_answer(self, peer: PeerId, sdp: str) -> None:
        await self._ask("subscribe_answer", peer=peer, sdp=sdp)

    async def add_candidate(self, peer: PeerId, connection: Connection, candidate: str) -> None:
        await self._ask("candidate", peer=peer, pc=connection, candidate=candidate)

    async def set_muted(self, peer: PeerId, track_id: TrackId, muted: bool) -> None:
        await self._ask("mute", peer=peer, track_id=track_id, muted=muted)

    async def open_journal(self, peer: PeerId, track_id: TrackId, journal: JournalPlace) -> None:
        await self._ask("open_journal", peer=peer, track_id=track_id, journal=_journal(journal))

    async def seal(self, journal: JournalId, reason: str) -> SealReport:
        report = await self._ask("seal", journal=journal, reason=reason)
        return SealReport(
            packets=int(report["packets"]),
            size_bytes=int(report["bytes"]),
            first_arrival_ns=report.get("first_arrival_ns"),
            last_arrival_ns=report.get("last_arrival_ns"),
            lost_to_queue=int(report.get("lost_to_queue", 0)),
            failure=report.get("failure"),
        )

    async def prefer_layer(self, peer: PeerId, track_id: TrackId, layer: Layer) -> None:
        await self._ask("prefer", peer=peer, track_id=track_id, layer=layer)

    async def prefer_audio(self, peer: PeerId, track_id: TrackId, subscribed: bool) -> None:
        await self._ask("prefer_audio", peer=peer, track_id=track_id, subscribed=subscribed)

    async def send_data(self, peer: PeerId, text: str) -> None:
        await self._ask("send_data", peer=peer, text=text)

    async def restart_subscribe(self, peer: PeerId) -> None:
        await self._ask("restart_subscribe", peer=peer)

    async def remove_peer(self, peer: PeerId) -> None:
        await self._ask("remove_peer", peer=peer)

    def metrics(self) -> dict[str, int]:
        """The core's counters and this module's own."""
        own = {
            "events_dropped": self._dropped_events,
            "journal_gap_packets": self._gap_packets,
            "failed": int(self.failed.is_set()),
        }
        return {**self._core.metrics(), **own}

    async def close(self) -> None:
        """Stops the core's threads, which make every journal durable first.

        Commands under way fail with Unavailable.
        """
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._core.fileno())
        await asyncio.to_thread(self._core.close)
        self._give_up_waiting("engine: closed")
        self._events.put_nowait(_CLOSED)

    async def _ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        if self._closed or self.failed.is_set():
            raise Unavailable("engine: failed, restart the server" if self.failed.is_set() else "engine: closed")
        request = next(self._requests)
        reply: asyncio.Future[dict[str, Any]] = self._loop.create_future()
        self._waiting[request] = reply
        try:
            self._send({"command": command, "request": request, **arguments})
            async with asyncio.timeout(_REPLY_TIMEOUT_S):
                return await reply
        except TimeoutError as error:
            raise EngineError(f"engine {command}: no reply within {_REPLY_TIMEOUT_S:.0f} s") from error
        finally:
            del self._waiting[request]

    def _send(self, command: Mapping[str, Any]) -> None:
        try:
            self._core.command(json.dumps(command))
        except (RuntimeError, ValueError, OSError) as error:
            raise Unavailable(f"engine {command['command']}: {error}") from error

    def _drain(self) -> None:
        for text in self._core.poll():
            message = json.loads(text)
            if message["event"] == "reply":
                self._settle(message)
            elif message["event"] == "engine_failed":
                self._fail(str(message["error"]))
            elif message["event"] == "journal_gap":
                self._gap_packets += int(message.get("packets", 0))
                log.error("journal queue overflowed", journal=message.get("journal"), packets=message.get("packets"))
            else:
                self._offer(message)

    def _fail(self, error: str) -> None:
        log.critical("engine failed: restart the server", error=error)
        self.failed.set()
        self._give_up_waiting(f"engine: {error}")

    def _give_up_waiting(self, message: str) -> None:
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(Unavailable(message))

    def _settle(self, message: Mapping[str, Any]) -> None:
        waiting = self._waiting.get(int(message["request"]))
        if waiting is None or waiting.done():
            return  # Its asker was cancelled.
        if (error := message.get("error")) is not None:
            waiting.set_exception(EngineError(str(error["message"]), int(error["code"])))
        else:
            waiting.set_result(message.get("ok") or {})

    def _offer(self, message: Mapping[str, Any]) -> None:
        read = _EVENTS.get(message["event"])
        if read is None or self._is_too_late(message["event"]):
            self._dropped_events += 1
            log.error("engine event dropped", event_name=message["event"], known=read is not None)
            return
        self._events.put_nowait(read(message))

    def _is_too_late(self, event: str) -> bool:
        """Who speaks is told again in a moment; any other event is told once, so it waits far longer before it is given up."""
        bound = _EVENT_BOUND if event == "speakers" else _EVENT_BOUND * _PATIENCE
        return self._events.qsize() >= bound


def _track(item: PublishedTrack) -> dict[str, Any]:
    return {
        "track_id": item.track.track_id,
        "stream_id": item.track.stream_id,
        "kind": item.track.kind.value,
        "source": item.track.source,
        "muted": item.track.muted,
        "journal": None if item.journal is None else _journal(item.journal),
    }


def _journal(place: JournalPlace) -> dict[str, Any]:
    return {"id": place.id, "dir": str(place.folder), "meta": dict(place.meta)}


def _speakers(message: Mapping[str, Any]) -> SpeakersChanged:
    speakers = [Speaker(one["peer"], one["track_id"], int(one["level"])) for one in message["speakers"]]
    return SpeakersChanged(message["room"], speakers)


_EVENTS: Mapping[str, Callable[[Mapping[str, Any]], EngineEvent]] = {
    "subscribe_offer": lambda message: SubscribeOffer(message["peer"], message["sdp"]),
    "data": lambda message: ChannelData(message["peer"], message["text"]),
    "connection": lambda message: ConnectionChanged(message["peer"], message["pc"], message["state"] == "connected"),
    "media": lambda message: MediaStarted(message["peer"], message["track_id"]),
    "speakers": _speakers,
    "journal_failed": lambda message: JournalFailed(message["journal"], message["error"]),
    "peer_failed": lambda message: PeerFailed(message["peer"], message["error"]),
}
