"""The embedded engine over a core that says what the test tells it to."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from isotape.engine import ConnectionChanged, EngineConfig, PublishedTrack, SealReport, SpeakersChanged, SubscribeOffer
from isotape.engine.embedded import EmbeddedEngine
from isotape.errors import EngineError, Unavailable
from isotape.ids import JournalId, PeerId, RoomId, StreamId, TrackId
from isotape.model import MediaKind, Track

pytestmark = pytest.mark.anyio

CONFIG = EngineConfig("127.0.0.1:0", ["127.0.0.1"], Path("/nowhere"), ["H264"])
PEER = PeerId("peer")


class ToldCore:
    """Answers each command with what `answers` holds for it, and says `say` unasked."""

    def __init__(self) -> None:
        self.port = 7
        self.commands: list[dict[str, Any]] = []
        self.answers: dict[str, dict[str, Any]] = {}
        self.full = False
        self._waiting: list[str] = []
        self._wake = os.eventfd(0, os.EFD_NONBLOCK)

    def fileno(self) -> int:
        return self._wake

    def poll(self) -> list[str]:
        os.eventfd_read(self._wake)
        waiting, self._waiting = self._waiting, []
        return waiting

    def command(self, text: str, /) -> None:
        if self.full:
            raise RuntimeError("command queue is full")
        command = json.loads(text)
        self.commands.append(command)
        if (answer := self.answers.get(command["command"])) is not None:
            self.say(event="reply", request=command["request"], **answer)

    def say(self, **event: Any) -> None:
        self._waiting.append(json.dumps(event))
        os.eventfd_write(self._wake, 1)

    def metrics(self) -> dict[str, int]:
        return {"peers": 1}

    def close(self) -> None:
        pass


@pytest.fixture
def core() -> ToldCore:
    return ToldCore()


@pytest.fixture
async def engine(core: ToldCore) -> AsyncIterator[EmbeddedEngine]:
    one = EmbeddedEngine(CONFIG, lambda _config: core)
    yield one
    await one.close()


async def test_a_reply_goes_to_whoever_asked_whatever_the_order(core: ToldCore, engine: EmbeddedEngine) -> None:
    first = asyncio.create_task(engine.publish_offer(PEER, "offer one", []))
    second = asyncio.create_task(engine.publish_offer(PEER, "offer two", []))
    await asyncio.sleep(0)
    for command in reversed(core.commands):
        core.say(event="reply", request=command["request"], ok={"sdp": f"answer to {command['sdp']}"})
    assert await first == "answer to offer one"
    assert await second == "answer to offer two"


async def test_an_offer_names_each_track_as_the_core_wants_it(core: ToldCore, engine: EmbeddedEngine) -> None:
    core.answers["publish_offer"] = {"ok": {"sdp": "v=0"}}
    track = Track(TrackId("t"), StreamId("s"), MediaKind.AUDIO, "regular", muted=True)
    await engine.publish_offer(PEER, "v=0", [PublishedTrack(track)])
    named = {"track_id": "t", "stream_id": "s", "kind": "audio", "source": "regular", "muted": True, "journal": None}
    assert core.commands[0]["tracks"] == [named]


async def test_an_error_keeps_its_code_and_words(core: ToldCore, engine: EmbeddedEngine) -> None:
    core.answers["publish_offer"] = {"error": {"code": 400, "message": "sdp: no fingerprint"}}
    with pytest.raises(EngineError, match="sdp: no fingerprint") as refused:
        await engine.publish_offer(PEER, "v=0", [])
    assert refused.value.status == 400


async def test_a_full_queue_is_unavailable(core: ToldCore, engine: EmbeddedEngine) -> None:
    core.full = True
    with pytest.raises(Unavailable, match="command queue is full"):
        await engine.add_peer(RoomId("room"), PEER)


async def test_a_seal_reports_what_the_journal_holds(core: ToldCore, engine: EmbeddedEngine) -> None:
    counts = {"packets": 3, "bytes": 99, "first_arrival_ns": 1, "last_arrival_ns": 2, "lost_to_queue": 0}
    core.answers["seal"] = {"ok": counts}
    assert await engine.seal(JournalId("j"), "left") == SealReport(3, 99, 1, 2, 0)
    core.answers["seal"] = {"ok": {**counts, "lost_to_queue": 7, "failure": "disk full"}}
    assert await engine.seal(JournalId("j"), "left") == SealReport(3, 99, 1, 2, 7, "disk full")


async def test_events_come_typed_and_in_order(core: ToldCore, engine: EmbeddedEngine) -> None:
    core.say(event="subscribe_offer", peer="peer", sdp="v=0")
    core.say(event="something_new", peer="peer")
    core.say(event="connection", peer="peer", pc="publish", state="connected")
    core.say(event="speakers", room="room", speakers=[])
    events = engine.events()
    assert [await anext(events) for _ in range(3)] == [
        SubscribeOffer(PEER, "v=0"),
        ConnectionChanged(PEER, "publish", True),
        SpeakersChanged(RoomId("room"), []),
    ]
    assert engine.metrics() == {"peers": 1, "events_dropped": 1, "journal_gap_packets": 0, "failed": 0}


async def test_a_core_that_died_answers_nobody_and_says_so(core: ToldCore, engine: EmbeddedEngine) -> None:
    asked = asyncio.create_task(engine.add_peer(RoomId("room"), PEER))
    await asyncio.sleep(0)
    core.say(event="engine_failed", error="thread shard panicked")
    with pytest.raises(Unavailable, match="thread shard panicked"):
        await asked
    assert engine.failed.is_set()
    with pytest.raises(Unavailable, match="restart the server"):
        await engine.add_peer(RoomId("room"), PEER)


async def test_closing_ends_the_events_and_whoever_waits(core: ToldCore) -> None:
    engine = EmbeddedEngine(CONFIG, lambda _config: core)
    asked = asyncio.create_task(engine.add_peer(RoomId("room"), PEER))
    await asyncio.sleep(0)
    await engine.close()
    with pytest.raises(Unavailable):
        await asked
    assert [event async for event in engine.events()] == []
