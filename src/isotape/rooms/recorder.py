"""Puts the policy's decisions into rows and journals.

Before it: `Rooms`, which holds the peer's lock. The order is what keeps media safe: rows first, then the engine opens
the journal's folder; and at the end the engine's seal first, then one transaction that seals the rows and enqueues
the job. A crash between any two leaves an open row, which the next start finds.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.exc import OperationalError

from isotape.clock import to_millis
from isotape.db import assets, journals
from isotape.db.engine import Tx
from isotape.engine import JournalPlace, PublishedTrack, SealReport
from isotape.errors import EngineError, Unavailable
from isotape.ids import AssetId, JournalId, TrackId, new_object_id, new_uuid
from isotape.logs import logger
from isotape.model import Asset, AssetKind, AssetState, Journal, JournalState, Track
from isotape.recording import Decision, History, OpenAsset, decide
from isotape.rooms.live import LivePeer, LiveRoom
from isotape.rooms.parts import RoomsParts

# Where journals stand below the data folder; settings.journal_root names the same place.
JOURNALS = "journals"

# A database that restarts is back within seconds; a stop of this server must not wait longer than its supervisor does.
_WRITE_AGAIN_S = (0.1, 0.5, 2.0, 5.0)

log = logger(part="rooms")


@dataclass(frozen=True, slots=True)
class Beginning:
    """An offer's decision with the places of its new journals; committed as rows, not yet in the engine."""

    decision: Decision
    places: Mapping[TrackId, JournalPlace]

    def published(self, tracks: Sequence[Track]) -> list[PublishedTrack]:
        """The tracks as the engine wants them: those that begin with their journal."""
        return [PublishedTrack(track, self.places.get(track.track_id)) for track in tracks]


@dataclass(frozen=True, slots=True)
class Ending:
    """Journals that the engine has sealed and Assets that are over; not yet in the rows."""

    reports: Mapping[JournalId, SealReport]
    assets: Sequence[AssetId] = ()


class Recorder:
    """Opens and ends the journals and Assets of Peers."""

    def __init__(self, parts: RoomsParts) -> None:
        self._parts = parts

    async def begin(self, room: LiveRoom, peer: LivePeer, tracks: Sequence[Track]) -> Beginning:
        """Decides about an offer and commits the rows of what begins. An unrecorded Session begins nothing."""
        recorded = tracks if room.is_recording else ()
        history = History(lambda: AssetId(new_object_id()), peer.parts, peer.is_renewing)
        decision = decide(peer.assets, recorded, history)
        now = self._parts.clock.now()
        opened = [_journal(room, peer, track, asset_id, now) for track, asset_id in decision.begun]
        if opened or decision.promoted:
            async with self._parts.database.begin() as tx:
                await self._insert(tx, room, peer, decision, opened)
        by_id = {asset.id: asset for asset in decision.assets}
        places = {
            journal.track.track_id: self._place(room, peer, journal, by_id[journal.asset_id]) for journal in opened
        }
        return Beginning(decision, places)

    async def take_back(self, beginning: Beginning) -> None:
        """Removes the rows of an offer that the engine refused: nothing of it was ever opened."""
        if not beginning.places:
            return
        async with self._parts.database.begin() as tx:
            await journals.forget(tx, [place.id for place in beginning.places.values()])
            await assets.forget(tx, [asset.id for asset in beginning.decision.created])

    async def adopt(self, peer: LivePeer, beginning: Beginning) -> None:
        """Makes the decision the peer's state, and ends what it ends."""
        decision = beginning.decision
        ended = [peer.journals.pop(track_id) for track_id in decision.ended if track_id in peer.journals]
        peer.assets = decision.assets
        peer.journals.update({track_id: place.id for track_id, place in beginning.places.items()})
        for created in decision.created:
            peer.parts[created.stream_id] = max(created.part, peer.parts.get(created.stream_id, 0))
        if ended or decision.finished:
            await self.commit(await self._seal(ended, "unpublished", decision.finished))

    async def end(self, peer: LivePeer, reason: str) -> Ending:
        """Seals all of the peer's journals in the engine. `record` then makes it so in the rows."""
        ending = await self._seal(tuple(peer.journals.values()), reason, [asset.id for asset in peer.assets])
        peer.journals.clear()
        peer.assets = ()
        return ending

    async def commit(self, ending: Ending) -> None:
        """`record` in a transaction of its own."""
        await insist(lambda: self._commit(ending))

    async def _commit(self, ending: Ending) -> None:
        async with self._parts.database.begin() as tx:
            await self.record(tx, ending)

    async def record(self, tx: Tx, ending: Ending) -> None:
        """Seals the rows and enqueues the job of each Asset that is over."""
        now = self._parts.clock.now()
        for journal_id, report in ending.reports.items():
            await journals.seal(tx, journal_id, report.packets, report.size_bytes, now)
        for asset_id in ending.assets:
            asset = await assets.load(tx, asset_id)
            if asset.state is AssetState.RECORDING:
                await assets.advance(tx, asset, AssetState.SEALED, now)
                await self._parts.jobs.enqueue_asset(tx, asset_id)

    async def _insert(
        self, tx: Tx, room: LiveRoom, peer: LivePeer, decision: Decision, opened: Iterable[Journal]
    ) -> None:
        for created in decision.created:
            await assets.insert(tx, _asset(room, peer, created, self._parts.clock.now()))
        for promoted in decision.promoted:
            await assets.set_kind(tx, promoted, AssetKind.REGULAR)
        for journal in opened:
            await journals.insert(tx, journal)

    async def _seal(self, ids: Iterable[JournalId], reason: str, over: Sequence[AssetId]) -> Ending:
        ids = tuple(ids)
        reports = await asyncio.gather(*(self._seal_one(journal_id, reason) for journal_id in ids))
        return Ending(dict(zip(ids, reports, strict=True)), over)

    async def _seal_one(self, journal_id: JournalId, reason: str) -> SealReport:
        try:
            report = await self._parts.engine.seal(journal_id, reason)
            if report.failure or report.lost_to_queue:
                log.error(
                    "journal lacks packets", journal=journal_id, lost=report.lost_to_queue, error=report.failure or ""
                )
            return report
        except (EngineError, Unavailable) as error:
            # What reached the disk is there; the Asset's plan reads the folder, not these counts.
            log.error("journal not sealed by the engine", journal=journal_id, error=error.message)
            return SealReport(0, 0, None, None, 0)

    def _place(self, room: LiveRoom, peer: LivePeer, journal: Journal, asset: OpenAsset) -> JournalPlace:
        folder = (self._parts.data_dir / journal.folder).absolute()
        return JournalPlace(journal.id, folder, _meta(room, peer, journal, asset))


