"""The red mark: what the clients of a room are told about its recording.

Before it: the engine, which says once that a journal fails and never that it is well again. After it: the Listener. The mark must be
true: failed while packets of anybody in the room are not being kept, started again when all of them are.
"""

import asyncio
from pathlib import Path

from isotape.ids import JournalId
from isotape.logs import logger
from isotape.rooms.chores import Chores
from isotape.rooms.live import Listener, LivePeer, LiveRoom, RecordingState

# A disk whose writes work and whose syncs fail says so anew at every sync, four times a second: this long without a word is well again.
_WELL_AFTER_S = 3.0
_LOOK_EVERY_S = 1.0

log = logger(part="rooms")


class RedMark:
    """Keeps `LiveRoom.recording` between STARTED and FAILED, by what the engine says and by what grows on the disk."""

    def __init__(self, journal_root: Path, chores: Chores, listener: Listener) -> None:
        self._journal_root = journal_root
        self._chores = chores
        self._listener = listener

    def journal_failed(self, room: LiveRoom, peer: LivePeer, journal_id: JournalId) -> None:
        """The engine cannot write that journal of the peer."""
        is_watched = journal_id in room.failing
        room.failing[journal_id] = asyncio.get_running_loop().time()
        self._show(room)
        if not is_watched:
            self._chores.spawn(self._watch(room, peer, journal_id), f"recovery of {journal_id}")

    async def _watch(self, room: LiveRoom, peer: LivePeer, journal_id: JournalId) -> None:
        """Until packets are kept again, or the journal is over."""
        folder = self._journal_root / room.session.id / journal_id
        loop, size_bytes = asyncio.get_running_loop(), await asyncio.to_thread(_size, folder)
        while journal_id in peer.journals.values():
            await asyncio.sleep(_LOOK_EVERY_S)
            before, size_bytes = size_bytes, await asyncio.to_thread(_size, folder)
            if size_bytes > before and loop.time() - room.failing[journal_id] >= _WELL_AFTER_S:
                log.info("journal is written again", journal=journal_id, peer=peer.id)
                break
        del room.failing[journal_id]
        self._show(room)

    def _show(self, room: LiveRoom) -> None:
        state = RecordingState.FAILED if room.failing else RecordingState.STARTED
        if room.is_recording and room.recording is not state:
            room.recording = state
            self._listener.recording_changed(room)


def _size(folder: Path) -> int:
    """Bytes of all segments; 0 while there is no journal."""
    try:
        return sum(segment.stat().st_size for segment in folder.glob("*.seg"))
    except OSError:
        return 0
