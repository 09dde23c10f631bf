"""Recording assets: finished files, listed, looked up, and given a URL that downloads them.

Before it: assets/, which made them. After it: api/files.py. An asset that is still being made is not shown.
"""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from isotape.api.access import ManagementRoute
from isotape.api.lists import JsonObject, ListQuery, Several
from isotape.api.parts import ApiParts, Parts
from isotape.db import assets, sessions
from isotape.db.assets import ENDED, AssetFilter
from isotape.errors import NotFound
from isotape.model import Asset, AssetState, StreamRecording
from isotape.wire import rest

# As long as the 100ms dashboard lets a download URL live: 14 days.
MAX_PRESIGN_S = 14 * 24 * 3600

router = APIRouter(prefix="/recording-assets", tags=["recording assets"], route_class=ManagementRoute)


class AssetQuery(ListQuery):
    """Filters of different names must all hold; several values of one name are alternatives."""

    room_id: Several
    session_id: Several
    job_id: Several
    recording_id: Several
    peer_id: Several
    user_id: Several
    stream_type: Several
    status: Several
    type: Several
    asset_type: Several

    @property
    def matches_nothing(self) -> bool:
        """Other types and states than ours are valid values that no asset has."""
        other_type = any(kinds and rest.ASSET_TYPE not in kinds for kinds in (self.type, self.asset_type))
        return other_type or (bool(self.status) and not self._states())

    def filter(self) -> AssetFilter:
        return AssetFilter(
            asset_ids=self.recording_id,
            room_ids=self.room_id,
            session_ids=self.session_id,
            job_ids=self.job_id,
            peer_ids=self.peer_id,
            user_ids=self.user_id,
            kinds=self.stream_type,
            states=self._states() or ENDED,
        )

    def _states(self) -> frozenset[AssetState]:
        return frozenset(state for state, word in rest.ASSET_STATUS.items() if word in self.status)


@router.get("")
async def list_assets(parts: Parts, query: Annotated[AssetQuery, Query()]) -> JsonObject:
    """Finished and failed assets of the workspace, newest first."""
    if query.matches_nothing:
        return rest.page([], query.limit)
    async with parts.database.connect() as tx:
        found = await assets.page(tx, parts.workspace, query.filter(), query.page)
    return rest.page([rest.asset(asset) for asset in found], query.limit)


@router.get("/{asset_id}")
async def get_asset(parts: Parts, asset_id: str) -> JsonObject:
    return rest.asset(await _ended_asset(parts, asset_id))


@router.get("/{asset_id}/presigned-url")
async def presign_asset(
    parts: Parts, asset_id: str, presign_duration: Annotated[float | None, Query(ge=1, le=MAX_PRESIGN_S)] = None
) -> JsonObject:
    """A URL that downloads the file. Without a duration it lives as long as the template said when the session began."""
    asset = await _ended_asset(parts, asset_id)
    if not asset.path:
        raise NotFound("asset file not found")
    valid_s = int(presign_duration or await _template_duration(parts, asset))
    url = await parts.storage.sign(asset.path, timedelta(seconds=valid_s))
    return rest.presigned_url(asset, url, valid_s)


async def _ended_asset(parts: ApiParts, asset_id: str) -> Asset:
    async with parts.database.connect() as tx:
        try:
            asset = await assets.get(tx, parts.workspace, asset_id)
        except NotFound as error:
            raise NotFound("asset not found") from error
    if asset.state not in ENDED:
        raise NotFound("asset not found")
    return asset


async def _template_duration(parts: ApiParts, asset: Asset) -> int:
    async with parts.database.connect() as tx:
        session = await sessions.get(tx, parts.workspace, asset.session_id)
    return (session.recording if session else StreamRecording()).presign_duration_s
