"""Rows of Peers.

A client makes its peer's id, so the row also holds the token that first used it; nobody else may take the id over.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Row, select, update
from sqlalchemy import insert as insert_row

from isotape.db.engine import Tx
from isotape.db.tables import peers
from isotape.ids import PeerId, SessionId
from isotape.model import Peer, PeerState


@dataclass(frozen=True, slots=True)
class PeerRow:
    """A Peer and the jti of the token that joined it."""

    peer: Peer
    token_id: str


async def insert(tx: Tx, peer: Peer, token_id: str) -> None:
    await tx.execute(
        insert_row(peers).values(
            session_id=peer.session_id,
            id=peer.id,
            user_id=peer.user_id,
            name=peer.name,
            role=peer.role,
            metadata=peer.metadata,
            token_id=token_id,
            state=peer.state.value,
            joined_at=peer.joined_at,
            left_at=peer.left_at,
        )
    )


async def describe(tx: Tx, peer: Peer) -> None:
    """Stores the name, role and metadata that the peer has now."""
    await tx.execute(
        update(peers)
        .where(peers.c.session_id == peer.session_id, peers.c.id == peer.id)
        .values(name=peer.name, role=peer.role, metadata=peer.metadata)
    )


async def leave(tx: Tx, peer: Peer, reason: str, left_at: datetime) -> None:
    await tx.execute(
        update(peers)
        .where(peers.c.session_id == peer.session_id, peers.c.id == peer.id)
        .values(state=PeerState.LEFT.value, leave_reason=reason, left_at=left_at)
    )


async def find(tx: Tx, peer_id: PeerId) -> PeerRow | None:
    """The latest Peer that used this id, in whatever room."""
    query = select(peers).where(peers.c.id == peer_id).order_by(peers.c.joined_at.desc()).limit(1)
    row = (await tx.execute(query)).first()
    return None if row is None else PeerRow(from_row(row), row.token_id)


async def list_joined(tx: Tx, session_id: SessionId) -> Sequence[PeerRow]:
    """The Peers that have not left, in the order they came."""
    query = (
        select(peers)
        .where(peers.c.session_id == session_id, peers.c.state == PeerState.JOINED.value)
        .order_by(peers.c.joined_at)
    )
    return [PeerRow(from_row(row), row.token_id) for row in await tx.execute(query)]


async def of_sessions(tx: Tx, session_ids: Sequence[SessionId]) -> Sequence[Peer]:
    """All Peers of these Sessions, in the order they came."""
    query = select(peers).where(peers.c.session_id.in_(session_ids)).order_by(peers.c.joined_at)
    return [from_row(row) for row in await tx.execute(query)]


def from_row(row: Row[tuple[object, ...]]) -> Peer:
    return Peer(
        id=PeerId(row.id),
        session_id=SessionId(row.session_id),
        user_id=row.user_id,
        name=row.name,
        role=row.role,
        metadata=row.metadata,
        state=PeerState(row.state),
        joined_at=row.joined_at,
        left_at=row.left_at,
    )
