"""Sockets break, peers come back: the same peer, the same Assets, and nobody else in its place."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from isotape.db import assets, journals
from isotape.ids import PeerId, WorkspaceId
from isotape.model import AssetState, JournalState
from tests.kit.client import Client, Refused, client
from tests.kit.server import LiveOptions, LiveServer, live_server
from tests.kit.until import until

pytestmark = pytest.mark.anyio


async def test_a_lost_socket_comes_back_without_join_or_leave(live: LiveServer) -> None:
    room = await live.make_room()
    token = live.token(room, "alice")
    async with client(live.url, live.token(room, "bob")) as bob:
        await bob.join()
        alice = Client(live.url, token)
        await alice.open()
        await alice.join("Alice")
        mic = await alice.publish("audio")
        await bob.notice("on-track-add")
        await alice.close()
        again = Client(live.url, token, peer_id=alice.peer_id, book=alice.book, tracks=alice.tracks)
        await again.open()
        assert set((await again.notice("peer-list"))["peers"]) == {bob.peer_id}
        await again.offer()
        await again.tell("track-update", tracks=again.tracks)
        await again.leave()
        await bob.notice("on-peer-leave")
        assert [one["peer_id"] for one in bob.heard("on-peer-join")] == [alice.peer_id]
        assert mic in again.tracks
        await until(lambda: len(live.jobs.enqueued) == 1)


async def test_an_offer_that_nobody_answered_is_said_again(live: LiveServer) -> None:
    room = await live.make_room()
    token = live.token(room, "alice")
    alice = Client(live.url, token)
    await alice.open()
    await alice.join()
    first = await alice.notice("offer")
    await alice.close()
    async with client(live.url, token, peer_id=alice.peer_id) as again:
        assert await again.notice("offer") == first


async def test_a_new_socket_of_the_same_peer_replaces_the_dead_one(live: LiveServer) -> None:
    room = await live.make_room()
    token = live.token(room, "alice")
    async with client(live.url, token) as old:
        await old.join()
        async with client(live.url, token, peer_id=old.peer_id) as new:
            assert await old.closed() == 4000
            await new.notice("peer-list")
            seat = live.rooms.seat(PeerId(new.peer_id))
            assert seat is not None
            assert seat.peer.has_socket


async def test_an_expired_token_brings_back_only_the_peer_that_sits_in_the_room(live: LiveServer) -> None:
    room = await live.make_room()
    expired = live.token(room, "alice", now=datetime.now(UTC) - timedelta(hours=25))
    stranger = Client(live.url, expired)
    refused = await stranger.init()
    assert (refused.status_code, refused.json()["message"]) == (401, "Token validation error")
    alice = Client(live.url, live.token(room, "alice"))
    await alice.open()
    await alice.join()
    assert (await Client(live.url, expired, peer_id=alice.peer_id).init()).status_code == 401
    seat = live.rooms.seat(PeerId(alice.peer_id))
    assert seat is not None
    # The token of this very peer, a day later.
    live.clock.ahead = timedelta(hours=25)
    assert (await alice.init()).status_code == 200
    live.clock.ahead = timedelta()
    await alice.close()


async def test_a_peer_id_belongs_to_the_token_that_first_used_it(live: LiveServer) -> None:
    room = await live.make_room()
    async with client(live.url, live.token(room, "alice")) as alice:
        await alice.join()
        for thief in (
            live.token(room, "mallory"),
            live.token(room, "alice"),
            live.token(await live.make_room("b"), "alice"),
        ):
            assert (await Client(live.url, thief, peer_id=alice.peer_id).init()).status_code == 409
            robbed = Client(live.url, thief, peer_id=alice.peer_id)
            await robbed.open_socket(f"{live.url.replace('http', 'ws')}/ws")
            assert (await robbed.notice("on-error"))["message"] == "duplicate peer id"
            await robbed.closed()
        assert (await alice.request("ping", timestamp=1)) == {"timestamp": 1}


async def test_a_peer_that_does_not_come_back_has_left_after_its_grace(tmp_path: Path) -> None:
    async with live_server(tmp_path, LiveOptions(grace_s=0.3)) as live:
        room = await live.make_room()
        token = live.token(room, "alice")
        alice = Client(live.url, token)
        await alice.open()
        await alice.join()
        await alice.publish("audio")
        await alice.close()
        await live.emptied(room)
        assert len(live.jobs.enqueued) == 1
        late = Client(live.url, token, peer_id=alice.peer_id)
        assert (await late.init()).status_code == 409


async def test_within_its_grace_a_peer_is_still_there_for_the_others(live: LiveServer) -> None:
    room = await live.make_room()
    alice = Client(live.url, live.token(room, "alice"))
    await alice.open()
    await alice.join()
    await alice.close()
    async with client(live.url, live.token(room, "bob")) as bob:
        await bob.join()
        assert set((await bob.notice("peer-list"))["peers"]) == {alice.peer_id}


class Crash(Exception):
    """Ends a server without its orderly stop."""


async def crash(folder: Path) -> tuple[Client, Client]:
    """A server that dies while two peers publish; the peers as they were."""
    peers: list[Client] = []
    with pytest.raises(Crash):
        async with live_server(folder) as live:
            room = await live.make_room()
            for name in ("alice", "bob"):
                peer = Client(live.url, live.token(room, name))
                await peer.open()
                await peer.join(name)
                await peer.publish("audio")
                peers.append(peer)
            await peers[0].publish("video", "screen", "share")
            raise Crash
    return peers[0], peers[1]


async def test_after_a_crash_peers_go_on_in_their_assets(tmp_path: Path) -> None:
    alice, bob = await crash(tmp_path)
    async with live_server(tmp_path) as live:
        workspace = WorkspaceId(live.credentials.workspace_id)
        again = Client(live.url, alice.token, book=alice.book, tracks=alice.tracks, peer_id=alice.peer_id)
        again.node_id = alice.node_id
        await again.open()
        assert set((await again.notice("peer-list"))["peers"]) == {bob.peer_id}
        # No answer and no offer of this server fits the client's connections, so it is told to begin anew.
        with pytest.raises(Refused, match="421"):
            await again.offer()
        again.node_id = (await again.notice("node-info"))["sfu_node_id"]
        assert again.node_id != alice.node_id
        assert again.heard("offer") == []
        kept, again.tracks = again.tracks, {}
        again.book = type(again.book)(fingerprint=":".join(["CD"] * 32))
        await again.offer()
        await again.notice("offer")
        for number, track in enumerate(kept.values()):
            await again.publish(track["type"], track["source"], f"new{number}")
        seat = live.rooms.seat(PeerId(alice.peer_id))
        assert seat is not None
        session_id = seat.room.session.id
        async with live.database.connect() as tx:
            made = await assets.of_session(tx, workspace, session_id)
            written = {asset.id: await journals.of_asset(tx, asset.id) for asset in made}
        assert len(made) == 3
        assert {asset.state for asset in made} == {AssetState.RECORDING}
        own = [written[asset.id] for asset in made if asset.peer_id == alice.peer_id]
        # Before the crash, and under the new ids.
        assert [[journal.state for journal in one] for one in own] == [[JournalState.SEALED, JournalState.OPEN]] * 2
        await again.leave()
        await until(lambda: len(live.jobs.enqueued) == 2)


async def test_after_a_crash_a_peer_that_stays_away_is_sealed_when_its_grace_is_over(tmp_path: Path) -> None:
    alice, bob = await crash(tmp_path)
    async with live_server(tmp_path, LiveOptions(grace_s=0.3)) as live:
        await until(lambda: len(live.jobs.enqueued) == 3)
        await until(lambda: live.rooms.counts()["rooms"] == 0)
        assert live.events.names() == ["PeerLeft", "PeerLeft", "SessionClosed"]
        for gone in (alice, bob):
            assert (await Client(live.url, gone.token, peer_id=gone.peer_id).init()).status_code == 409


async def test_after_a_crash_a_client_without_node_ids_gets_its_offers_at_once(tmp_path: Path) -> None:
    alice, _bob = await crash(tmp_path)
    async with live_server(tmp_path) as live:
        again = Client(live.url, alice.token, book=alice.book, tracks=alice.tracks, peer_id=alice.peer_id)
        await again.open()
        await again.offer()
        await again.notice("offer")
        assert again.heard("node-info") == []
        await again.leave()


async def test_a_request_before_the_join_is_refused_and_harms_nothing(live: LiveServer) -> None:
    room = await live.make_room()
    async with client(live.url, live.token(room, "alice")) as alice:
        with pytest.raises(Refused, match="404 peer: has not joined"):
            await alice.publish("audio")
        await alice.join()
