"""What each method does. The handlers of a peer's own media stand here; what peers do with each other stands in
courtesies.py.

Before it: socket.py, which has a checked Call. After it: rooms/ and the engine. A handler may be run twice with the
same words, because clients say a request again under a new id after an error.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from isotape.engine import Connection
from isotape.errors import Misdirected
from isotape.ids import PeerId
from isotape.rooms import Joining, LeaveReason
from isotape.signalling import courtesies
from isotape.signalling.conversation import Conversation
from isotape.signalling.messages import Answer, Join, Leave, Nothing, Offer, Ping, TrackUpdate, Trickle
from isotape.wire import client as wire
from isotape.wire.client import Message

Handler = Callable[[Conversation, Any], Awaitable[Message]]


async def _ping(_talk: Conversation, ping: Ping) -> Message:
    return {"timestamp": ping.timestamp}


async def _join(talk: Conversation, join: Join) -> Message:
    joining = Joining(PeerId(talk.peer_id), join.name, join.data)
    seat = await talk.parts.rooms.join(talk.token, joining)
    talk.require_current()
    result: Message = wire.node_info(talk.negotiation.node_id)
    if join.offer is not None:
        # The join's offer holds the data channel alone, so that ICE and DTLS stand before the first media.
        tracks = tuple(seat.peer.tracks.values())
        result |= wire.answer(await talk.parts.rooms.publish(seat, join.offer.sdp, tracks))
    talk.sit(seat)
    return result


async def _offer(talk: Conversation, offer: Offer) -> Message:
    seat = talk.required_seat()
    if not seat.peer.in_engine and talk.negotiation.is_from_before(offer.sfu_node_id):
        # No answer of ours fits: Firefox takes new ICE credentials only when it asked for them, and asks only when it has
        # noticed that its connection is dead. The SDK passes over this refusal.
        talk.renew_after_reply()
        raise Misdirected(f"peer {talk.peer_id}: offers to a server that is gone")
    tracks = [params.track() for params in offer.tracks.values()]
    answer = wire.answer(await talk.parts.rooms.publish(seat, offer.desc.sdp, tracks))
    talk.listen_after_reply()
    return answer


async def _answer(talk: Conversation, answer: Answer) -> Message:
    talk.required_seat()
    await talk.negotiation.answered(talk.peer_id, answer.desc.sdp)
    return {}


async def _trickle(talk: Conversation, trickle: Trickle) -> Message:
    seat = talk.required_seat()
    # An empty candidate says that there will be no more. Of a peer that the engine does not know, they are a dead connection's.
    if trickle.candidate.candidate and seat.peer.in_engine:
        connection: Connection = "publish" if trickle.target == 0 else "subscribe"
        await talk.parts.engine.add_candidate(talk.peer_id, connection, trickle.candidate.candidate)
    return {}


async def _track_update(talk: Conversation, update: TrackUpdate) -> Message:
    # It may come before the join; there is nothing to update then.
    if talk.seat is not None:
        await talk.parts.rooms.update_tracks(talk.seat, [params.track() for params in update.tracks.values()])
    return {}


async def _leave(talk: Conversation, _leave: Leave) -> Message:
    if talk.seat is not None:
        seat, talk.seat = talk.seat, None
        await talk.parts.rooms.leave(seat, LeaveReason.CLIENT)
    return {}


async def _analytics(_talk: Conversation, _nothing: Nothing) -> Message:
    return {}


HANDLERS: Mapping[str, Handler] = {
    "ping": _ping,
    "join": _join,
    "offer": _offer,
    "answer": _answer,
    "trickle": _trickle,
    "track-update": _track_update,
    "leave": _leave,
    "analytics": _analytics,
    **courtesies.HANDLERS,
}
