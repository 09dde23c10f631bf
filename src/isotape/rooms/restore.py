"""Reads what the last stop or crash left open, so that Peers can come back to it.

The journals are recovered first: a torn tail is cut and the journal sealed. What a Peer records after it came back
goes to new journals of the same Asset; the time between is a gap with the cause `restart`. An Asset whose Peer had
left already is ended at once.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from isotape.db import assets, journals, peers, sessions
from isotape.db import rooms as room_rows
from isotape.db import templates as template_rows
from isotape.db.engine import Tx
from isotape.engine import SealReport
from isotape.errors import JournalError
from isotape.ids import AssetId, StreamId
from isotape.logs import logger
from isotape.model import Asset, AssetState, Journal, JournalState, Session
from isotape.recording import OpenAsset
from isotape.rooms.live import LivePeer, LiveRoom
from isotape.rooms.parts import RoomsParts
from isotape.rooms.recorder import Ending

log = logger(part="rooms")

# Of a journal that was never begun, or cannot be read.
_NOTHING = SealReport(0, 0, None, None, 0)


@dataclass(frozen=True, slots=True)
class Restored:
    """An open Session with the Peers that may come back, and what must be written for it to be true in the rows."""

    room: LiveRoom
    peers: Sequence[LivePeer]
    orphans: Sequence[Ending]


async def read_open_sessions(parts: RoomsParts) -> Sequence[Restored]:
    """Every open Session of this node, its journals recovered."""
    async with parts.database.connect() as tx:
        found = [await _read(tx, session) for session in await sessions.list_open(tx)]
    return [await _restore(parts, *one) for one in found]


async def read_stranded(parts: RoomsParts) -> Ending:
    """Assets that are still being recorded although their Session is closed: their end was never written."""
    async with parts.database.connect() as tx:
        opened = {session.id for session in await sessions.list_open(tx)}
        recording = await assets.in_states(tx, [AssetState.RECORDING])
        stranded = [asset.id for asset in recording if asset.session_id not in opened]
        written = [journal for asset_id in stranded for journal in await journals.of_asset(tx, asset_id)]
    unsealed = [journal for journal in written if journal.state is JournalState.OPEN]
    return Ending({journal.id: await _recover(parts, journal) for journal in unsealed}, stranded)


async def _read(
    tx: Tx, session: Session
) -> tuple[LiveRoom, Sequence[peers.PeerRow], Sequence[Asset], Sequence[Journal]]:
    room = LiveRoom(
        room=await room_rows.get(tx, session.workspace_id, session.room_id),
        template=await template_rows.get(tx, session.workspace_id, session.template_id),
        session=session,
    )
    return (
        room,
        await peers.list_joined(tx, session.id),
        await assets.of_session(tx, session.workspace_id, session.id),
        await journals.of_session(tx, session.id),
    )


async def _restore(
    parts: RoomsParts,
    room: LiveRoom,
    rows: Sequence[peers.PeerRow],
    known: Sequence[Asset],
    written: Sequence[Journal],
) -> Restored:
    unsealed = [journal for journal in written if journal.state is JournalState.OPEN]
    reports = {journal.id: await _recover(parts, journal) for journal in unsealed}
    sources = {journal.asset_id: journal.track.source for journal in written}
    live = [_peer(row, known, sources) for row in rows]
    awaited = {asset.id for peer in live for asset in peer.assets}
    orphans = [asset.id for asset in known if asset.state is AssetState.RECORDING and asset.id not in awaited]
    ending = Ending(reports, orphans)
    return Restored(room, live, [ending] if unsealed or orphans else [])


def _peer(row: peers.PeerRow, known: Sequence[Asset], sources: dict[AssetId, str]) -> LivePeer:
    own = [asset for asset in known if asset.peer_id == row.peer.id]
    live = LivePeer(row.peer, row.token_id)
    live.assets = tuple(
        OpenAsset(asset.id, asset.kind, sources[asset.id], asset.stream_id, asset.part)
        for asset in own
        if asset.state is AssetState.RECORDING and asset.id in sources
    )
    parts: dict[StreamId, int] = defaultdict(int)
    for asset in own:
        parts[asset.stream_id] = max(parts[asset.stream_id], asset.part)
    live.parts = dict(parts)
    return live


async def _recover(parts: RoomsParts, journal: Journal) -> SealReport:
    # The compiled module is needed only here: everything else of rooms/ runs with any engine.
    from isotape import journal as journal_files

    folder = parts.data_dir / journal.folder
    if not folder.is_dir():
        return _NOTHING  # The crash came between the row and the folder: nothing was recorded.
    try:
        recovered = await asyncio.to_thread(journal_files.recover, folder)
    except JournalError as error:
        log.error("journal not recovered", journal=journal.id, error=error.message)
        return _NOTHING
    log.info("journal recovered", journal=journal.id, torn_bytes=recovered.torn_bytes, sealed=recovered.was_sealed)
    return replace(_NOTHING, packets=recovered.packets)
