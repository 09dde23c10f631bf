"""Writes the rows of journals that the database does not know: it was lost, or an older copy of it was put back.

Before it: the journals, whose first record names everything a row needs. After it: `take_up` at the next start, which has the files
made. Stored files are made again to the same bytes under the same key, so none is doubled. Nothing is deleted here and no row that is
there is changed, except that a recording which turns out to have pictures says so.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Container, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

from isotape import journal
from isotape.assets.packets import read
from isotape.clock import from_millis
from isotape.db import assets, journals, peers, rooms, sessions, templates
from isotape.db.engine import Database, Tx
from isotape.errors import JournalError
from isotape.ids import (
    AssetId,
    JobId,
    JournalId,
    PeerId,
    RoomId,
    SessionId,
    StreamId,
    TemplateId,
    TrackId,
    WorkspaceId,
    is_object_id,
    made_at,
    new_object_id,
)
from isotape.model import (
    Asset,
    AssetKind,
    AssetState,
    Journal,
    JournalState,
    MediaKind,
    Peer,
    PeerState,
    Room,
    Session,
    SessionState,
    StreamRecording,
    Template,
    Track,
)
from isotape.recording import kind_of
from isotape.wire import policy

# What stands in for a template that is gone. It records nothing: what it should record, nobody knows.
TEMPLATE_NAME = "recovered"
LEAVE_REASON = "recovered"

_Key = TypeVar("_Key")
_One = TypeVar("_One")


class Outcome(StrEnum):
    """What became of one journal."""

    KNOWN = "known to the database"
    REBUILT = "rows written again"
    FOREIGN = "of another workspace, no rows written"
    UNREADABLE = "unreadable, left alone"


@dataclass(frozen=True, slots=True)
class Finding:
    """One journal. note: what else a person wants to know."""

    folder: Path
    outcome: Outcome
    note: str


@dataclass(frozen=True, slots=True)
class Facts:
    """A journal with the facts of its first record. begun and ended are its first and last arrival, the session's start without any."""

    folder: Path
    journal_id: JournalId
    workspace_id: WorkspaceId
    room_id: RoomId
    session_id: SessionId
    job_id: JobId
    asset_id: AssetId
    peer_id: PeerId
    user_id: str
    name: str
    role: str
    track: Track
    part: int
    session_started: datetime
    note: str
    begun: datetime
    ended: datetime
    packets: int = 0

    @classmethod
    def of(cls, found: journal.RecoveredJournal) -> Self:
        """JournalError when the record lacks one of them."""
        meta, folder = found.meta, found.folder
        try:
            started = from_millis(int(meta["session_started_ms"]))
            facts = cls(
                folder=folder,
                journal_id=JournalId(folder.name),
                workspace_id=WorkspaceId(_object_id(meta, "workspace_id")),
                room_id=RoomId(_object_id(meta, "room_id")),
                session_id=SessionId(_object_id(meta, "session_id")),
                job_id=JobId(_object_id(meta, "job_id")),
                asset_id=AssetId(_object_id(meta, "asset_id")),
                peer_id=PeerId(str(meta["peer_id"])),
                user_id=str(meta["user_id"]),
                name=str(meta["name"]),
                role=str(meta["role"]),
                track=_track(meta),
                part=int(meta["part"]),
                session_started=started,
                note=_note(found),
                begun=started,
                ended=started,
            )
        except KeyError as error:
            raise JournalError(f"its first record names no {error.args[0]}") from error
        except (ValueError, TypeError) as error:
            raise JournalError(f"its first record: {error}") from error
        if facts.session_id != folder.parent.name:
            raise JournalError(f"its first record is of session {facts.session_id}")
        return facts


class _Queue(Protocol):
    async def next_attempts(self, asset_ids: Sequence[str]) -> dict[str, int]: ...
    async def enqueue_asset(self, tx: Tx, asset_id: str, *, attempt: int = 1) -> None: ...


