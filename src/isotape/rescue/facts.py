"""What one journal says of itself: the facts of its first record, and when its packets came.

Before it: journal.py, which has sealed it. After it: rows.py, which makes rows of them.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from isotape import journal
from isotape.assets.packets import read
from isotape.clock import from_millis
from isotape.errors import JournalError
from isotape.ids import (
    AssetId,
    JobId,
    JournalId,
    PeerId,
    RoomId,
    SessionId,
    StreamId,
    TrackId,
    WorkspaceId,
    is_object_id,
)
from isotape.model import MediaKind, Track


@dataclass(frozen=True, slots=True)
class Facts:
    """A journal with the facts of its first record. begun and ended are its first and last arrival, the session's start without any."""

    folder: Path
    journal_id: JournalId
    workspace_id: WorkspaceId
    room_id: RoomId
    session_id: SessionId
    job_id: JobId
    asset_id: AssetId
    peer_id: PeerId
    user_id: str
    name: str
    role: str
    track: Track
    part: int
    session_started: datetime
    note: str
    begun: datetime
    ended: datetime
    packets: int = 0

    @classmethod
    def of(cls, found: journal.RecoveredJournal) -> Self:
        """JournalError when the record lacks one of them."""
        meta, folder = found.meta, found.folder
        try:
            started = from_millis(int(meta["session_started_ms"]))
            facts = cls(
                folder=folder,
                journal_id=JournalId(folder.name),
                workspace_id=WorkspaceId(_object_id(meta, "workspace_id")),
                room_id=RoomId(_object_id(meta, "room_id")),
                session_id=SessionId(_object_id(meta, "session_id")),
                job_id=JobId(_object_id(meta, "job_id")),
                asset_id=AssetId(_object_id(meta, "asset_id")),
                peer_id=PeerId(str(meta["peer_id"])),
                user_id=str(meta["user_id"]),
                name=str(meta["name"]),
                role=str(meta["role"]),
                track=_track(meta),
                part=int(meta["part"]),
                session_started=started,
                note=note_of(found),
                begun=started,
                ended=started,
            )
        except KeyError as error:
            raise JournalError(f"its first record names no {error.args[0]}") from error
        except (ValueError, TypeError) as error:
            raise JournalError(f"its first record: {error}") from error
        if facts.session_id != folder.parent.name:
            raise JournalError(f"its first record is of session {facts.session_id}")
        return facts


def timed(facts: Facts) -> Facts:
    """With the times and the number of its packets, for which the whole journal is read."""
    packets = read(facts.folder).packets
    if not len(packets):
        return facts
    arrivals = packets["arrival_ns"] // 1_000_000
    begun, ended = from_millis(int(arrivals.min())), from_millis(int(arrivals.max()))
    return replace(facts, begun=begun, ended=ended, packets=len(packets))


def note_of(found: journal.RecoveredJournal) -> str:
    """Whose journal it is, for people."""
    meta = found.meta
    sealing = "" if found.was_sealed else f", sealed now, {found.torn_bytes} torn bytes cut"
    return f"peer {meta.get('peer_id')} {meta.get('name')!r}, {meta.get('source')} {meta.get('kind')}{sealing}"


def _object_id(meta: dict[str, Any], name: str) -> str:
    text = str(meta[name])
    if not is_object_id(text):
        raise ValueError(f"{name} {text!r} is no id")
    return text


def _track(meta: dict[str, Any]) -> Track:
    return Track(
        TrackId(str(meta["track_id"])), StreamId(str(meta["stream_id"])), MediaKind(meta["kind"]), str(meta["source"])
    )
