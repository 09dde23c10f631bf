"""Rows of Journals. A row exists before its folder does, so that a crash leaves no journal that nobody knows."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Row, delete, select, update
from sqlalchemy import insert as insert_row

from isotape.db.engine import Tx
from isotape.db.tables import journals
from isotape.ids import AssetId, JournalId, PeerId, SessionId, StreamId, TrackId
from isotape.model import Journal, JournalState, MediaKind, Track


async def insert(tx: Tx, journal: Journal) -> None:
    await tx.execute(
        insert_row(journals).values(
            id=journal.id,
            session_id=journal.session_id,
            peer_id=journal.peer_id,
            asset_id=journal.asset_id,
            track_id=journal.track.track_id,
            stream_id=journal.track.stream_id,
            kind=journal.track.kind.value,
            source=journal.track.source,
            folder=journal.folder,
            state=journal.state.value,
            packets=journal.packets,
            size_bytes=journal.size_bytes,
            opened_at=journal.opened_at,
            sealed_at=journal.sealed_at,
        )
    )


async def seal(tx: Tx, journal_id: JournalId, packets: int, size_bytes: int, sealed_at: datetime) -> None:
    await tx.execute(
        update(journals)
        .where(journals.c.id == journal_id)
        .values(state=JournalState.SEALED.value, packets=packets, size_bytes=size_bytes, sealed_at=sealed_at)
    )


async def forget(tx: Tx, journal_ids: Sequence[JournalId]) -> None:
    """Takes back rows of journals that were never opened."""
    await tx.execute(delete(journals).where(journals.c.id.in_(journal_ids)))


async def of_asset(tx: Tx, asset_id: AssetId) -> Sequence[Journal]:
    """The Asset's Journals, oldest first."""
    query = select(journals).where(journals.c.asset_id == asset_id).order_by(journals.c.opened_at, journals.c.id)
    return [from_row(row) for row in await tx.execute(query)]


async def of_session(tx: Tx, session_id: SessionId) -> Sequence[Journal]:
    """The Session's Journals, oldest first."""
    query = select(journals).where(journals.c.session_id == session_id).order_by(journals.c.opened_at, journals.c.id)
    return [from_row(row) for row in await tx.execute(query)]


def from_row(row: Row[tuple[object, ...]]) -> Journal:
    track = Track(TrackId(row.track_id), StreamId(row.stream_id), MediaKind(row.kind), row.source)
    return Journal(
        id=JournalId(row.id),
        session_id=SessionId(row.session_id),
        peer_id=PeerId(row.peer_id),
        asset_id=AssetId(row.asset_id),
        track=track,
        folder=row.folder,
        state=JournalState(row.state),
        opened_at=row.opened_at,
        sealed_at=row.sealed_at,
        packets=row.packets,
        size_bytes=row.size_bytes,
    )
