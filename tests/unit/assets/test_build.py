"""From a sealed Asset's rows and journals to a completed one with its event, or to a failure that keeps everything. Real parts."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select

from isotape.assets import build
from isotape.assets.build import AssetBuilder, Places, storage_key
from isotape.assets.retention import Reaper
from isotape.clock import SystemClock, from_millis
from isotape.db import assets, journals, sessions
from isotape.db.engine import Database, open_database
from isotape.db.tables import events, rooms, templates, workspaces
from isotape.errors import StorageError
from isotape.events import Account, Events
from isotape.ids import JobId, JournalId, RoomId, SessionId, StreamId, TemplateId, TrackId, WorkspaceId
from isotape.model import (
    Asset,
    AssetState,
    Journal,
    JournalState,
    MediaKind,
    Session,
    SessionState,
    StreamRecording,
    Track,
)
from isotape.storage import StoredObject
from isotape.storage.local import LocalStorage
from isotape.storage.signed_url import UrlSigner
from tests.kit.made_file import an_asset
from tests.kit.recorded_call import EPOCH_NS, Source, audio, record, video

pytestmark = pytest.mark.anyio

NOW = from_millis(EPOCH_NS // 1_000_000)


class NoJobs:
    """There are no endpoints here, so nothing is ever enqueued."""

    async def enqueue_delivery(self, tx: Any, delivery_id: str, delay_s: float = 0, *, attempt: int = 1) -> None:
        raise AssertionError(delivery_id)


@dataclass
class Node:
    """What an Asset needs around it."""

    folder: Path
    database: Database
    storage: LocalStorage
    builder: AssetBuilder
    events: Events

    async def seal(self, *sources: Source) -> Asset:
        """Journals on disk and rows as rooms.py leaves them."""
        asset = an_asset()
        async with self.database.begin() as tx:
            await assets.insert(tx, asset)
            for number, source in enumerate(sources):
                row = a_journal(asset, number, source)
                record(self.folder / row.folder, source)
                await journals.insert(tx, row)
        return asset

    async def load(self, asset: Asset) -> Asset:
        async with self.database.connect() as tx:
            return await assets.load(tx, asset.id)

    async def told(self) -> list[dict[str, Any]]:
        async with self.database.connect() as tx:
            return [json.loads(row.body) for row in await tx.execute(select(events.c.body).order_by(events.c.sequence))]

    @property
    def leftovers(self) -> list[Path]:
        return list((self.folder / "rendering").glob("*"))


def a_journal(asset: Asset, number: int, source: Source) -> Journal:
    journal_id = f"journal-{number}"
    return Journal(
        id=JournalId(journal_id),
        session_id=asset.session_id,
        peer_id=asset.peer_id,
        asset_id=asset.id,
        track=Track(TrackId(f"track-{number}"), StreamId(asset.stream_id), MediaKind(source.kind), "regular"),
        folder=f"journals/{asset.session_id}/{journal_id}",
        state=JournalState.SEALED,
        opened_at=NOW,
        packets=len(source.sent),
    )


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    database = open_database(f"sqlite+aiosqlite:///{tmp_path / 'isotape.db'}")
    await database.create_tables()
    await fill(database)
    clock = SystemClock()
    storage = LocalStorage(tmp_path / "assets", UrlSigner("secret", "http://node", clock))
    told = Events(NoJobs(), storage, clock, Account(WorkspaceId("w" * 24), "app"), endpoints=())
    builder = AssetBuilder(database, storage, told.append, Places(tmp_path), clock)
    yield Node(tmp_path, database, storage, builder, told)
    await database.close()


async def fill(database: Database) -> None:
    """The rows that an Asset's row points at."""
    asset = an_asset()
    workspace, template = asset.workspace_id, "7" * 24
    async with database.begin() as tx:
        at = {"created_at": NOW, "updated_at": NOW}
        await tx.execute(
            insert(workspaces).values(id=workspace, app_id="app", name="w", access_key="k", created_at=NOW)
        )
        shape = {"roles": {}, "settings": {}, "destinations": {}, "plugins": {}, "recordings": []}
        await tx.execute(insert(templates).values(id=template, workspace_id=workspace, name="t", **shape, **at))
        await tx.execute(
            insert(rooms).values(
                id=asset.room_id, workspace_id=workspace, template_id=template, name="r", options={}, **at
            )
        )
        session = Session(
            id=SessionId(asset.session_id),
            workspace_id=workspace,
            room_id=RoomId(asset.room_id),
            template_id=TemplateId(template),
            job_id=JobId(asset.job_id),
            state=SessionState.CLOSED,
            recording=StreamRecording(enabled=True),
            created_at=NOW,
        )
        await sessions.insert(tx, session)


