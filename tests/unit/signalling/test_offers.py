"""Offers of the subscribing connection: what is kept of them, and for whom."""

from pathlib import Path

import pytest

from isotape.engine import SubscribeOffer
from isotape.ids import PeerId
from isotape.rooms import LeaveReason
from isotape.signalling.negotiation import Negotiation
from tests.kit.client import client
from tests.kit.server import live_server
from tests.kit.until import until

pytestmark = pytest.mark.anyio


async def test_an_offer_that_comes_while_its_peer_leaves_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[str] = []
    monkeypatch.setattr(Negotiation, "offered", lambda self, peer_id, sdp: kept.append(sdp))
    async with live_server(tmp_path) as live:
        room = await live.make_room()
        async with (
            client(live.url, live.token(room, "alice")) as alice,
            client(live.url, live.token(room, "bob")) as bob,
        ):
            await alice.join()
            await bob.join()
            leaving, staying = PeerId(alice.peer_id), PeerId(bob.peer_id)
            remove_peer = live.engine.remove_peer

            async def offer_in_between(peer: PeerId) -> None:
                live.engine_says(SubscribeOffer(leaving, "for nobody"))
                live.engine_says(SubscribeOffer(staying, "for bob"))
                await until(lambda: "for bob" in kept)
                await remove_peer(peer)

            monkeypatch.setattr(live.engine, "remove_peer", offer_in_between)
            seat = live.rooms.seat(leaving)
            assert seat is not None
            await live.rooms.leave(seat, LeaveReason.CLIENT)
            assert "for nobody" not in kept
