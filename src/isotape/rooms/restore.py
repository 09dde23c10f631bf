"""Reads what the last stop or crash left open, so that Peers can come back to it.

After it: `Rooms`, which has the journals recovered: a torn tail is cut and the journal sealed. What a Peer records after it came back
goes to new journals of the same Asset; the time between is a gap with the cause `restart`. An Asset whose Peer had left already is ended
at once.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from isotape.clock import from_millis
from isotape.db import assets, journals, peers, sessions
from isotape.db import rooms as room_rows
from isotape.db import templates as template_rows
from isotape.db.engine import Tx
from isotape.engine import SealReport
from isotape.ids import AssetId, JournalId, StreamId
from isotape.model import Asset, AssetState, Journal, JournalState, Session
from isotape.recording import OpenAsset
from isotape.rooms.live import LivePeer, LiveRoom
from isotape.rooms.parts import RoomsParts


@dataclass(frozen=True, slots=True)
class Unended:
    """Journals that were not sealed when the last run ended, and Assets that nobody will go on with."""

    journals: Sequence[Journal]
    assets: Sequence[AssetId]


@dataclass(frozen=True, slots=True)
class Restored:
    """An open Session with the Peers that may come back, and what must be ended for it to be true in the rows."""

    room: LiveRoom
    peers: Sequence[LivePeer]
    unended: Unended


async def read_open_sessions(parts: RoomsParts) -> Sequence[Restored]:
    """Every open Session of this node."""
    async with parts.database.connect() as tx:
        return [await _read(tx, session) for session in await sessions.list_open(tx)]


async def read_stranded(parts: RoomsParts) -> Unended:
    """Assets that are still being recorded although their Session is closed: their end was never written."""
    async with parts.database.connect() as tx:
        opened = {session.id for session in await sessions.list_open(tx)}
        recording = await assets.in_states(tx, [AssetState.RECORDING])
        stranded = [asset.id for asset in recording if asset.session_id not in opened]
        written = [journal for asset_id in stranded for journal in await journals.of_asset(tx, asset_id)]
    return Unended(_unsealed(written), stranded)


async def _read(tx: Tx, session: Session) -> Restored:
    room = LiveRoom(
        room=await room_rows.get(tx, session.workspace_id, session.room_id),
        template=await template_rows.get(tx, session.workspace_id, session.template_id),
        session=session,
        is_written=True,
    )
    known = await assets.of_session(tx, session.workspace_id, session.id)
    written = await journals.of_session(tx, session.id)
    sources = {journal.asset_id: journal.track.source for journal in written}
    live = [_peer(row, known, sources) for row in await peers.list_joined(tx, session.id)]
    awaited = {asset.id for peer in live for asset in peer.assets}
    orphans = [asset.id for asset in known if asset.state is AssetState.RECORDING and asset.id not in awaited]
    return Restored(room, live, Unended(_unsealed(written), orphans))


def _unsealed(written: Sequence[Journal]) -> Sequence[Journal]:
    return [journal for journal in written if journal.state is JournalState.OPEN]


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


def last_sign(
    peer: LivePeer, left_open: Unended, reports: Mapping[JournalId, SealReport], alive_at: datetime | None
) -> datetime:
    """When a Peer was last known to be there: its last media, or the last moment at which the last run is known to have served it."""
    own = [
        reports[journal.id] for journal in left_open.journals if journal.peer_id == peer.id and journal.id in reports
    ]
    media = [from_millis(report.last_arrival_ns // 1_000_000) for report in own if report.last_arrival_ns is not None]
    return max([peer.peer.joined_at, *media, *([alive_at] if alive_at else [])])
