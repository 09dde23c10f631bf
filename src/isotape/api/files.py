"""`/files`: downloads of stored files by signed URL, with Range, so that a player can seek.

Before it: a URL that storage/signed_url.py signed. The signature is the only key needed here, and it is checked before the
store is asked, so a stranger cannot find out which files there are. The query never reaches a log.
"""

import re
from pathlib import Path, PurePosixPath
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse

from isotape.api.parts import ApiParts, Parts
from isotape.db import assets
from isotape.errors import NotFound
from isotape.model import Asset, AssetKind
from isotape.storage.local import SCHEME

router = APIRouter(prefix="/files", tags=["files"])

_TYPES = {".mp4": "video/mp4", ".webm": "video/webm", ".m4a": "audio/mp4", ".json": "application/json"}
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


@router.head("/{key:path}", include_in_schema=False)
@router.get("/{key:path}")
async def download(
    parts: Parts, key: str, expires: Annotated[str, Query()] = "", signature: Annotated[str, Query()] = ""
) -> FileResponse:
    """The file, or the asked range of it. 403 for a URL that was changed or has expired."""
    parts.signer.check(key, expires, signature)
    uri = SCHEME + key
    path = await parts.storage.local_path(uri)
    if path is None:
        raise NotFound("file not found")
    asset = await _asset_at(parts, uri)
    return FileResponse(
        path,
        media_type=_media_type(path, asset),
        filename=_readable_name(path, asset),
        headers={
            "Cache-Control": "private, no-store",
            "X-Content-Type-Options": "nosniff",
            "Cross-Origin-Resource-Policy": "cross-origin",
        },
    )


async def _asset_at(parts: ApiParts, uri: str) -> Asset | None:
    async with parts.database.connect() as tx:
        return await assets.find_at(tx, parts.workspace, uri)


def _media_type(path: Path, asset: Asset | None) -> str:
    if path.suffix == ".mp4" and asset is not None and asset.kind is AssetKind.AUDIO:
        return "audio/mp4"
    return _TYPES.get(path.suffix, "application/octet-stream")


def _readable_name(path: Path, asset: Asset | None) -> str:
    """`alice-regular-20240229-045116.mp4`: who, what and when, for the person who finds it in a folder."""
    if asset is None:
        return path.name
    who = _UNSAFE.sub("_", str(asset.metadata.get("name") or asset.user_id or asset.peer_id)).strip("._")[:64]
    when = asset.created_at.strftime("%Y%m%d-%H%M%S")
    return f"{who or 'peer'}-{asset.kind.value}-{when}{PurePosixPath(path.name).suffix}"