async def test_a_sealed_asset_becomes_a_known_file_and_is_told_once(node: Node) -> None:
    asset = await node.seal(audio(0, 3), video("H264", 0, 3))
    await node.builder.build(asset.id)
    await node.builder.build(asset.id)

    done = await node.load(asset)
    assert done.state is AssetState.COMPLETED
    path = await node.storage.local_path(done.path)
    assert path is not None
    assert hashlib.sha256(path.read_bytes()).hexdigest() == done.sha256
    assert path.stat().st_size == done.size_bytes
    assert abs(done.duration_ms - 3_000) <= 100
    assert path.name.startswith("stream-1-")
    assert done.metadata["codec"] == {"audio": "opus", "video": "H264"}
    assert done.metadata["resolution"] == {"width": 320, "height": 180}
    assert done.metadata["name"] == "Ada"
    assert 0 <= done.metadata["offset_ms"] < 100
    beside = await node.storage.local_path(done.metadata["sidecar"])
    assert beside == path.with_suffix(".json")
    assert json.loads(beside.read_text())["file"]["sha256"] == done.sha256
    [event] = await node.told()
    assert event["type"] == "stream.recording.success"
    assert event["data"]["asset_id"] == asset.id
    assert node.leftovers == []


async def test_a_build_that_was_cut_off_at_any_step_ends_the_same(node: Node) -> None:
    asset = await node.seal(audio(0, 3))
    current = asset
    for state in (AssetState.PLANNED, AssetState.RENDERED, AssetState.VERIFIED, AssetState.STORED):
        async with node.database.begin() as tx:
            current = await assets.advance(tx, current, state, NOW)
    (node.folder / "rendering").mkdir()
    (node.folder / "rendering" / f"{asset.id}-dead.mp4").write_bytes(b"half a file")
    await node.builder.sweep()
    await node.builder.build(asset.id)
    assert (await node.load(asset)).state is AssetState.COMPLETED
    assert node.leftovers == []


