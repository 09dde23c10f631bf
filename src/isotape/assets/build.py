"""The named steps from sealed journals to a known Asset: plan → render → verify → store → commit, which announces.

Before it: the job that the seal enqueued. After it: the REST API lists the Asset and the webhook tells of it. Each step is the Asset's
state in the database; a job that is run again begins at the plan and comes to the same bytes. Journals are never touched here.
"""

import asyncio
import errno
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from isotape.assets.packets import TrackLog, read
from isotape.assets.plan import Plan, plan
from isotape.assets.render import Rendered, render, working_file
from isotape.assets.sidecar import sidecar, summary
from isotape.assets.verify import verify
from isotape.clock import Clock, to_millis
from isotape.db import assets, journals
from isotape.db.engine import Database, Tx
from isotape.errors import Conflict, IsotapeError, JournalError, KeyTaken
from isotape.events import AssetEvent, StreamRecordingFailed, StreamRecordingSucceeded
from isotape.logs import logger
from isotape.model import Asset, AssetState, Journal
from isotape.storage import Storage

Announce = Callable[[Tx, AssetEvent], Awaitable[None]]

# A full or failing disk, or too many open files: the same job may succeed later.
_PASSING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
_UNSAFE = re.compile(r"[^0-9A-Za-z._-]+")
# Who leaves within a second may not have sent a whole key frame. More than that without a picture or a sound is a failure.
_WORTH_TELLING_S = 1.0
# Names of files may have 255 bytes; part and extension come behind.
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class Places:
    """Where a node keeps what this package works on."""

    data_dir: Path

    @property
    def rendering(self) -> Path:
        return self.data_dir / "rendering"

    def journal(self, journal: Journal) -> Path:
        return self.data_dir / journal.folder


@dataclass(slots=True)
class _Stopwatch:
    """How long each step took, for the log."""

    steps: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        begun = time.monotonic()
        yield
        self.steps[f"{name}_ms"] = round((time.monotonic() - begun) * 1000, 1)


class AssetBuilder:
    """Makes Assets. `build` is what the asset jobs run."""

    def __init__(self, database: Database, storage: Storage, announce: Announce, places: Places, clock: Clock) -> None:
        self._database = database
        self._storage = storage
        self._announce = announce
        self._places = places
        self._clock = clock
        self._log = logger(component="assets")

    async def sweep(self) -> None:
        """Removes what a killed process left half written. Call before the jobs start."""
        await asyncio.to_thread(_empty, self._places.rendering)

    async def build(self, asset_id: str) -> None:
        """Brings an Asset to its end: completed, discarded (nothing in it) or failed. Raises only what may pass, to be run again."""
        asset = await self._load(asset_id)
        if asset.state in (AssetState.COMPLETED, AssetState.DISCARDED):
            return
        try:
            await self._build(asset)
        except Conflict:
            raise
        except Exception as error:  # the supervisor of all steps
            if _may_pass(error):
                raise
            await self._fail(asset_id, error)

    async def _build(self, asset: Asset) -> None:
        watch = _Stopwatch()
        with watch.step("plan"):
            planned, started_ms = await self._plan(asset)
        if planned is None:
            await self._discard(asset)
            return
        asset = await self._advance(asset, AssetState.PLANNED)
        with working_file(self._places.rendering, asset.id, planned.container) as path:
            with watch.step("render"):
                rendered = await asyncio.to_thread(render, planned, path)
            asset = await self._advance(asset, AssetState.RENDERED)
            with watch.step("verify"):
                await asyncio.to_thread(verify, planned, rendered)
            asset = await self._advance(asset, AssetState.VERIFIED)
            with watch.step("store"):
                uri, sidecar_uri = await self._store(asset, planned, rendered, started_ms)
            asset = await self._advance(asset, AssetState.STORED)
        with watch.step("commit"):
            await self._commit(asset, planned, rendered, _Stored(uri, sidecar_uri, started_ms))
        self._log.info("asset completed", asset_id=asset.id, duration_ms=rendered.duration_ms, **watch.steps)

    async def _plan(self, asset: Asset) -> tuple[Plan | None, int]:
        """The plan, and when the session began (ms)."""
        async with self._database.connect() as tx:
            rows = await journals.of_asset(tx, asset.id)
        written = await asyncio.to_thread(lambda: [row for row in rows if row.packets or self._is_written(row)])
        if len(written) < len(rows):
            self._log.warning("journals that were never begun", asset_id=asset.id, journals=len(rows) - len(written))
        return await asyncio.to_thread(_plan, asset, [self._places.journal(row) for row in written])

    def _is_written(self, journal: Journal) -> bool:
        """Whether there is a journal behind the row, which is committed first: a crash or a full disk may have come between."""
        folder = self._places.journal(journal)
        return folder.is_dir() and any(folder.iterdir())

    async def _store(self, asset: Asset, planned: Plan, rendered: Rendered, started_ms: int) -> tuple[str, str]:
        """Stores the file and its sidecar; their URIs.

        A key is never written over. What an earlier build left there, whose bytes another release renders differently, stays;
        this build then takes a key of its own.
        """
        key = storage_key(asset)
        try:
            return await self._put(key, asset, planned, rendered, started_ms)
        except KeyTaken:
            return await self._put(f"{key}-{rendered.sha256[:8]}", asset, planned, rendered, started_ms)

    async def _put(self, key: str, asset: Asset, planned: Plan, rendered: Rendered, started_ms: int) -> tuple[str, str]:
        stored = await self._storage.put(f"{key}.{planned.container}", rendered.path, rendered.sha256)
        text = sidecar(planned, rendered, asset, started_ms)
        with working_file(self._places.rendering, asset.id, "json") as path:
            await asyncio.to_thread(path.write_bytes, text)
            beside = await self._storage.put(f"{key}.json", path, sha256(text).hexdigest())
        return stored.uri, beside.uri

    async def _commit(self, asset: Asset, planned: Plan, rendered: Rendered, stored: "_Stored") -> None:
        """Row and event in one transaction: whoever hears of the Asset can fetch it."""
        facts = summary(planned, rendered, stored.session_started_ms)
        async with self._database.begin() as tx:
            completed = await assets.advance(
                tx,
                asset,
                AssetState.COMPLETED,
                self._clock.now(),
                kind=planned.kind,
                path=stored.uri,
                size_bytes=rendered.size_bytes,
                duration_ms=rendered.duration_ms,
                sha256=rendered.sha256,
                error="",
                metadata={**asset.metadata, **facts, "sidecar": stored.sidecar_uri},
                completed_at=self._clock.now(),
            )
            await self._announce(tx, StreamRecordingSucceeded(completed))

    async def _discard(self, asset: Asset) -> None:
        """Journals without media make no Asset, and nobody is told."""
        if asset.state not in (AssetState.SEALED, AssetState.PLANNED):
            asset = await self._advance(asset, AssetState.PLANNED)
        await self._advance(asset, AssetState.DISCARDED)
        self._log.info("asset discarded: no media", asset_id=asset.id)

    async def _fail(self, asset_id: str, error: Exception) -> None:
        asset = await self._load(asset_id)
        text = error.message if isinstance(error, IsotapeError) else f"{type(error).__name__}: {error}"
        unforeseen = None if isinstance(error, IsotapeError) else error
        self._log.error("asset failed", asset_id=asset_id, state=str(asset.state), error=text, exc_info=unforeseen)
        if asset.state is AssetState.FAILED:
            return
        async with self._database.begin() as tx:
            failed = await assets.advance(tx, asset, AssetState.FAILED, self._clock.now(), error=text)
            await self._announce(tx, StreamRecordingFailed(failed))

    async def _load(self, asset_id: str) -> Asset:
        async with self._database.connect() as tx:
            return await assets.load(tx, asset_id)

    async def _advance(self, asset: Asset, to: AssetState) -> Asset:
        async with self._database.begin() as tx:
            return await assets.advance(tx, asset, to, self._clock.now())


