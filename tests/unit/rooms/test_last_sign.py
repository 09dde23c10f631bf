"""Who does not come back after a crash left when it was last known to be there, not when the grace of the next run was over."""

import asyncio
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from isotape.db import peers, sessions
from isotape.db.pages import Page
from isotape.ids import PeerId
from isotape.model import Peer, Room, Session
from isotape.rooms import pulse
from tests.kit.client import client
from tests.kit.publisher import Publishing, running_publisher, sending_peer
from tests.kit.server import LiveOptions, LiveServer, live_server
from tests.kit.until import until

pytestmark = pytest.mark.anyio

_LOAD = {"fake": {"codec": "opus", "packets_per_second": 50, "payload_bytes": 100}}
_GRACE = LiveOptions(grace_s=0.5)


class Crash(Exception):
    """Leaves everything as it is."""


def last_beat(live: LiveServer) -> datetime | None:
    return pulse.Pulse(live.folder, live.clock).last()


async def ended(live: LiveServer, room: Room, peer_id: str) -> tuple[Peer, Session]:
    """The peer and its session once nobody is awaited any more."""
    await live.emptied(room)
    async with live.database.connect() as tx:
        row = await peers.find(tx, PeerId(peer_id))
        (session,) = await sessions.page(tx, room.workspace_id, sessions.SessionFilter(), Page(limit=10))
    assert row is not None
    return row.peer, session


async def test_a_peer_without_media_left_when_the_server_was_last_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "_EVERY_S", 0.05)
    with pytest.raises(Crash):
        async with live_server(tmp_path, LiveOptions(recording={})) as live:
            room = await live.make_room()
            async with client(live.url, live.token(room, "alice")) as alice:
                await alice.join()
                joined_at = live.clock.now()
                await until(lambda: (beat := last_beat(live)) and beat > joined_at)
                raise Crash
    crashed_at = last_beat(live)
    async with live_server(tmp_path, _GRACE) as live:
        peer, session = await ended(live, room, alice.peer_id)
    assert peer.left_at == crashed_at
    assert session.ended_at == crashed_at


async def test_a_peer_with_media_left_with_its_last_packet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "_EVERY_S", 1000.0)
    stopped_at: datetime | None = None
    async with running_publisher(tmp_path) as publisher:
        with pytest.raises(Crash):
            async with live_server(tmp_path) as live:
                room = await live.make_room()
                async with sending_peer(publisher, live.url, await live.code(room, "host"), "alice") as alice:
                    await alice.publish(Publishing("mic", "opus"))
                    await alice.start(mic=_LOAD)
                    await until(lambda: live.engine.metrics()["journal_records"] > 20)
                    await publisher.ask("stop", peer="alice", track="mic")
                    stopped_at = live.clock.now()
                    await asyncio.sleep(1.0)  # what a wrong end would be too late by
                    raise Crash
    assert stopped_at is not None
    async with live_server(tmp_path, _GRACE) as live:
        peer, session = await ended(live, room, alice.client.peer_id)
    assert peer.left_at is not None
    assert peer.joined_at + timedelta(seconds=0.1) < peer.left_at < stopped_at + timedelta(seconds=0.9)
    assert session.ended_at == peer.left_at
