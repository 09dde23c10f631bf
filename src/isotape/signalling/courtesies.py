"""What peers do with each other: messages, raised hands, the session store, looking each other up, moderating.

None of it touches media or recording, except that a peer that is sent away leaves as if by itself.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from isotape.clock import to_millis
from isotape.errors import NotFound
from isotape.ids import PeerId, new_uuid
from isotape.rooms import LeaveReason, LivePeer, Seat
from isotape.signalling.conversation import Conversation
from isotape.signalling.fanout import present
from isotape.signalling.messages import (
    Broadcast,
    EndRoom,
    FindPeer,
    GetMetadata,
    GetPeer,
    GroupAdd,
    GroupJoin,
    ListenMetadata,
    MuteRequest,
    Nothing,
    PeerIterNext,
    PeerLeaveRequest,
    PeerNameSearch,
    PeerUpdate,
    SetMetadata,
    TrackUpdateRequest,
)
from isotape.signalling.session_store import Value
from isotape.wire import client as wire
from isotape.wire.client import Message, Notice


async def _broadcast(talk: Conversation, said: Broadcast) -> Message:
    """To one peer, to the peers of some roles, or to all others. The sender shows its own message itself."""
    seat = talk.required_seat()
    receipt: Message = {"message_id": new_uuid(), "timestamp": to_millis(talk.parts.clock.now())}
    others: Iterable[LivePeer] = seat.room.others(seat.peer.id)
    if said.peer_id:
        others = [_other(seat, said.peer_id).peer]
    elif said.roles:
        others = [peer for peer in others if peer.peer.role in said.roles]
    news: Message = {
        **receipt,
        "peer": wire.peer_info(present(seat.peer)),
        "private": bool(said.peer_id),
        "info": {"message": said.info.message, "type": said.info.type},
    }
    if said.roles:
        news["roles"] = said.roles
    talk.parts.fanout.send_all(others, Notice.BROADCAST, news)
    return receipt


async def _peer_update(talk: Conversation, update: PeerUpdate) -> Message:
    await talk.parts.rooms.describe(talk.required_seat(), update.name, update.data)
    return {}


def _own_group(member: bool) -> Callable[[Conversation, GroupJoin], Awaitable[Message]]:
    async def handle(talk: Conversation, group: GroupJoin) -> Message:
        seat = talk.required_seat()
        talk.parts.rooms.set_group(seat, group.name, member)
        return {"groups": sorted(seat.peer.groups)}

    return handle


def _other_group(member: bool) -> Callable[[Conversation, GroupAdd], Awaitable[Message]]:
    async def handle(talk: Conversation, group: GroupAdd) -> Message:
        talk.parts.rooms.set_group(_other(talk.required_seat(), group.peer_id), group.name, member)
        return {}

    return handle


async def _set_metadata(talk: Conversation, wanted: SetMetadata) -> Message:
    seat = talk.required_seat()
    store, session_id = talk.parts.fanout.store, seat.room.session.id
    now = to_millis(talk.parts.clock.now())
    value = store.set(session_id, Value(wanted.key, wanted.data, 0, now, seat.peer.id), wanted.if_change_version)
    for watcher in store.watchers(session_id, wanted.key):
        talk.parts.fanout.send(watcher, Notice.METADATA, {"values": [_value(value)]})
    return _value(value)


async def _get_metadata(talk: Conversation, wanted: GetMetadata) -> Message:
    return _value(talk.parts.fanout.store.get(talk.required_seat().room.session.id, wanted.key))


async def _listen_metadata(talk: Conversation, wanted: ListenMetadata) -> Message:
    seat = talk.required_seat()
    known = talk.parts.fanout.store.watch(seat.room.session.id, seat.peer.id, wanted.keys)
    if values := [_value(value) for value in known if value.version]:
        talk.say(Notice.METADATA, {"values": values})
    return {}


async def _get_peer(talk: Conversation, wanted: GetPeer) -> Message:
    return wire.peer_info(present(_other(talk.required_seat(), wanted.peer_id).peer))


async def _find_peer(talk: Conversation, wanted: FindPeer) -> Message:
    """One page holds every match that the limit lets through; rooms are small enough that there is no second one."""
    found = [
        peer
        for peer in talk.required_seat().room.peers.values()
        if (not wanted.role or peer.peer.role == wanted.role)
        and (not wanted.group or wanted.group in peer.groups)
        and (not wanted.peers or peer.id in wanted.peers)
    ]
    return wire.find_peers([present(peer) for peer in found[: wanted.limit]], len(found), "")


async def _peer_iter_next(talk: Conversation, _wanted: PeerIterNext) -> Message:
    return wire.find_peers([], len(talk.required_seat().room.peers), "")


async def _peer_name_search(talk: Conversation, wanted: PeerNameSearch) -> Message:
    query = wanted.query.casefold()
    found = [peer.peer for peer in talk.required_seat().room.peers.values() if query in peer.peer.name.casefold()]
    page = found[wanted.offset : wanted.offset + wanted.limit]
    return {
        "count": len(page),
        "limit": wanted.limit,
        "offset": wanted.offset,
        "eof": wanted.offset + len(page) >= len(found),
        "peers": [{"peer_id": peer.id, "name": peer.name, "role": peer.role, "type": "regular"} for peer in page],
    }


async def _track_update_request(talk: Conversation, wanted: TrackUpdateRequest) -> Message:
    """Asks one peer to mute or unmute. Its client mutes at once, and asks its user before it unmutes."""
    seat = talk.require_permission("mute" if wanted.mute else "unmute")
    news = {
        "requested_by": seat.peer.id,
        "track_id": wanted.track_id,
        "stream_id": wanted.stream_id,
        "mute": wanted.mute,
    }
    talk.parts.fanout.send(_other(seat, wanted.requested_for).peer.id, Notice.TRACK_UPDATE_REQUEST, news)
    return {}


async def _mute_request(talk: Conversation, wanted: MuteRequest) -> Message:
    seat = talk.require_permission("mute" if wanted.value else "unmute")
    news: Message = {"requested_by": seat.peer.id, "value": wanted.value}
    news |= {"type": wanted.type} if wanted.type else {}
    news |= {"source": wanted.source} if wanted.source else {}
    asked = [peer for peer in seat.room.others(seat.peer.id) if not wanted.roles or peer.peer.role in wanted.roles]
    talk.parts.fanout.send_all(asked, Notice.MUTE_REQUEST, news)
    return {}


async def _peer_leave_request(talk: Conversation, wanted: PeerLeaveRequest) -> Message:
    """Sends a peer away. Its client leaves without a word, so the server takes it out."""
    seat = talk.require_permission("removeOthers")
    await _send_away(talk, seat, _other(seat, wanted.requested_for), wanted.reason, room_end=False)
    return {}


async def _end_room(talk: Conversation, wanted: EndRoom) -> Message:
    """Sends everybody away, the asker last; `lock` also closes the room for later joins."""
    seat = talk.require_permission("endRoom")
    if wanted.lock:
        await talk.parts.rooms.lock(seat.room)
    for peer in [*seat.room.others(seat.peer.id), seat.peer]:
        await _send_away(talk, seat, Seat(seat.room, peer), wanted.reason, room_end=True)
    return {}


async def _poll_list(_talk: Conversation, _nothing: Nothing) -> Message:
    return {"polls": [], "last": True}


async def _send_away(talk: Conversation, by: Seat, seat: Seat, reason: str, *, room_end: bool) -> None:
    news = {"requested_by": by.peer.id, "reason": reason, "room_end": room_end}
    talk.parts.fanout.send(seat.peer.id, Notice.PEER_LEAVE_REQUEST, news)
    await talk.parts.rooms.leave(seat, LeaveReason.KICKED)


def _other(seat: Seat, peer_id: str) -> Seat:
    peer = seat.room.peers.get(PeerId(peer_id))
    if peer is None:
        raise NotFound(f"peer {peer_id}: not in this room")
    return replace(seat, peer=peer)


def _value(value: Value) -> Message:
    return {
        "key": value.key,
        "data": value.data,
        "updated_at": value.updated_at,
        "updated_by": value.updated_by,
        "change_version": value.version,
    }


HANDLERS: Mapping[str, Callable[[Conversation, Any], Awaitable[Message]]] = {
    "broadcast": _broadcast,
    "peer-update": _peer_update,
    "group-join": _own_group(True),
    "group-leave": _own_group(False),
    "group-add": _other_group(True),
    "group-remove": _other_group(False),
    "set-metadata": _set_metadata,
    "get-metadata": _get_metadata,
    "listen-metadata-change": _listen_metadata,
    "get-peer": _get_peer,
    "find-peer": _find_peer,
    "peer-iter-next": _peer_iter_next,
    "peer-name-search": _peer_name_search,
    "track-update-request": _track_update_request,
    "change-track-mute-state-request": _mute_request,
    "peer-leave-request": _peer_leave_request,
    "end-room": _end_room,
    "poll-list": _poll_list,
}
