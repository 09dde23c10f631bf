"""The session store: what apps keep for the length of a Session (a pinned message, who is in the spotlight) and watch
for changes.

Kept in memory: it ends with its Session, and a restart of the server empties it. Bounded in keys and in bytes.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from isotape.errors import Conflict, PayloadTooLarge
from isotape.ids import PeerId, SessionId

_MAX_KEYS = 256
# As long as a message may be; more belongs in an app's own database.
_MAX_VALUE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Value:
    """One key's value. `version` counts its changes, so that a writer can say which one it has seen."""

    key: str
    data: Any = None
    version: int = 0
    updated_at: int = 0
    updated_by: str = ""


@dataclass(slots=True)
class _Shelf:
    values: dict[str, Value] = field(default_factory=dict)
    watched: dict[PeerId, set[str]] = field(default_factory=dict)


class SessionStore:
    """The values and the watchers of all Sessions."""

    def __init__(self) -> None:
        self._shelves: dict[SessionId, _Shelf] = {}

    def get(self, session_id: SessionId, key: str) -> Value:
        shelf = self._shelves.get(session_id)
        return Value(key) if shelf is None else shelf.values.get(key, Value(key))

    def set(self, session_id: SessionId, value: Value, expected_version: int | None) -> Value:
        """Stores `value` under its key. Conflict when the key has another version than the writer has seen."""
        shelf = self._shelves.setdefault(session_id, _Shelf())
        former = shelf.values.get(value.key, Value(value.key))
        if expected_version is not None and expected_version != former.version:
            raise Conflict(f"metadata {value.key}: is at version {former.version}")
        if value.key not in shelf.values and len(shelf.values) >= _MAX_KEYS:
            raise PayloadTooLarge(f"metadata {value.key}: the session has {_MAX_KEYS} keys already")
        if len(json.dumps(value.data)) > _MAX_VALUE_BYTES:
            raise PayloadTooLarge(f"metadata {value.key}: larger than {_MAX_VALUE_BYTES} bytes")
        stored = Value(value.key, value.data, former.version + 1, value.updated_at, value.updated_by)
        shelf.values[value.key] = stored
        return stored

    def watch(self, session_id: SessionId, peer_id: PeerId, keys: Iterable[str]) -> list[Value]:
        """Makes `keys` all that the peer watches; what they hold now."""
        wanted = set(keys)
        self._shelves.setdefault(session_id, _Shelf()).watched[peer_id] = wanted
        return [self.get(session_id, key) for key in sorted(wanted)]

    def watchers(self, session_id: SessionId, key: str) -> list[PeerId]:
        shelf = self._shelves.get(session_id)
        return [] if shelf is None else [peer for peer, keys in shelf.watched.items() if key in keys]

    def peer_left(self, session_id: SessionId, peer_id: PeerId) -> None:
        if (shelf := self._shelves.get(session_id)) is not None:
            shelf.watched.pop(peer_id, None)

    def session_closed(self, session_id: SessionId) -> None:
        self._shelves.pop(session_id, None)
