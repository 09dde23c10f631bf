"""The client protocol's spelling: method names, and the JSON that goes to a client SDK. Pure functions of model values.

Before it: signalling/, which decides what to say to whom. What comes *from* clients is spelt in
signalling/messages.py, beside its checks.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from isotape.clock import to_millis
from isotape.model import MediaKind, Peer, Room, Session, Template, Track

Message = dict[str, Any]

# The group that the SDK takes for a raised hand.
HAND_RAISE = "_handraise"
# `on-record-update` types are case-sensitive; the SDK knows no `stream`, and shows `sfu` as "recorded by the server".
_RECORDING_TYPE = "sfu"


class Notice(StrEnum):
    """What the server says unasked."""

    POLICY = "on-policy-change"
    OFFER = "offer"
    PEER_LIST = "peer-list"
    ROOM_STATE = "room-state"
    SESSION_INFO = "session-info"
    PEER_JOIN = "on-peer-join"
    PEER_LEAVE = "on-peer-leave"
    PEER_UPDATE = "on-peer-update"
    TRACK_ADD = "on-track-add"
    TRACK_UPDATE = "on-track-update"
    TRACK_REMOVE = "on-track-remove"
    RECORDING = "on-record-update"
    SPEAKERS = "active-speakers"
    BROADCAST = "on-broadcast"
    METADATA = "on-metadata-change"
    PEER_LEAVE_REQUEST = "on-peer-leave-request"
    TRACK_UPDATE_REQUEST = "on-track-update-request"
    MUTE_REQUEST = "on-change-track-mute-state-request"
    NODE_INFO = "node-info"
    ERROR = "on-error"


@dataclass(frozen=True, slots=True)
class Present:
    """A Peer with what a client wants to know about it."""

    peer: Peer
    groups: Collection[str] = ()
    tracks: Collection[Track] = ()


@dataclass(frozen=True, slots=True)
class RecordingMark:
    """The red mark: `state` in the protocol's words, and since when."""

    state: str
    started_at: datetime | None


def reply(request_id: str | int, result: Message) -> Message:
    """An answer.

    `result` is an object even when there is nothing to say: the SDK takes null for an error without a code.
    """
    return {"id": request_id, "jsonrpc": "2.0", "result": result}


def error_reply(request_id: str | int | None, code: int, message: str) -> Message:
    return {"id": request_id, "jsonrpc": "2.0", "error": {"code": code, "message": message}}


def notice(method: str, params: Message) -> Message:
    return {"jsonrpc": "2.0", "method": str(method), "params": params}


def peer_info(present: Present) -> Message:
    peer = present.peer
    return {
        "peer_id": peer.id,
        "role": peer.role,
        "groups": sorted(present.groups),
        "info": {"name": peer.name, "data": peer.metadata, "user_id": peer.user_id, "type": "regular"},
    }


def peer_entry(present: Present) -> Message:
    """`realtime` must always be there: without it an update makes the SDK drop the peer."""
    return {
        **peer_info(present),
        "joined_at": to_millis(present.peer.joined_at),
        "tracks": tracks_map(present.tracks),
        "realtime": True,
    }


def tracks_map(tracks: Iterable[Track]) -> Message:
    return {track.track_id: _track(track) for track in tracks}


def track_notice(present: Present, tracks: Iterable[Track]) -> Message:
    """Tracks with their peer: the SDK passes a removal over that does not name it."""
    return {"tracks": tracks_map(tracks), "peer": peer_info(present)}


def peer_list(others: Sequence[Present], room: Message) -> Message:
    """Everybody but the receiver."""
    return {"peers": {present.peer.id: peer_entry(present) for present in others}, "room": room}


def room_state(peers: Sequence[Present], room: Message) -> Message:
    """What a preview sees: peers without their tracks."""
    listed = {present.peer.id: peer_entry(Present(present.peer, present.groups)) for present in peers}
    return {"peer_count": len(peers), "room": room, "peers": listed}


def room_entry(room: Room, session: Session | None, mark: RecordingMark) -> Message:
    entry: Message = {"name": room.name, "recording": _recording_snapshot(mark), "transcriptions": []}
    if session is not None:
        entry |= {"session_id": session.id, "started_at": to_millis(session.created_at)}
    return entry