async def take_up(database: Database, jobs: _Queue) -> int:
    """Gives every Asset on its way to a file a job, unless one is waiting or running; how many got one. For the start of a node."""
    async with database.connect() as tx:
        unfinished = await assets.in_states(tx, assets.UNFINISHED - {AssetState.RECORDING})
    attempts = await jobs.next_attempts([asset.id for asset in unfinished])
    if attempts:
        async with database.begin() as tx:
            for asset_id, attempt in attempts.items():
                await jobs.enqueue_asset(tx, asset_id, attempt=attempt)
    return len(attempts)


async def rescue(database: Database, data_dir: Path, workspace: WorkspaceId, now: datetime) -> AsyncIterator[Finding]:
    """Seals every open journal and writes the rows of those without, one transaction a session. The workspace's row must be there."""
    for session, folders in groupby(journal.find(data_dir / "journals"), key=lambda folder: folder.parent.name):
        async with database.connect() as tx:
            known = {str(row.id) for row in await journals.of_session(tx, SessionId(session))}
        missing: list[Facts] = []
        for folder in folders:
            found = _examine(folder, workspace, known)
            if isinstance(found, Facts):
                missing.append(found)
            else:
                yield found
        if missing:
            # As opened: an Asset's first journal says what its peer was called when it began.
            missing.sort(key=lambda facts: (facts.begun, facts.journal_id))
            async with database.begin() as tx:
                await _Rebuilding(tx, data_dir, now).write(missing)
        for facts in missing:
            yield Finding(facts.folder, Outcome.REBUILT, facts.note)


def _examine(folder: Path, workspace: WorkspaceId, known: Container[str]) -> Facts | Finding:
    """Seals the journal; its facts when its rows are to be written."""
    try:
        found = journal.recover(folder)
        if folder.name in known:
            return Finding(folder, Outcome.KNOWN, _note(found))
        facts = Facts.of(found)
        if facts.workspace_id != workspace:
            return Finding(folder, Outcome.FOREIGN, f"workspace {facts.workspace_id}")
        return _timed(facts)
    except JournalError as error:
        return Finding(folder, Outcome.UNREADABLE, error.message)


class _Rebuilding:
    """The rows of one Session's journals, parents first, in one transaction."""

    def __init__(self, tx: Tx, data_dir: Path, now: datetime) -> None:
        self._tx = tx
        self._data_dir = data_dir
        self._now = now

    async def write(self, missing: Sequence[Facts]) -> None:
        """What stands below a Journal's row and is missing too is written before it."""
        await self._session(missing)
        await self._peers(missing)
        await self._assets(missing)
        for facts in missing:
            await journals.insert(self._tx, self._journal(facts))

    async def _session(self, missing: Sequence[Facts]) -> None:
        first = missing[0]
        if await sessions.get(self._tx, first.workspace_id, first.session_id) is not None:
            return
        room = await rooms.find(self._tx, first.workspace_id, first.room_id) or await self._room(first)
        session = Session(
            id=first.session_id,
            workspace_id=first.workspace_id,
            room_id=room.id,
            template_id=room.template_id,
            job_id=first.job_id,
            state=SessionState.CLOSED,
            recording=StreamRecording(enabled=True),
            created_at=first.session_started,
            ended_at=max(facts.ended for facts in missing),
        )
        await sessions.insert(self._tx, session)

    async def _room(self, facts: Facts) -> Room:
        """A room in place of the lost one. It is disabled: a call in it would not be recorded, and nobody would notice."""
        template = await templates.find_named(self._tx, facts.workspace_id, TEMPLATE_NAME)
        room = Room(
            id=facts.room_id,
            workspace_id=facts.workspace_id,
            template_id=template.id if template else await self._template(facts.workspace_id),
            name=f"recovered-{facts.room_id}",
            description="Written again from its journals",
            enabled=False,
            options={},
            created_at=made_at(facts.room_id),
            updated_at=self._now,
        )
        await rooms.insert(self._tx, room)
        return room

    async def _template(self, workspace: WorkspaceId) -> TemplateId:
        template = Template(
            id=TemplateId(new_object_id()),
            workspace_id=workspace,
            name=TEMPLATE_NAME,
            roles=policy.default_roles(),
            settings={},
            destinations={},
            plugins={},
            recordings=(),
            created_at=self._now,
            updated_at=self._now,
        )
        await templates.insert(self._tx, template)
        return template.id

    async def _peers(self, missing: Sequence[Facts]) -> None:
        known = {peer.id for peer in await peers.of_sessions(self._tx, [missing[0].session_id])}
        for peer_id, own in _grouped((facts.peer_id, facts) for facts in missing):
            if peer_id in known:
                continue
            first = own[0]
            peer = Peer(
                id=first.peer_id,
                session_id=first.session_id,
                user_id=first.user_id,
                name=first.name,
                role=first.role,
                metadata="",
                state=PeerState.LEFT,
                joined_at=first.begun,
                left_at=max(facts.ended for facts in own),
            )
            await peers.insert(self._tx, peer, token_id="")
            await peers.leave(self._tx, peer, LEAVE_REASON, peer.left_at or self._now)

    async def _assets(self, missing: Sequence[Facts]) -> None:
        known = {
            asset.id for asset in await assets.of_session(self._tx, missing[0].workspace_id, missing[0].session_id)
        }
        for asset_id, own in _grouped((facts.asset_id, facts) for facts in missing):
            kind = _kind(own)
            if asset_id not in known:
                await assets.insert(self._tx, _asset(own[0], kind))
            elif kind is AssetKind.REGULAR:
                await assets.set_kind(self._tx, asset_id, kind)

    def _journal(self, facts: Facts) -> Journal:
        return Journal(
            id=facts.journal_id,
            session_id=facts.session_id,
            peer_id=facts.peer_id,
            asset_id=facts.asset_id,
            track=facts.track,
            folder=str(facts.folder.relative_to(self._data_dir)),
            state=JournalState.SEALED,
            opened_at=facts.begun,
            sealed_at=facts.ended,
            packets=facts.packets,
            size_bytes=sum(segment.stat().st_size for segment in facts.folder.glob("*.seg")),
        )