async def test_a_build_killed_after_storing_stores_the_same_bytes_again(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset = await node.seal(audio(0, 3), video("VP8", 1, 2))

    async def die(*_args: object) -> None:
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setattr(node.builder, "_commit", die)
        with pytest.raises(asyncio.CancelledError):
            await node.builder.build(asset.id)
    assert (await node.load(asset)).state is AssetState.STORED
    await node.builder.build(asset.id)
    assert (await node.load(asset)).state is AssetState.COMPLETED


async def test_what_another_release_stored_stays_and_the_asset_is_finished_beside_it(node: Node) -> None:
    asset = await node.seal(audio(0, 3))
    earlier = node.folder / "earlier.mp4"
    earlier.write_bytes(b"other bytes of the same recording")
    digest = hashlib.sha256(earlier.read_bytes()).hexdigest()
    left = await node.storage.put(f"{storage_key(asset)}.mp4", earlier, digest)
    await node.builder.build(asset.id)
    done = await node.load(asset)
    assert done.state is AssetState.COMPLETED
    assert done.path != left.uri
    assert await node.storage.size(left.uri) == len(earlier.read_bytes())


async def test_a_journal_without_media_is_discarded_and_nobody_is_told(node: Node) -> None:
    silent = audio(0, 1)
    asset = await node.seal(silent)
    # An index without a packet: the journal as it is when a track was announced and never sent.
    folder = node.folder / f"journals/{asset.session_id}/journal-0"
    (folder / "00000001.seg").unlink()
    folder.rmdir()
    silent.sent = []
    record(folder, silent)
    await node.builder.build(asset.id)
    assert (await node.load(asset)).state is AssetState.DISCARDED
    assert await node.told() == []


async def test_a_missing_journal_fails_the_asset_by_name_and_tells_it(node: Node) -> None:
    asset = await node.seal(audio(0, 1), video("H264", 0, 1))
    lost = node.folder / f"journals/{asset.session_id}/journal-1"
    (lost / "00000001.seg").unlink()
    lost.rmdir()
    await node.builder.build(asset.id)
    failed = await node.load(asset)
    assert failed.state is AssetState.FAILED
    assert "journal-1" in failed.error
    [event] = await node.told()
    assert event["type"] == "stream.recording.failure"
    assert (node.folder / f"journals/{asset.session_id}/journal-0").is_dir()


async def test_a_journal_that_was_never_begun_costs_nothing_of_the_others(node: Node) -> None:
    """Its row is committed before its folder is made, and the process may be killed in between."""
    asset = await node.seal(audio(0, 1))
    async with node.database.begin() as tx:
        await journals.insert(tx, replace(a_journal(asset, 1, audio(0, 1)), packets=0))
        begun = replace(a_journal(asset, 2, audio(0, 1)), packets=0)
        await journals.insert(tx, begun)
    (node.folder / begun.folder).mkdir()
    await node.builder.build(asset.id)
    made = await node.load(asset)
    assert made.state is AssetState.COMPLETED


async def test_media_that_nobody_can_play_is_a_failure_and_not_thrown_away(node: Node) -> None:
    without_key_frame = video("H264", 0, 3)
    without_key_frame.sent = [one for one in without_key_frame.sent if b"\x00\x00\x01\x65" not in one.data]
    asset = await node.seal(without_key_frame)
    await node.builder.build(asset.id)
    failed = await node.load(asset)
    assert failed.state is AssetState.FAILED
    assert "nothing can be shown" in failed.error


async def test_a_store_that_is_away_leaves_the_asset_to_a_later_try(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset = await node.seal(audio(0, 1))

    async def away(key: str, _file: Path, _sha256: str) -> StoredObject:
        raise StorageError(f"store: {key}: no answer")

    with monkeypatch.context() as patch:
        patch.setattr(node.storage, "put", away)
        with pytest.raises(StorageError):
            await node.builder.build(asset.id)
    assert await node.told() == []
    assert node.leftovers == []
    await node.builder.build(asset.id)
    assert (await node.load(asset)).state is AssetState.COMPLETED


async def test_a_file_that_is_not_what_was_written_never_leaves_the_node(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset = await node.seal(audio(0, 1))
    written = build.render

    def flipping(plan: Any, path: Path) -> Any:
        rendered = written(plan, path)
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        return rendered

    monkeypatch.setattr(build, "render", flipping)
    await node.builder.build(asset.id)
    failed = await node.load(asset)
    assert failed.state is AssetState.FAILED
    assert "sha256" in failed.error
    assert not (node.folder / "assets").exists()


def test_stream_ids_of_any_browser_are_plain_names_in_the_store() -> None:
    key = storage_key(an_asset())
    assert "{" not in key
    assert key.split("/")[-1].startswith("stream-1-")
    climbing = storage_key(replace(an_asset(), stream_id=StreamId("../../etc/x"), part=2))
    assert ".." not in climbing
    assert climbing.split("/")[-1].startswith("etcx-")
    assert climbing.endswith("-2")
    plain = storage_key(replace(an_asset(), stream_id=StreamId("stream-1")))
    assert plain.split("/")[-2:] == ["stream-1", "stream-1"]


async def test_journals_stay_for_their_retention_and_then_only_those_of_completed_assets_go(node: Node) -> None:
    asset = await node.seal(audio(0, 1))
    folder = node.folder / f"journals/{asset.session_id}/journal-0"
    stranger = node.folder / "journals/stranger/unknown"
    stranger.mkdir(parents=True)
    reaper = Reaper(node.database, node.folder, retention_h=0, clock=SystemClock())
    assert await reaper.reap() == 0
    await node.builder.build(asset.id)
    patient = Reaper(
        node.database, node.folder, retention_h=timedelta(days=1).total_seconds() / 3600, clock=SystemClock()
    )
    assert await patient.reap() == 0
    assert folder.is_dir()
    assert await reaper.reap() == 1
    assert not folder.parent.exists()
    assert stranger.is_dir()