@dataclass(frozen=True, slots=True)
class _Stored:
    uri: str
    sidecar_uri: str
    session_started_ms: int


def _plan(asset: Asset, folders: list[Path]) -> tuple[Plan | None, int]:
    logs = [read(folder) for folder in folders]
    known = [int(log.meta["session_started_ms"]) for log in logs if "session_started_ms" in log.meta]
    planned = plan(logs, asset.kind)
    longest_s = max((_length_s(log) for log in logs), default=0.0)
    if planned is None and longest_s >= _WORTH_TELLING_S:
        raise JournalError(f"asset {asset.id}: {longest_s:.1f} s of packets, of which nothing can be shown or heard")
    return planned, min(known, default=to_millis(asset.created_at))


def _length_s(log: TrackLog) -> float:
    arrivals = log.packets["arrival_ns"]
    return float(arrivals.max() - arrivals.min()) / 1e9 if len(arrivals) else 0.0


def storage_key(asset: Asset) -> str:
    """`room/day/session/peer/stream/stream[-part]`, without extension; made of names that any store takes."""
    stream = _name(asset.stream_id)
    part = f"-{asset.part}" if asset.part > 1 else ""
    day = asset.created_at.strftime("%Y%m%d")
    return "/".join([_name(asset.room_id), day, _name(asset.session_id), _name(asset.peer_id), stream, stream + part])


def _name(text: str) -> str:
    """Clients choose stream ids (Firefox puts braces around them): what is no plain name loses those characters.

    A changed name ends with a few digits of the hash of the given one, so that `{a}` and `a` of one peer stay two files.
    """
    plain = _UNSAFE.sub("", text).lstrip(".-")[:_LONGEST_NAME]
    return plain if plain == text else f"{plain or 'stream'}-{sha256(text.encode()).hexdigest()[:8]}"


def _may_pass(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in _PASSING
    return isinstance(error, IsotapeError) and error.retry


def _empty(folder: Path) -> None:
    if folder.is_dir():
        for left in folder.iterdir():
            left.unlink()
