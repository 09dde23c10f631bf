"""A file is made of a journal only when its seal stands on the disk, and the row counts what the journal holds."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import select

from isotape import journal as journal_files
from isotape.db.tables import assets, journals
from isotape.engine import EngineConfig, SealReport
from isotape.engine.embedded import EmbeddedEngine
from isotape.errors import EngineError, JournalError, Unavailable
from isotape.ids import JournalId
from isotape.journal import RecoveredJournal
from isotape.rooms import LeaveReason, sealing
from tests.kit.client import client
from tests.kit.publisher import Publishing, running_publisher, sending_peer
from tests.kit.server import LiveServer, live_server
from tests.kit.until import until

pytestmark = pytest.mark.anyio


def _load(codec: str) -> dict[str, object]:
    return {"fake": {"codec": codec, "packets_per_second": 50, "payload_bytes": 100}}


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "_LOOK_AGAIN_S", (0.02,))


async def journal_rows(live: LiveServer) -> Sequence[tuple[str, int]]:
    """State and packets of each journal, in order of opening."""
    async with live.database.connect() as tx:
        query = select(journals.c.state, journals.c.packets).order_by(journals.c.opened_at)
        return [(row.state, row.packets) for row in await tx.execute(query)]


async def asset_states(live: LiveServer) -> Sequence[str]:
    async with live.database.connect() as tx:
        return list((await tx.execute(select(assets.c.state))).scalars())


async def all_sealed(live: LiveServer) -> bool:
    return set(await asset_states(live)) == {"sealed"}


def impatient_engine(folder: Path) -> EmbeddedEngine:
    """Tells after 0.4 s instead of 10 s that the disk refuses a seal."""
    (folder / "journals").mkdir()
    return EmbeddedEngine(EngineConfig("127.0.0.1:0", ["127.0.0.1"], folder / "journals", ["VP8"], sync_interval_ms=10))


async def test_an_asset_waits_for_the_journal_that_the_disk_refuses_to_seal(tmp_path: Path) -> None:
    async with (
        live_server(tmp_path, engine=impatient_engine(tmp_path)) as live,
        running_publisher(tmp_path) as publisher,
    ):
        room = await live.make_room()
        async with sending_peer(publisher, live.url, await live.code(room, "host"), "alice") as alice:
            await alice.publish(Publishing("mic", "opus"), Publishing("cam", "VP8"))
            await alice.start(mic=_load("opus"), cam=_load("VP8"))
            await until(lambda: live.engine.metrics()["journal_records"] > 20)
            folders = [*journal_files.find(tmp_path / "journals")]
            here, away = folders[0], tmp_path / "away"
            here.rename(away)
            await alice.leave()
        await live.emptied(room)
        assert sorted(state for state, _ in await journal_rows(live)) == ["open", "sealed"]
        assert (await asset_states(live), live.jobs.enqueued) == (["recording"], [])
        away.rename(here)
        await until(lambda: all_sealed(live))
        assert len(live.jobs.enqueued) == 1
        seals = [journal_files.read_seal(folder) for folder in folders]
        counted = await journal_rows(live)
        assert sorted(counted) == sorted(("sealed", seal.packets) for seal in seals if seal is not None)
        assert all(packets > 0 for _, packets in counted)


@pytest.mark.parametrize(
    "refusal", [EngineError("engine seal: no reply within 30 s"), Unavailable("engine seal: queue is full")]
)
async def test_a_seal_without_an_answer_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: Exception
) -> None:
    """The engine has the order and answers late, or never got it and is asked again."""
    async with live_server(tmp_path) as live:
        room = await live.make_room()
        async with client(live.url, live.token(room, "alice")) as alice:
            await alice.join()
            await alice.publish("audio")
            seal, asked = live.engine.seal, []

            async def unanswered(journal: JournalId, reason: str) -> SealReport:
                asked.append((journal, reason))
                if len(asked) > 1:
                    return await seal(journal, reason)
                raise refusal

            monkeypatch.setattr(live.engine, "seal", unanswered)
            await alice.leave()
        await live.emptied(room)
        if isinstance(refusal, EngineError):
            assert await journal_rows(live) == [("open", 0)]
            await seal(*asked[0])
        await until(lambda: all_sealed(live))
        assert await journal_rows(live) == [("sealed", 0)]
        assert len(live.jobs.enqueued) == 1


async def test_a_journal_that_a_crash_left_is_made_into_a_file_once_the_disk_lets_it_be_sealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ZeroDivisionError):
        async with live_server(tmp_path) as live, client(live.url, live.token(await live.make_room(), "a")) as alice:
            await alice.join()
            await alice.publish("audio")
            raise ZeroDivisionError
    recover, is_full = journal_files.recover, True

    def recover_on_a_full_disk(folder: Path) -> RecoveredJournal:
        if is_full:
            raise JournalError(f"journal {folder.name}: no space left") from OSError("no space left")
        return recover(folder)

    monkeypatch.setattr(journal_files, "recover", recover_on_a_full_disk)
    async with live_server(tmp_path) as live:
        (seat,) = live.rooms.seats()
        await live.rooms.leave(seat, LeaveReason.SOCKET)
        assert (await asset_states(live), live.jobs.enqueued) == (["recording"], [])
        is_full = False
        await until(lambda: all_sealed(live))
        assert await journal_rows(live) == [("sealed", 0)]
        assert len(live.jobs.enqueued) == 1
