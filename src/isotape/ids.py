"""Identifiers: what each one names, how it is made and how it is checked.

100ms uses two shapes on the wire and so do we: 24 hex digits for things the server stores (time-ordered, so that sorting by id is
sorting by age) and UUIDv4 for things that live in a call. Nothing here does I/O.
"""

import os
import re
import threading
import time
import uuid
from datetime import UTC, datetime
from typing import NewType

WorkspaceId = NewType("WorkspaceId", str)
TemplateId = NewType("TemplateId", str)
RoomId = NewType("RoomId", str)
SessionId = NewType("SessionId", str)
AssetId = NewType("AssetId", str)
JobId = NewType("JobId", str)
PeerId = NewType("PeerId", str)
TrackId = NewType("TrackId", str)
StreamId = NewType("StreamId", str)
JournalId = NewType("JournalId", str)
EventId = NewType("EventId", str)

_OBJECT_ID = re.compile(r"[0-9a-f]{24}\Z")
# A client makes its own peer id; the SDK sends a UUIDv4. Anything that cannot be a file or log name is refused.
_PEER_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}\Z")

_process_tag = os.urandom(5).hex()
_counter = int.from_bytes(os.urandom(2), "big")
_counter_lock = threading.Lock()


def new_object_id() -> str:
    """24 hex digits as MongoDB's ObjectID: 4 bytes of seconds, 5 random bytes of this process, 3 bytes of counter."""
    global _counter
    with _counter_lock:
        _counter = (_counter + 1) % (1 << 24)
        return f"{int(time.time()):08x}{_process_tag}{_counter:06x}"


def made_at(object_id: str) -> datetime:
    """When `new_object_id` made it, to the second."""
    return datetime.fromtimestamp(int(object_id[:8], 16), UTC)


def new_uuid() -> str:
    """A random UUIDv4 in its canonical text form."""
    return str(uuid.uuid4())


def is_object_id(text: str) -> bool:
    """Whether `text` has the shape of an id that `new_object_id` makes."""
    return _OBJECT_ID.match(text) is not None


def is_peer_id(text: str) -> bool:
    """Whether a client may use `text` as its peer id: 1-64 letters, digits, `_`, `-`, not starting with punctuation."""
    return _PEER_ID.match(text) is not None