def _asset(first: Facts, kind: AssetKind) -> Asset:
    """Its id tells when it was made, and so the day in the key of its file."""
    return Asset(
        id=first.asset_id,
        workspace_id=first.workspace_id,
        room_id=first.room_id,
        session_id=first.session_id,
        job_id=first.job_id,
        peer_id=first.peer_id,
        user_id=first.user_id,
        stream_id=first.track.stream_id,
        kind=kind,
        state=AssetState.SEALED,
        created_at=made_at(first.asset_id),
        part=first.part,
        metadata={"name": first.name, "role": first.role},
    )


def _kind(own: Iterable[Facts]) -> AssetKind:
    """A microphone alone is audio; with one picture among its tracks it is not."""
    kinds = {kind_of(facts.track) for facts in own}
    return next(kind for kind in (AssetKind.SCREEN, AssetKind.REGULAR, AssetKind.AUDIO) if kind in kinds)


def _timed(facts: Facts) -> Facts:
    """With the times and the number of its packets, for which the whole journal is read."""
    packets = read(facts.folder).packets
    if not len(packets):
        return facts
    arrivals = packets["arrival_ns"] // 1_000_000
    begun, ended = from_millis(int(arrivals.min())), from_millis(int(arrivals.max()))
    return replace(facts, begun=begun, ended=ended, packets=len(packets))


def _grouped(pairs: Iterable[tuple[_Key, _One]]) -> Iterable[tuple[_Key, list[_One]]]:
    groups: dict[_Key, list[_One]] = defaultdict(list)
    for key, one in pairs:
        groups[key].append(one)
    return groups.items()


def _note(found: journal.RecoveredJournal) -> str:
    meta = found.meta
    sealing = "" if found.was_sealed else f", sealed now, {found.torn_bytes} torn bytes cut"
    return f"peer {meta.get('peer_id')} {meta.get('name')!r}, {meta.get('source')} {meta.get('kind')}{sealing}"


def _object_id(meta: dict[str, Any], name: str) -> str:
    text = str(meta[name])
    if not is_object_id(text):
        raise ValueError(f"{name} {text!r} is no id")
    return text


def _track(meta: dict[str, Any]) -> Track:
    return Track(
        TrackId(str(meta["track_id"])), StreamId(str(meta["stream_id"])), MediaKind(meta["kind"]), str(meta["source"])
    )
