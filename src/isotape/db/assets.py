"""Rows of assets, from the first packet of a Track to the finished file.

Before it: rooms.py, which inserts the row when a recording begins. After it: assets/, which advances it step by step, and whoever
lists finished files. A state changes by `advance` alone, which refuses a step that another writer has taken already.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypedDict, Unpack

from sqlalchemy import ColumnElement, Row, delete, func, select, update
from sqlalchemy import insert as insert_row

from isotape.db.engine import Tx
from isotape.db.pages import Page, cut
from isotape.db.tables import assets
from isotape.errors import Conflict, NotFound
from isotape.ids import AssetId, JobId, PeerId, RoomId, SessionId, StreamId, WorkspaceId
from isotape.model import Asset, AssetKind, AssetState, Json
from isotape.model import advance as step

# What the world outside sees: the file is there, or it will never be.
ENDED = frozenset({AssetState.COMPLETED, AssetState.FAILED})
UNFINISHED = frozenset(AssetState) - ENDED - {AssetState.DISCARDED}


class AssetFacts(TypedDict, total=False):
    """What becomes known while an Asset is made."""

    kind: AssetKind
    path: str
    size_bytes: int
    duration_ms: int
    sha256: str
    error: str
    metadata: Json
    completed_at: datetime | None


@dataclass(frozen=True, slots=True)
class AssetFilter:
    """What a list of assets is narrowed to: each non-empty set must hold the asset's value."""

    asset_ids: Collection[str] = ()
    room_ids: Collection[str] = ()
    session_ids: Collection[str] = ()
    job_ids: Collection[str] = ()
    peer_ids: Collection[str] = ()
    user_ids: Collection[str] = ()
    kinds: Collection[str] = ()
    states: Collection[AssetState] = ENDED


async def insert(tx: Tx, asset: Asset) -> None:
    await tx.execute(insert_row(assets).values(**_values(asset)))


async def load(tx: Tx, asset_id: str) -> Asset:
    """For jobs alone, which act for no caller: the only query without a workspace."""
    return _required(await _one(tx, assets.c.id == asset_id), asset_id)


async def claim(tx: Tx, asset_id: AssetId) -> Asset:
    """For the end of a recording: nobody else claims the Asset before this transaction is over."""
    row = (await tx.execute(select(assets).where(assets.c.id == asset_id).with_for_update())).one_or_none()
    return _required(_asset(row) if row else None, asset_id)


async def get(tx: Tx, workspace: WorkspaceId, asset_id: str) -> Asset:
    return _required(await _one(tx, assets.c.workspace_id == workspace, assets.c.id == asset_id), asset_id)


async def find_at(tx: Tx, workspace: WorkspaceId, uri: str) -> Asset | None:
    """The asset whose file is stored there."""
    return await _one(tx, assets.c.workspace_id == workspace, assets.c.path == uri)


async def of_session(tx: Tx, workspace: WorkspaceId, session: SessionId) -> list[Asset]:
    """Every asset of a session in every state, oldest first."""
    rows = await tx.execute(
        select(assets).where(assets.c.workspace_id == workspace, assets.c.session_id == session).order_by(assets.c.id)
    )
    return [_asset(row) for row in rows]


async def page(tx: Tx, workspace: WorkspaceId, wanted: AssetFilter, where: Page) -> list[Asset]:
    query = select(assets).where(assets.c.workspace_id == workspace, *_conditions(wanted))
    return [_asset(row) for row in await tx.execute(cut(query, assets.c.id, where))]


async def in_states(tx: Tx, states: Collection[AssetState]) -> list[Asset]:
    """Assets of every workspace in these states, oldest first: what a start has to take up again."""
    rows = await tx.execute(select(assets).where(assets.c.state.in_(states)).order_by(assets.c.id))
    return [_asset(row) for row in rows]


async def count_parts(tx: Tx, session: SessionId, stream: StreamId) -> int:
    """How many assets of that stream id the session has already; the next one's `part` is one more."""
    query = select(func.count()).where(assets.c.session_id == session, assets.c.stream_id == stream)
    return int((await tx.execute(query)).scalar_one())


async def set_kind(tx: Tx, asset_id: AssetId, kind: AssetKind) -> None:
    """An asset that is still being recorded got a picture."""
    still = (assets.c.id == asset_id, assets.c.state == AssetState.RECORDING)
    await tx.execute(update(assets).where(*still).values(kind=kind))


async def forget(tx: Tx, asset_ids: Collection[AssetId]) -> None:
    """Takes back rows of assets whose recording never began."""
    await tx.execute(delete(assets).where(assets.c.id.in_(asset_ids)))


async def advance(tx: Tx, asset: Asset, to: AssetState, now: datetime, **facts: Unpack[AssetFacts]) -> Asset:
    """The asset in its next state, with what became known. Conflict when the table forbids it or another writer was faster."""
    state = step(asset.state, to)
    result = await tx.execute(
        update(assets)
        .where(assets.c.id == asset.id, assets.c.state == asset.state)
        .values(state=state, updated_at=now, **facts)
    )
    if result.rowcount != 1:
        raise Conflict(f"asset {asset.id}: no longer {asset.state}, so it cannot become {to}")
    return replace(asset, state=state, **facts)


def _conditions(wanted: AssetFilter) -> list[ColumnElement[bool]]:
    sets = (
        (assets.c.id, wanted.asset_ids),
        (assets.c.room_id, wanted.room_ids),
        (assets.c.session_id, wanted.session_ids),
        (assets.c.job_id, wanted.job_ids),
        (assets.c.peer_id, wanted.peer_ids),
        (assets.c.user_id, wanted.user_ids),
        (assets.c.kind, wanted.kinds),
        (assets.c.state, wanted.states),
    )
    return [column.in_(values) for column, values in sets if values]


async def _one(tx: Tx, *conditions: Any) -> Asset | None:
    row = (await tx.execute(select(assets).where(*conditions))).one_or_none()
    return _asset(row) if row else None


def _required(asset: Asset | None, asset_id: str) -> Asset:
    if asset is None:
        raise NotFound(f"asset {asset_id}: not found")
    return asset


def _values(asset: Asset) -> dict[str, Any]:
    return {
        "id": asset.id,
        "workspace_id": asset.workspace_id,
        "room_id": asset.room_id,
        "session_id": asset.session_id,
        "job_id": asset.job_id,
        "peer_id": asset.peer_id,
        "user_id": asset.user_id,
        "stream_id": asset.stream_id,
        "kind": asset.kind,
        "part": asset.part,
        "state": asset.state,
        "path": asset.path,
        "size_bytes": asset.size_bytes,
        "duration_ms": asset.duration_ms,
        "sha256": asset.sha256,
        "error": asset.error,
        "metadata": asset.metadata,
        "created_at": asset.created_at,
        "completed_at": asset.completed_at,
        "updated_at": asset.completed_at or asset.created_at,
    }


def _asset(row: Row[Any]) -> Asset:
    return Asset(
        id=AssetId(row.id),
        workspace_id=WorkspaceId(row.workspace_id),
        room_id=RoomId(row.room_id),
        session_id=SessionId(row.session_id),
        job_id=JobId(row.job_id),
        peer_id=PeerId(row.peer_id),
        user_id=row.user_id,
        stream_id=StreamId(row.stream_id),
        kind=AssetKind(row.kind),
        state=AssetState(row.state),
        created_at=row.created_at,
        part=row.part,
        path=row.path,
        size_bytes=row.size_bytes,
        duration_ms=row.duration_ms,
        sha256=row.sha256,
        error=row.error,
        metadata=row.metadata,
        completed_at=row.completed_at,
    )