def session_info(session: Session, present: Sequence[Present]) -> Message:
    return {
        "session_id": session.id,
        "room_id": session.room_id,
        "peer_count": len(present),
        "track_count": sum(len(one.tracks) for one in present),
    }


def recording_update(mark: RecordingMark) -> Message:
    update: Message = {"type": _RECORDING_TYPE, "state": mark.state}
    if mark.started_at is not None:
        update["started_at"] = to_millis(mark.started_at)
    if mark.state == "failed":
        update["error"] = {"code": 500, "message": "recording failed"}
    return update


def offer(sdp: str) -> Message:
    return {"type": "offer", "sdp": sdp}


def answer(sdp: str) -> Message:
    return {"type": "answer", "sdp": sdp}


def node_info(node_id: str) -> Message:
    """A client that hears another id than before makes both connections anew."""
    return {"sfu_node_id": node_id}


def speakers(levels: Iterable[tuple[str, str, int]]) -> Message:
    """`levels`: peer id, track id and level 0..100 of those who speak."""
    loudest_first = sorted(levels, key=lambda one: -one[2])
    return {
        "speaker-list": [{"peer_id": peer, "track_id": track, "level": level} for peer, track, level in loudest_first]
    }


def find_peers(peers: Sequence[Present], total: int, iterator: str) -> Message:
    return {"iterator": iterator, "total": total, "eof": True, "peers": [peer_info(peer) for peer in peers]}


def policy(template: Template, role: str, picture: tuple[int, int] | None) -> Message:
    """`on-policy-change` of a peer with that role.

    Picture: the size publishers are asked for when the Session is recorded.
    """
    return {
        "name": role,
        "template_id": template.id,
        "known_roles": {name: _role(name, body, picture) for name, body in template.roles.items()},
        "plugins": {},
        "app_data": {},
    }


# What a template leaves out, as documented for the 100ms templates API. Without its object an allowed kind breaks the
# SDK.
_PUBLISH_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "audio": {"bitRate": 32, "codec": "opus"},
    "video": {"bitRate": 256, "codec": "vp8", "frameRate": 25, "width": 320, "height": 180},
    "screen": {"codec": "vp8", "frameRate": 10, "width": 1280, "height": 720},
}
_PERMISSIONS = ("endRoom", "removeOthers", "mute", "unmute", "sendRoomState")
# What the server refuses whatever a template says: clients start no recording and no stream here, roles stay, and there
# are no polls. UIs hide the buttons when these are false.
_NEVER = ("hlsStreaming", "rtmpStreaming", "browserRecording", "changeRole", "pollRead", "pollWrite")


def _role(name: str, body: Mapping[str, Any], picture: tuple[int, int] | None) -> Message:
    subscribe = body.get("subscribeParams") or {}
    permissions = body.get("permissions") or {}
    return {
        "name": name,
        "priority": body.get("priority") or 1,
        "publishParams": _publish_params(body.get("publishParams") or {}, picture),
        "subscribeParams": {"subscribeToRoles": [], "maxSubsBitRate": 3200, **subscribe},
        "permissions": {
            **{permission: bool(permissions.get(permission)) for permission in _PERMISSIONS},
            **dict.fromkeys(_NEVER, False),
        },
    }


def _publish_params(given: Mapping[str, Any], picture: tuple[int, int] | None) -> Message:
    allowed = [kind for kind in given.get("allowed") or [] if kind in _PUBLISH_DEFAULTS]
    params: Message = {"allowed": allowed}
    for kind in allowed:
        params[kind] = {**_PUBLISH_DEFAULTS[kind], **(given.get(kind) or {})}
    if picture is not None and MediaKind.VIDEO.value in params:
        params["video"] |= {"width": picture[0], "height": picture[1]}
    return params


def _track(track: Track) -> Message:
    return {
        "track_id": track.track_id,
        "stream_id": track.stream_id,
        "type": track.kind.value,
        "source": track.source,
        "mute": track.muted,
        "description": track.description,
    }


def _recording_snapshot(mark: RecordingMark) -> Message:
    ours: Message = {"enabled": mark.state in ("started", "failed"), "state": mark.state}
    if mark.started_at is not None:
        ours["started_at"] = to_millis(mark.started_at)
    none = {"enabled": False, "state": "none"}
    return {"sfu": ours, "browser": none, "hls": {**none, "config": {"hls_vod": False, "single_file_per_layer": False}}}
