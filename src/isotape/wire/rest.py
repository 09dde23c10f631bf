"""The REST spelling of templates, rooms, room codes, sessions, recordings, assets, pages and errors.

Before it: api/, with model values. After it: JSON. 100ms leaves out what is false or empty in a few places; so do we, only
there.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from isotape.clock import rfc3339
from isotape.model import (
    Asset,
    AssetState,
    Peer,
    Room,
    RoomCode,
    Session,
    SessionState,
    Template,
)

JsonObject = dict[str, Any]

ASSET_TYPE = "stream"
# Before its end an asset is not shown; after it, it is one of these.
ASSET_STATUS = {AssetState.COMPLETED: "completed", AssetState.FAILED: "failed"}

# Room fields that are kept and shown as given.
ROOM_OPTIONS = ("recording_info", "region", "large_room", "size", "max_duration_seconds", "polls")


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose objects these are: `customer_id` and `app_id` of the wire."""

    customer_id: str
    app_id: str


def error(status: int, message: str, details: Sequence[str] = ()) -> JsonObject:
    body: JsonObject = {"code": status, "message": message}
    return {**body, "details": list(details)} if details else body


def page(items: Sequence[JsonObject], limit: int) -> JsonObject:
    """A page and where the next one starts; `last` is empty when there is nothing after nothing."""
    return {"limit": limit, "data": list(items), "last": items[-1]["id"] if items else ""}


def asset(it: Asset) -> JsonObject:
    """A recording asset. size is bytes, duration whole seconds: clients type both as integers."""
    return {"job_id": it.job_id, "room_id": it.room_id, "session_id": it.session_id, **asset_of_job(it)}


def asset_of_job(it: Asset) -> JsonObject:
    """An asset inside its recording job, which says the job, the room and the session already."""
    return {
        "id": it.id,
        "type": ASSET_TYPE,
        "status": ASSET_STATUS[it.state],
        "path": it.path,
        "size": it.size_bytes,
        "duration": seconds(it.duration_ms),
        "created_at": rfc3339(it.created_at),
        "thumbnails": None,
        "metadata": _asset_metadata(it),
    }


def _asset_metadata(it: Asset) -> JsonObject:
    """The four documented keys, then our own."""
    return {
        **it.metadata,
        "duration_ms": it.duration_ms,
        **({"error_message": it.error} if it.error else {}),
        "stream_id": it.stream_id,
        "peer_id": it.peer_id,
        "user_id": it.user_id,
        "stream_type": it.kind.value,
    }


def presigned_url(it: Asset, url: str, expiry_s: int) -> JsonObject:
    return {"id": it.id, "path": it.path, "url": url, "expiry": expiry_s}


def recording(session: Session, status: str, assets: Sequence[Asset] | None) -> JsonObject:
    """The recording job of a session; `recording_assets` stands only where one job is asked for."""
    job: JsonObject = {
        "id": session.job_id,
        "room_id": session.room_id,
        "session_id": session.id,
        "status": status,
        "meeting_url": "",
        "destination": "",
        "asset_types": [ASSET_TYPE],
        "created_at": rfc3339(session.created_at),
        "started_at": rfc3339(session.created_at),
        "started_by": "",
        "stopped_at": rfc3339(session.ended_at) if session.ended_at else None,
        "stopped_by": "",
        "updated_at": rfc3339(session.ended_at or session.created_at),
    }
    return job if assets is None else {**job, "recording_assets": [asset_of_job(it) for it in assets]}


def session(it: Session, peers: Iterable[Peer], owner: Owner) -> JsonObject:
    """A session with everybody who was there, by peer id."""
    present = list(peers)
    last_change = max([it.created_at, *(peer.left_at or peer.joined_at for peer in present)], default=it.created_at)
    return {
        "id": it.id,
        "room_id": it.room_id,
        "customer_id": owner.customer_id,
        "app_id": owner.app_id,
        "active": it.state is SessionState.OPEN,
        "peers": {peer.id: _peer_of_session(peer) for peer in present},
        "created_at": rfc3339(it.created_at),
        "updated_at": rfc3339(it.ended_at or last_change),
    }


def _peer_of_session(peer: Peer) -> JsonObject:
    """`left_at` is absent while the peer is there."""
    line = {
        "id": peer.id,
        "session_id": peer.session_id,
        "name": peer.name,
        "role": peer.role,
        "user_id": peer.user_id,
        "joined_at": rfc3339(peer.joined_at),
    }
    return {**line, "left_at": rfc3339(peer.left_at)} if peer.left_at else line


def active_room(room: Room, session: Session, peers: Iterable[Peer], owner: Owner) -> JsonObject:
    """A room that is in use, and who is in it."""
    return {
        "id": room.id,
        "name": room.name,
        "customer_id": owner.customer_id,
        "session": {
            "id": session.id,
            "created_at": rfc3339(session.created_at),
            "peers": [peer.id for peer in peers],
        },
    }


def active_peers(peers: Iterable[Peer]) -> JsonObject:
    return {"peers": {peer.id: _active_peer(peer) for peer in peers}}


def _active_peer(peer: Peer) -> JsonObject:
    return {
        "id": peer.id,
        "name": peer.name,
        "user_id": peer.user_id,
        "metadata": peer.metadata,
        "role": peer.role,
        "joined_at": rfc3339(peer.joined_at),
    }


def template(it: Template, owner: Owner) -> JsonObject:
    """A template; `_id` and `customer` are the older names of `id` and `customerId`, which clients still read."""
    return {
        "id": it.id,
        "_id": it.id,
        "name": it.name,
        "customerId": owner.customer_id,
        "customer": owner.customer_id,
        "appId": owner.app_id,
        "roles": dict(it.roles),
        "settings": dict(it.settings),
        "destinations": dict(it.destinations),
        "plugins": dict(it.plugins),
        "createdAt": rfc3339(it.created_at),
        "updatedAt": rfc3339(it.updated_at),
    }


def recording_configs(it: Template) -> list[Any]:
    """The recording configuration without what is false: a disabled stream recording is an object without `enabled`."""
    return [without_false(config) for config in it.recordings]


def without_false(value: Any) -> Any:
    """`value` without false and null members at any depth, as 100ms answers."""
    if isinstance(value, Mapping):
        return {key: without_false(item) for key, item in value.items() if item is not None and item is not False}
    if isinstance(value, list | tuple):
        return [without_false(item) for item in value]
    return value


def room(it: Room, template_name: str, owner: Owner) -> JsonObject:
    """A room. Fields that were never set are left out."""
    return {
        "id": it.id,
        "name": it.name,
        "enabled": it.enabled,
        "description": it.description,
        "customer_id": owner.customer_id,
        "customer": owner.customer_id,
        "app_id": owner.app_id,
        "recording_source_template": "recording_info" not in it.options,
        "enabled_source_template": False,
        "template_id": it.template_id,
        "template": template_name,
        "key": f"{owner.customer_id}:{it.name}",
        **{name: it.options[name] for name in ROOM_OPTIONS if name in it.options},
        "created_at": rfc3339(it.created_at),
        "updated_at": rfc3339(it.updated_at),
    }


def room_code(it: RoomCode) -> JsonObject:
    return {
        "code": it.code,
        "room_id": it.room_id,
        "role": it.role,
        "enabled": it.enabled,
        "created_at": rfc3339(it.created_at),
        "updated_at": rfc3339(it.updated_at),
    }


def seconds(duration_ms: int) -> int:
    """Whole seconds, rounded half up; what is shorter than half a second is still 0."""
    return (duration_ms + 500) // 1000