async def insist(write: Callable[[], Awaitable[None]]) -> None:
    """Runs a transaction again while the database is away: the media is sealed, only its rows are not written yet.

    When it stays away the rows stay as they are, and the next start finds and ends what they say is open.
    """
    for pause_s in _WRITE_AGAIN_S:
        try:
            return await write()
        except OperationalError as error:
            log.error("rows of an end not written, trying again", error=str(error.orig), pause_s=pause_s)
            await asyncio.sleep(pause_s)
    return await write()


def _journal(room: LiveRoom, peer: LivePeer, track: Track, asset_id: AssetId, now: datetime) -> Journal:
    journal_id = JournalId(new_uuid())
    return Journal(
        id=journal_id,
        session_id=room.session.id,
        peer_id=peer.id,
        asset_id=asset_id,
        track=track,
        folder=f"{JOURNALS}/{room.session.id}/{journal_id}",
        state=JournalState.OPEN,
        opened_at=now,
    )


def _asset(room: LiveRoom, peer: LivePeer, created: OpenAsset, now: datetime) -> Asset:
    return Asset(
        id=created.id,
        workspace_id=room.session.workspace_id,
        room_id=room.room.id,
        session_id=room.session.id,
        job_id=room.session.job_id,
        peer_id=peer.id,
        user_id=peer.peer.user_id,
        stream_id=created.stream_id,
        kind=created.kind,
        state=AssetState.RECORDING,
        created_at=now,
        part=created.part,
        metadata={"name": peer.peer.name, "role": peer.peer.role},
    )


def _meta(room: LiveRoom, peer: LivePeer, journal: Journal, asset: OpenAsset) -> dict[str, object]:
    """Enough to rebuild every row from the journals alone."""
    return {
        "workspace_id": room.session.workspace_id,
        "room_id": room.room.id,
        "session_id": room.session.id,
        "job_id": room.session.job_id,
        "asset_id": asset.id,
        "peer_id": peer.id,
        "user_id": peer.peer.user_id,
        "name": peer.peer.name,
        "role": peer.peer.role,
        "track_id": journal.track.track_id,
        "stream_id": asset.stream_id,
        "kind": journal.track.kind.value,
        "source": journal.track.source,
        "session_started_ms": to_millis(room.session.created_at),
        "part": asset.part,
    }
