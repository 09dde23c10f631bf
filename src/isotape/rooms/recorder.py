"""Puts the policy's decisions into rows and journals.

Before it: `Rooms`, which holds the peer's lock. The order is what keeps media safe: rows first, then the engine opens
the journal's folder; and at the end the engine's seal first, then one transaction that seals the rows and enqueues
the job. A crash between any two leaves an open row, which the next start finds. A journal that the disk does not let be
sealed keeps its row open and its Asset waiting, as long as that takes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import exc

from isotape.clock import to_millis
from isotape.db import assets, journals
from isotape.db.engine import Tx
from isotape.engine import JournalPlace, PublishedTrack, SealReport
from isotape.ids import AssetId, JournalId, TrackId, new_object_id, new_uuid
from isotape.logs import logger
from isotape.model import Asset, AssetKind, AssetState, Journal, JournalState, Track
from isotape.recording import Decision, History, OpenAsset, decide
from isotape.rooms.chores import Chores
from isotape.rooms.live import LivePeer, LiveRoom
from isotape.rooms.parts import RoomsParts
from isotape.rooms.restore import Unended
from isotape.rooms.sealing import Sealing, pauses

# Where journals stand below the data folder; settings.journal_root names the same place.
JOURNALS = "journals"

# A database that restarts is back within seconds. Half a minute between attempts is enough for one that is mended by hand.
_WRITE_AGAIN_S = (0.1, 0.5, 2.0, 5.0, 10.0, 30.0)

# What SQLAlchemy raises while a database restarts, is locked, or answers nobody.
_AWAY = (exc.OperationalError, exc.InterfaceError, exc.TimeoutError)

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
    """Journals that are sealed and Assets that are over; not yet in the rows."""

    reports: Mapping[JournalId, SealReport]
    assets: Sequence[AssetId] = ()


class Recorder:
    """Opens and ends the journals and Assets of Peers."""

    def __init__(self, parts: RoomsParts, chores: Chores) -> None:
        self._parts = parts
        self._chores = chores
        # Assets that are over but for a journal whose seal is awaited.
        self._waiting: set[AssetId] = set()

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
        """Makes the decision the peer's state. What it ends is sealed and written meanwhile."""
        decision = beginning.decision
        ended = [peer.journals.pop(track_id) for track_id in decision.ended if track_id in peer.journals]
        peer.assets = decision.assets
        peer.journals.update({track_id: place.id for track_id, place in beginning.places.items()})
        for created in decision.created:
            peer.parts[created.stream_id] = max(created.part, peer.parts.get(created.stream_id, 0))
        if ended or decision.finished:
            over = self._finish(self._sealings(peer, ended, "unpublished"), decision.finished)
            self._chores.spawn(over, f"end of tracks of {peer.id}")

    async def _finish(self, sealings: Sequence[Sealing], over: Sequence[AssetId]) -> Ending:
        ending = await self._seal(sealings, over)
        await self.commit(ending)
        return ending

    async def end(self, peer: LivePeer, reason: str) -> Ending:
        """Seals all of the peer's journals. `record` then makes it so in the rows."""
        sealings = self._sealings(peer, peer.journals.values(), reason)
        over = [asset.id for asset in peer.assets]
        peer.journals.clear()
        peer.assets = ()
        return await self._seal(sealings, over)

    async def end_left_open(self, unended: Unended) -> Mapping[JournalId, SealReport]:
        """After a start: seals the journals of the last run, which this engine does not hold, and ends what is over."""
        if not unended.journals and not unended.assets:
            return {}
        engine, data_dir = self._parts.engine, self._parts.data_dir
        left = [Sealing(engine, journal.id, data_dir / journal.folder, "recovered") for journal in unended.journals]
        return (await self._finish(left, unended.assets)).reports

    async def commit(self, ending: Ending) -> None:
        """`record` in a transaction of its own."""
        await insist(lambda: self._commit(ending))

    async def _commit(self, ending: Ending) -> None:
        async with self._parts.database.begin() as tx:
            await self.record(tx, ending)

    async def record(self, tx: Tx, ending: Ending) -> None:
        """Seals the rows and enqueues the job of each Asset that is over, when all its journals are sealed."""
        now = self._parts.clock.now()
        for journal_id, report in ending.reports.items():
            await journals.seal(tx, journal_id, report.packets, report.size_bytes, now)
        for asset_id in {*ending.assets, *self._waiting}:
            await self._end_asset(tx, asset_id, now)

    async def _end_asset(self, tx: Tx, asset_id: AssetId, now: datetime) -> None:
        asset = await assets.claim(tx, asset_id)
        if asset.state is not AssetState.RECORDING:
            self._waiting.discard(asset_id)
        elif any(journal.state is JournalState.OPEN for journal in await journals.of_asset(tx, asset_id)):
            self._waiting.add(asset_id)
        else:
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

    def _sealings(self, peer: LivePeer, ids: Iterable[JournalId], reason: str) -> Sequence[Sealing]:
        root = self._parts.data_dir / JOURNALS / peer.peer.session_id
        return [Sealing(self._parts.engine, journal_id, root / journal_id, reason) for journal_id in ids]

    async def _seal(self, sealings: Sequence[Sealing], over: Sequence[AssetId]) -> Ending:
        """The journals that the first attempt sealed; the others are attempted again until it works."""
        attempts = await asyncio.gather(*(sealing.attempt() for sealing in sealings))
        reports: dict[JournalId, SealReport] = {}
        for sealing, report in zip(sealings, attempts, strict=True):
            if report is None:
                self._chores.spawn(self._seal_late(sealing), f"seal of {sealing.journal}")
            else:
                reports[sealing.journal] = report
        return Ending(reports, over)

    async def _seal_late(self, sealing: Sealing) -> None:
        await self.commit(Ending({sealing.journal: await sealing.insist()}))

    def _place(self, room: LiveRoom, peer: LivePeer, journal: Journal, asset: OpenAsset) -> JournalPlace:
        folder = (self._parts.data_dir / journal.folder).absolute()
        return JournalPlace(journal.id, folder, _meta(room, peer, journal, asset))


async def insist(write: Callable[[], Awaitable[None]]) -> None:
    """Runs a transaction until the database takes it: the media is sealed, only its rows are not written yet.

    Only a stop of the server ends this; then the next start finds and ends what the rows say is open.
    """
    for pause_s in pauses(_WRITE_AGAIN_S):
        try:
            await write()
            return
        except _AWAY as error:
            log.error("rows of an end not written, trying again", error=str(error), pause_s=pause_s)
            await asyncio.sleep(pause_s)


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
