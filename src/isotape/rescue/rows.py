"""The rows of journals whose rows are gone: Session, Peers, Assets and Journals, and a room and template in place of lost ones.

Before it: facts.py. After it: `take_up`, which has the files made. It only adds; a row that is there stays as it is, except that a
recording which turns out to have pictures says so.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from isotape.db import assets, journals, peers, rooms, sessions, templates
from isotape.db.engine import Tx
from isotape.ids import TemplateId, WorkspaceId, made_at, new_object_id
from isotape.model import (
    Asset,
    AssetKind,
    AssetState,
    Journal,
    JournalState,
    Peer,
    PeerState,
    Room,
    Session,
    SessionState,
    StreamRecording,
    Template,
)
from isotape.recording import kind_of
from isotape.rescue.facts import Facts
from isotape.wire import policy

# What stands in for a template that is gone. It records nothing: what it should record, nobody knows.
TEMPLATE_NAME = "recovered"
LEAVE_REASON = "recovered"

_Key = TypeVar("_Key")
_One = TypeVar("_One")


class Rebuilding:
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


def _grouped(pairs: Iterable[tuple[_Key, _One]]) -> Iterable[tuple[_Key, list[_One]]]:
    groups: dict[_Key, list[_One]] = defaultdict(list)
    for key, one in pairs:
        groups[key].append(one)
    return groups.items()
