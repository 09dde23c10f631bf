"""A lost or older database loses no recording: `isotape recover` writes the rows again, the next start makes the files."""

import asyncio
import shutil
import sqlite3
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from isotape.auth.credentials import load_or_make
from isotape.folder_lock import hold
from isotape.ids import new_object_id, new_uuid
from tests.kit.node import Json, Node, running_node
from tests.kit.publisher import Publishing, running_publisher, sending_peer, write_clip
from tests.kit.recorded_call import EPOCH_NS, Source, audio, beeping, flashing, record, video
from tests.kit.until import until

pytestmark = pytest.mark.anyio

_PROGRAM = Path(sys.executable).with_name("isotape")
_SECONDS = 2.0


@dataclass(frozen=True)
class Said:
    """What a run of `isotape recover` left behind."""

    code: int
    lines: Sequence[str]
    error: str


async def recover(folder: Path) -> Said:
    """Runs it as an operator does."""
    process = await asyncio.create_subprocess_exec(
        _PROGRAM,
        "recover",
        "--data-dir",
        str(folder),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await process.communicate()
    return Said(process.returncode or 0, out.decode().splitlines(), error.decode())


def lose_database(folder: Path) -> None:
    for file in folder.glob("isotape.db*"):
        file.unlink()


def rows(folder: Path, query: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(folder / "isotape.db") as database:
        found = database.execute(query).fetchall()
    database.close()
    return found


def all_rows(folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    tables = ("templates", "rooms", "sessions", "peers", "assets", "journals", "events")
    return {table: rows(folder, f"SELECT * FROM {table} ORDER BY 1, 2") for table in tables}


def stored(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file of the store: a file that was written anew has another inode or time."""
    files = [path for path in (folder / "assets").rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


async def listed(node: Node, count: int) -> list[Json]:
    """Every asset of the workspace once `count` of them ended, in order of creation."""

    async def ended() -> list[Json] | None:
        found = (await node.get("/recording-assets?asset_type=stream&limit=100"))["data"] or []
        return found if len(found) >= count else None

    assets: list[Json] = await until(ended, 30)
    assert [asset["status"] for asset in assets] == ["completed"] * count
    return sorted(assets, key=lambda asset: str(asset["id"]))


def known_by(asset: Json) -> dict[str, Any]:
    """What a customer knows an asset by."""
    named = ("id", "room_id", "session_id", "job_id", "path", "size", "duration")
    facts = ("stream_type", "peer_id", "user_id", "stream_id", "name", "role", "sha256", "started_at", "offset_ms")
    return {
        **{name: asset[name] for name in named},
        **{name: asset["metadata"][name] for name in facts},
    }


@dataclass(frozen=True)
class Call:
    """A session with one peer, known by its journals alone."""

    folder: Path
    workspace_id: str
    room_id: str
    session_id: str
    asset_id: str

    @property
    def journals(self) -> Path:
        return self.folder / "journals" / self.session_id

    def journal(self, source: Source, **meta: object) -> Path:
        """Adds a journal as a node would have written it."""
        facts: dict[str, object] = {
            "workspace_id": self.workspace_id,
            "room_id": self.room_id,
            "session_id": self.session_id,
            "job_id": self.asset_id,
            "asset_id": self.asset_id,
            "peer_id": "ada-peer",
            "user_id": "ada",
            "name": "Ada",
            "role": "host",
            "stream_id": "cam",
            "session_started_ms": EPOCH_NS // 1_000_000 - 1_000,
            "part": 1,
            **meta,
        }
        source.meta.update({name: value for name, value in facts.items() if value is not None})
        return record(self.journals / new_uuid(), source)


def call_in(folder: Path, room_id: str = "", workspace_id: str = "") -> Call:
    workspace_id = workspace_id or load_or_make(folder / "credentials.json").workspace_id
    return Call(folder, workspace_id, room_id or new_object_id(), new_object_id(), new_object_id())


async def hold_a_call(node: Node, folder: Path) -> None:
    """Ada publishes camera, microphone and a share; Bo only speaks, under the same stream id."""
    sound = write_clip(folder / "sound.clip", "opus", beeping(_SECONDS), 0.02)
    pictures = write_clip(folder / "pictures.clip", "VP8", [one.data for one in flashing("VP8", _SECONDS)], 1 / 30)
    _room, code = await node.make_room()
    async with (
        running_publisher(folder) as publisher,
        sending_peer(publisher, node.server.url, code, "Ada") as ada,
        sending_peer(publisher, node.server.url, code, "Bo") as bo,
    ):
        await ada.publish(Publishing("audio", "opus"), Publishing("video", "VP8"))
        await ada.publish(Publishing("share", "VP8", stream_id="share", source="screen"))
        await bo.publish(Publishing("audio", "opus"))
        await ada.start(audio=sound, video=pictures, share=pictures)
        await bo.start(audio=sound)
        await ada.finished("audio", "video", "share")
        await bo.finished("audio")
        await ada.leave()
        await bo.leave()


@pytest.mark.slow
async def test_a_lost_database_gives_back_the_same_assets(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with running_node(data) as node:
        await hold_a_call(node, tmp_path)
        before = await listed(node, 3)
    files = stored(data)
    assert {asset["metadata"]["stream_type"] for asset in before} == {"regular", "screen", "audio"}
    lose_database(data)

    said = await recover(data)
    assert said.code == 0, said
    assert said.lines[-1] == "4 journals: 4 rows written again"
    assert len(said.lines) == 5
    assert sum("'Bo', regular audio" in line for line in said.lines) == 1
    async with running_node(data) as node:
        after = await listed(node, 3)
        (session,) = (await node.get("/sessions"))["data"]
    assert [known_by(asset) for asset in after] == [known_by(asset) for asset in before]
    assert not session["active"]
    assert {(peer["name"], peer["user_id"]) for peer in session["peers"].values()} == {
        (asset["metadata"]["name"], asset["metadata"]["user_id"]) for asset in before
    }
    assert stored(data) == files


@pytest.mark.slow
async def test_recovering_twice_changes_nothing(tmp_path: Path) -> None:
    call = call_in(tmp_path)
    call.journal(audio(0, _SECONDS))
    call.journal(video("VP8", 0, _SECONDS), seal=None)
    assert (await recover(tmp_path)).code == 0
    first = all_rows(tmp_path)
    said = await recover(tmp_path)
    assert said.lines[-1] == "2 journals: 2 known to the database"
    assert all_rows(tmp_path) == first
    async with running_node(tmp_path) as node:
        await listed(node, 1)
    made, files = all_rows(tmp_path), stored(tmp_path)
    await recover(tmp_path)
    assert all_rows(tmp_path) == made
    async with running_node(tmp_path) as node:
        await listed(node, 1)
    assert (all_rows(tmp_path), stored(tmp_path)) == (made, files)


@pytest.mark.slow
async def test_an_older_database_keeps_its_rows_and_gets_those_it_lacks(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with running_node(data) as node:
        room_id, _code = await node.make_room()
        name = (await node.get(f"/rooms/{room_id}"))["name"]
    call = call_in(data, room_id)
    call.journal(audio(0, _SECONDS))
    await recover(data)
    with sqlite3.connect(data / "isotape.db") as database:
        database.execute("UPDATE assets SET state = 'recording'")
        database.execute("UPDATE sessions SET state = 'open', ended_at = NULL")
    database.close()
    # After the copy was taken the same peer switched its camera on, somebody else came, and everybody left.
    call.journal(video("VP8", 0, _SECONDS))
    call.journal(audio(0, _SECONDS, ssrc=7), asset_id=new_object_id(), peer_id="bo-peer", user_id="bo", name="Bo")

    said = await recover(data)
    assert said.lines[-1] == "3 journals: 1 known to the database, 2 rows written again"
    async with running_node(data) as node:
        ada, bo = await listed(node, 2)
        (session,) = (await node.get("/sessions"))["data"]
        assert (await node.get(f"/rooms/{room_id}"))["name"] == name
    assert (ada["metadata"]["name"], ada["metadata"]["stream_type"]) == ("Ada", "regular")
    assert (bo["metadata"]["name"], bo["metadata"]["stream_type"]) == ("Bo", "audio")
    assert not session["active"]


async def test_a_room_written_again_lets_nobody_in_unrecorded(tmp_path: Path) -> None:
    call = call_in(tmp_path)
    call.journal(audio(0, _SECONDS))
    await recover(tmp_path)
    async with running_node(tmp_path) as node:
        room = await node.get(f"/rooms/{call.room_id}")
        template = await node.get(f"/templates/{room['template_id']}")
    assert (room["enabled"], template["name"]) == (False, "recovered")


async def test_what_cannot_be_taken_in_is_named_and_left_as_it_is(tmp_path: Path) -> None:
    call = call_in(tmp_path)
    call.journal(audio(0, _SECONDS))
    unreadable = call.journal(audio(0, _SECONDS)) / "00000001.seg"
    content = bytearray(unreadable.read_bytes())
    content[40] ^= 0xFF
    unreadable.write_bytes(content)
    lacking = call.journal(audio(0, _SECONDS), user_id=None)
    foreign = call_in(tmp_path, workspace_id=new_object_id()).journal(audio(0, _SECONDS))

    said = await recover(tmp_path)
    assert said.code == 1
    outcomes = {line.partition(":")[0]: line for line in said.lines}
    assert "unreadable, left alone" in outcomes[str(unreadable.parent)]
    assert "names no user_id" in outcomes[str(lacking)]
    assert "of another workspace" in outcomes[str(foreign)]
    assert said.lines[-2] == (
        "4 journals: 1 rows written again, 1 of another workspace, no rows written, 2 unreadable, left alone"
    )
    assert "credentials.json" in said.lines[-1]
    assert unreadable.read_bytes() == bytes(content)
    assert len(rows(tmp_path, "SELECT id FROM journals")) == 1


async def test_a_running_server_keeps_recover_and_a_second_server_off_its_folder(tmp_path: Path) -> None:
    async with running_node(tmp_path):
        said = await recover(tmp_path)
        assert said.code == 1
        assert said.error.startswith(f"isotape: data folder {tmp_path}: in use by process ")
        assert not said.lines
        second = await asyncio.create_subprocess_exec(
            _PROGRAM, "serve", "--data-dir", str(tmp_path), "--port", "0", stderr=asyncio.subprocess.PIPE
        )
        _out, error = await second.communicate()
        assert (second.returncode, b"in use by process" in error) == (1, True)
    assert (await recover(tmp_path)).code == 0


async def test_a_killed_process_gives_the_folder_back(tmp_path: Path) -> None:
    code = "import sys, time; from pathlib import Path; from isotape.folder_lock import hold\n"
    code += "with hold(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"held\n"
    process.kill()
    await process.wait()
    with hold(tmp_path):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("state", ["sealed", "planned", "stored"])
async def test_an_asset_without_a_job_is_finished_by_the_next_start(tmp_path: Path, state: str) -> None:
    call = call_in(tmp_path)
    call.journal(audio(0, _SECONDS))
    await recover(tmp_path)
    _set_state(tmp_path, state)
    async with running_node(tmp_path) as node:
        await listed(node, 1)


@pytest.mark.slow
async def test_an_asset_whose_job_ended_without_it_is_finished_by_the_next_start(tmp_path: Path) -> None:
    call = call_in(tmp_path)
    call.journal(audio(0, _SECONDS))
    await recover(tmp_path)
    async with running_node(tmp_path) as node:
        (before,) = await listed(node, 1)
    shutil.rmtree(tmp_path / "assets")
    _set_state(tmp_path, "planned")
    async with running_node(tmp_path) as node:
        (after,) = await listed(node, 1)
        await node.download(after, tmp_path)
    assert known_by(after) == known_by(before)


def _set_state(folder: Path, state: str) -> None:
    with sqlite3.connect(folder / "isotape.db") as database:
        database.execute("UPDATE assets SET state = ?", [state])
    database.close()
