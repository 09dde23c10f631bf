"""The webhook spelling of events: the envelope, and the `data` of each type.

Before it: isotape.events, with model values. After it: the body that is stored, signed and sent as it is.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from isotape.clock import rfc3339
from isotape.ids import EventId
from isotape.model import Asset, Peer, Room, Session
from isotape.wire.rest import seconds

VERSION = "2.0"

STREAM_RECORDING_SUCCESS = "stream.recording.success"
STREAM_RECORDING_FAILURE = "stream.recording.failure"
SESSION_OPEN = "session.open.success"
SESSION_CLOSE = "session.close.success"
PEER_JOIN = "peer.join.success"
PEER_LEAVE = "peer.leave.success"


@dataclass(frozen=True, slots=True)
class Envelope:
    """What stands around every event's data. account_id is the workspace."""

    id: EventId
    account_id: str
    app_id: str
    template_id: str
    type: str
    at: datetime

    def around(self, data: dict[str, Any]) -> dict[str, Any]:
        """The whole event. `timestamp` has whole seconds, as 100ms sends it."""
        return {
            "version": VERSION,
            "id": self.id,
            "account_id": self.account_id,
            "app_id": self.app_id,
            "template_id": self.template_id,
            "timestamp": rfc3339(self.at.replace(microsecond=0)),
            "type": self.type,
            "data": data,
        }


def stream_recording_success(asset: Asset, presigned_url: str) -> dict[str, Any]:
    return {**_stream_recording(asset), "recording_presigned_url": presigned_url}


def stream_recording_failure(asset: Asset) -> dict[str, Any]:
    """`error_message` is 100ms' own word for every failure; `error_details` says what happened."""
    return {**_stream_recording(asset), "error_message": "INTERNAL_ERROR", "error_details": asset.error}


def _stream_recording(asset: Asset) -> dict[str, Any]:
    """The kind stands under both names that 100ms documents; `asset_id` says what `recording_id` is."""
    return {
        "room_id": asset.room_id,
        "session_id": asset.session_id,
        "job_id": asset.job_id,
        "peer_id": asset.peer_id,
        "user_id": asset.user_id,
        "user_name": asset.metadata.get("name", ""),
        "role": asset.metadata.get("role", ""),
        "stream_id": asset.stream_id,
        "recording_id": asset.id,
        "asset_id": asset.id,
        "recording_path": asset.path,
        "size": asset.size_bytes,
        "duration": seconds(asset.duration_ms),
        "stream_type": asset.kind.value,
        "type": asset.kind.value,
    }


def session_open(room: Room, session: Session) -> dict[str, Any]:
    return {
        "room_id": room.id,
        "room_name": room.name,
        "session_id": session.id,
        "template_id": session.template_id,
        "session_started_at": rfc3339(session.created_at),
    }


def session_close(room: Room, session: Session) -> dict[str, Any]:
    ended_at = session.ended_at or session.created_at
    return {
        **session_open(room, session),
        "session_stopped_at": rfc3339(ended_at),
        "session_duration": round((ended_at - session.created_at).total_seconds()),
    }


def peer_join(room: Room, session: Session, peer: Peer) -> dict[str, Any]:
    return {
        **session_open(room, session),
        "peer_id": peer.id,
        "user_id": peer.user_id,
        "user_name": peer.name,
        "user_data": peer.metadata,
        "role": peer.role,
        "joined_at": rfc3339(peer.joined_at),
        "type": "regular",
    }


def peer_leave(room: Room, session: Session, peer: Peer, reason: str) -> dict[str, Any]:
    left_at = peer.left_at or peer.joined_at
    return {
        **peer_join(room, session, peer),
        "left_at": rfc3339(left_at),
        "duration": round((left_at - peer.joined_at).total_seconds()),
        "reason": reason,
        "message": "",
    }
