"""The page of one asset: the player, what the file holds, whether it is still the file that was verified, and the file itself."""

import asyncio
import hashlib
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, RedirectResponse

from isotape.dashboard import reads
from isotape.dashboard.look import Look
from isotape.dashboard.parts import DashboardParts
from isotape.dashboard.sidecar import stated_gaps
from isotape.errors import IsotapeError, NotFound
from isotape.model import AssetState

# A player that seeks for an hour still has its URL.
_PLAYING_LASTS = timedelta(hours=4)
_MEDIA_TYPES = {".mp4": "video/mp4", ".webm": "video/webm", ".m4a": "audio/mp4"}


class AssetPages:
    def __init__(self, parts: DashboardParts, look: Look) -> None:
        self._parts = parts
        self._look = look

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route("/assets/{asset_id}", self.asset, methods=["GET"])
        router.add_api_route("/assets/{asset_id}/file", self.file, methods=["GET", "HEAD"])
        router.add_api_route("/assets/{asset_id}/verify", self.verify, methods=["POST"])

    async def asset(self, request: Request, asset_id: str) -> Response:
        row = await self._row(asset_id)
        values = {
            "asset": row,
            "gaps": await stated_gaps(self._parts.storage, row),
            "metadata": json.dumps(row.metadata, indent=2, ensure_ascii=False),
            "public_url": self._parts.public_url,
        }
        return self._look.page(request, "asset.html", values)

    async def file(self, asset_id: str, download: bool = False) -> Response:
        """The file for the player and for the download button, Range included."""
        row = await self._finished(asset_id)
        path = await self._parts.storage.local_path(row.path)
        if path is None:
            await self._parts.storage.size(
                row.path
            )  # A file that is gone is an error page, not a URL that leads nowhere.
            return RedirectResponse(await self._parts.storage.sign(row.path, _PLAYING_LASTS), 303)
        return FileResponse(
            path,
            media_type=_MEDIA_TYPES.get(path.suffix, "application/octet-stream"),
            filename=_file_name(row, path),
            content_disposition_type="attachment" if download else "inline",
            headers={"Cache-Control": "private, no-store", "X-Content-Type-Options": "nosniff"},
        )

    async def verify(self, request: Request, asset_id: str) -> Response:
        """Reads the stored file again and compares its SHA-256 with the one of the commit."""
        row = await self._finished(asset_id)
        values = {"expected": row.sha256, "checked_at": self._parts.clock.now(), "found": "", "problem": ""}
        try:
            path = await self._parts.storage.local_path(row.path)
            if path is None:
                await self._parts.storage.size(row.path)
                values["problem"] = "The file lies in an object store. Download it and compare the hash there."
            else:
                values["found"] = await asyncio.to_thread(_sha256, path)
        except (OSError, IsotapeError) as error:
            values["problem"] = f"The file cannot be read: {error}"
        return self._look.page(request, "asset_verified.html", values)

    async def _row(self, asset_id: str) -> Any:
        async with self._parts.database.connect() as tx:
            return await reads.one_asset(tx, self._parts.workspace, asset_id)

    async def _finished(self, asset_id: str) -> Any:
        row = await self._row(asset_id)
        if row.state != AssetState.COMPLETED:
            raise NotFound(f"asset {asset_id}: it has no file, it is {row.state}")
        return row


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _file_name(row: Any, path: Path) -> str:
    """`2026-11-24 16-03 room peer kind.mp4`: what a person looks for among their downloads."""
    words = f"{row.created_at:%Y-%m-%d %H-%M} {row.room_name} {row.peer_name or row.user_id} {row.kind}"
    return "".join(letter for letter in words if letter.isalnum() or letter in " -_.") + path.suffix
