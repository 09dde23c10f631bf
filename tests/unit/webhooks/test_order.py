"""The events of one session reach a receiver that answers in the order in which they happened."""

import asyncio
import json
from dataclasses import replace

import pytest
from sqlalchemy import select

from isotape.db.tables import deliveries, events
from isotape.events import PeerJoined, PeerLeft, SessionClosed, SessionOpened
from tests.kit.outside import START, add_peer, add_room, add_session
from tests.unit.webhooks.conftest import Receiver, Webhooks

pytestmark = pytest.mark.anyio

A_CALL = ["session.open.success", "peer.join.success", "peer.leave.success", "session.close.success"]


async def _call(webhooks: Webhooks) -> list[str]:
    """Announces a whole call in one commit; the deliveries' ids in the order of their events."""
    async with webhooks.node.database.begin() as tx:
        room = await add_room(tx)
        session = await add_session(tx, room)
        peer = replace(await add_peer(tx, session), left_at=START)
        for event in (
            SessionOpened(room, session),
            PeerJoined(room, session, peer),
            PeerLeft(room, session, peer, "client request"),
            SessionClosed(room, session),
        ):
            await webhooks.events.append(tx, event)
        query = select(deliveries.c.id).join(events, events.c.id == deliveries.c.event_id).order_by(events.c.sequence)
        return list(await tx.scalars(query))


async def test_jobs_that_run_side_by_side_tell_a_call_in_its_order(by_hand: Webhooks, receiver: Receiver) -> None:
    ids = await _call(by_hand)
    await asyncio.gather(*(by_hand.deliverer.deliver(one) for one in reversed(ids)))
    assert [json.loads(request.body)["type"] for request in receiver.received] == A_CALL


async def test_an_event_that_is_not_tried_holds_the_later_ones_for_a_moment_only(
    by_hand: Webhooks, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isotape.webhooks.deliver._TURN_S", 0.2)
    ids = await _call(by_hand)
    await by_hand.deliverer.deliver(ids[1])
    assert [json.loads(request.body)["type"] for request in receiver.received] == ["peer.join.success"]
