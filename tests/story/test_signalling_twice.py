"""One peer that joins twice at the same moment, as a client does whose first socket broke while it joined: the later one goes on."""

import asyncio

import pytest

from isotape.ids import PeerId, RoomId
from tests.kit.client import Client, Refused
from tests.kit.server import LiveServer
from tests.kit.until import until

pytestmark = pytest.mark.anyio


async def test_of_two_joins_at_once_the_later_socket_has_the_peer(
    live: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = await live.make_room()
    token = live.token(room, "alice")
    older = Client(live.url, token)
    newer = Client(live.url, token, peer_id=older.peer_id)
    add_peer, begun, both = live.engine.add_peer, asyncio.Event(), asyncio.Event()

    async def slow(room_id: RoomId, peer_id: PeerId) -> None:
        begun.set()
        await both.wait()
        await add_peer(room_id, peer_id)

    monkeypatch.setattr(live.engine, "add_peer", slow)
    await older.open()
    first = asyncio.create_task(older.join())
    await begun.wait()
    await newer.open()
    second = asyncio.create_task(newer.join())
    both.set()
    assert "sfu_node_id" in await second
    await newer.publish("audio")
    assert [seat.peer.id for seat in live.rooms.seats()] == [newer.peer_id]
    assert live.events.names() == ["SessionOpened", "PeerJoined"]
    assert await older.closed() == 4000
    first.cancel()
    await newer.leave()
    await live.emptied(room)


async def test_two_sockets_that_join_in_one_breath_get_one_seat(live: LiveServer) -> None:
    room = await live.make_room()
    token = live.token(room, "alice")
    older = Client(live.url, token)
    newer = Client(live.url, token, peer_id=older.peer_id)
    endpoint = (await older.init()).json()["endpoint"]
    await asyncio.gather(older.open_socket(endpoint), newer.open_socket(endpoint))
    assert None in await asyncio.gather(_join(older), _join(newer))
    await until(lambda: len(list(live.rooms.seats())) == 1)
    assert live.events.names() == ["SessionOpened", "PeerJoined"]
    await older.close()
    await newer.close()


async def _join(one: Client) -> str | None:
    """None when it joined, else what it was told; a replaced socket may be told nothing."""
    joining, closed = asyncio.create_task(one.join()), asyncio.create_task(one.closed())
    await asyncio.wait((joining, closed), return_when=asyncio.FIRST_COMPLETED)
    closed.cancel()
    if not joining.done():
        joining.cancel()
        return "closed"
    try:
        await joining
    except Refused as refusal:
        return refusal.message
    return None
