"""Odd and plausible calls: joins at one instant, reloads, crashes, devices that change, shares that end by themselves, limits.

Before it: whole nodes and real Chromium with stamped devices. For each call: which files there are, whose, whether each keeps the
time of its page, whether its sidecar adds up. Nothing may be logged as an error.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.async_api import Browser, Error

from tests.kit import stamps
from tests.kit.browsers import Person, chromium, join
from tests.kit.node import PERMISSIONS, PUBLISHER, Json, Node, running_node
from tests.kit.playback import play

pytestmark = [pytest.mark.browser, pytest.mark.anyio, pytest.mark.timeout(180)]

# The page's clock is stamped before the browser captures the picture; a busy machine captures late.
_CLOCKS_S = 0.1
_AV_MS = 40


@dataclass
class Made:
    """One finished asset: who and what it is of, its decoded file, its sidecar."""

    name: str
    kind: str
    file: Path
    asset: Json
    sidecar: Json

    @property
    def stamps(self) -> list[stamps.Stamp]:
        return stamps.stamps(self.file)

    @property
    def sound_s(self) -> float:
        return len(stamps.sound(self.file)) / 48_000

    def check(self) -> None:
        """Holds for every file, however odd its call was."""
        for track in self.sidecar["tracks"]:
            packets = track["packets"]
            assert packets["expected"] == packets["received"] + packets["recovered"] + packets["lost"], track["kind"]
            assert packets["lost"] == 0, "a clean link lost packets"
        if any(track["kind"] == "video" for track in self.sidecar["tracks"]):
            self._check_pictures()

    def _check_pictures(self) -> None:
        found = self.stamps
        number = int(self.name.removeprefix("peer"))
        assert {stamp.peer for stamp in found} == {number + 8 if self.kind == "screen" else number}
        first, last = found[0], found[-1]
        truth = (last.page_ms - first.page_ms) % 65_536 / 1000
        assert last.at_s - first.at_s == pytest.approx(truth, abs=_CLOCKS_S)
        # A busy machine makes no sound for a while, and a call of seconds has too few sender reports to tell.
        behind = [(stamp.page_ms - stamp.sound_ms) % 65_536 for stamp in found]
        if max(behind) - min(behind) < _AV_MS:
            assert abs(float(np.median(stamps.av_errors_ms(self.file)))) <= _AV_MS


@dataclass
class Call:
    """A node and a browser with a folder for the files."""

    node: Node
    browser: Browser
    folder: Path

    async def join(self, code: str, number: int, query: str = "") -> Person:
        return await join(self.browser, self.node.server.url, code, number, query)

    async def made(self, room: str, count: int) -> list[Made]:
        """The checked assets of the room's newest session; there must be `count` of them, each told once."""
        session = await self.node.session(room)
        names = {peer["id"]: peer["name"] for peer in session["peers"].values()}
        assets = await self.node.assets(room, count)
        made = [
            Made(
                names[asset["metadata"]["peer_id"]],
                asset["metadata"]["stream_type"],
                await self.node.download(asset, self.folder),
                asset,
                self.node.sidecar(asset),
            )
            for asset in assets
        ]
        assert len(made) == count
        for one in made:
            one.check()
        await self.told([one.asset["id"] for one in made])
        return made

    async def told(self, ids: list[str]) -> None:
        """Each of these assets, and no other, has been announced."""
        await self.node.receiver.wait_for("stream.recording.success", len(ids), 10)
        announced = [
            event["data"]["asset_id"]
            for event in self.node.receiver.received
            if event["type"].startswith("stream.recording.")
        ]
        assert sorted(announced) == sorted(ids)

    def leave_reasons(self) -> list[str]:
        received = self.node.receiver.received
        return [event["data"]["reason"] for event in received if event["type"] == "peer.leave.success"]


@asynccontextmanager
async def a_call(folder: Path, **settings: Any) -> AsyncIterator[Call]:
    async with running_node(folder / "data", **settings) as node, chromium() as browser:
        yield Call(node, browser, folder)


@pytest.fixture(autouse=True)
def nothing_went_wrong(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """The server wrote no error and no traceback."""
    yield
    written = "\n".join(capfd.readouterr())
    assert "Traceback" not in written
    assert "[error" not in written
    assert "panicked" not in written


async def test_two_who_join_in_the_same_instant_are_in_one_session(tmp_path: Path) -> None:
    async with a_call(tmp_path) as call:
        room, code = await call.node.make_room()
        people = await asyncio.gather(call.join(code, 1), call.join(code, 2))
        await people[0].seconds(3)
        await asyncio.gather(*(person.leave() for person in people))
        made = await call.made(room, 2)
        assert {(one.name, one.kind) for one in made} == {("peer1", "regular"), ("peer2", "regular")}
        assert len((await call.node.get(f"/sessions?room_id={room}"))["data"]) == 1


async def test_a_reload_ends_one_file_and_begins_another(tmp_path: Path) -> None:
    async with a_call(tmp_path) as call:
        room, code = await call.node.make_room()
        stays, reloads = await call.join(code, 1), await call.join(code, 2)
        await reloads.seconds(3)
        await reloads.page.reload()
        await reloads.page.wait_for_selector("body[data-state=joined]")
        await reloads.seconds(3)
        await stays.leave()
        await reloads.leave()
        made = await call.made(room, 3)
        assert sorted(one.name for one in made) == ["peer1", "peer2", "peer2"]
        assert call.leave_reasons() == ["client request"] * 3
        whole = next(one for one in made if one.name == "peer1")
        assert whole.sidecar["tracks"][0]["gaps"] == [], "the other's reload left a mark"


async def test_a_crashed_page_leaves_a_file_that_ends_with_its_last_packet(tmp_path: Path) -> None:
    async with a_call(tmp_path, peer_grace_s=1) as call:
        room, code = await call.node.make_room()
        person = await call.join(code, 1)
        await person.seconds(2.5)
        sent = await person.pictures_sent()
        await _crash(person)
        (made,) = await call.made(room, 1)
        assert call.leave_reasons() == ["websocket closed"]
        assert len(made.stamps) >= sent["regular"]
        # Connectivity checks and the grace came after it: nothing of that time is in the file.
        assert made.sound_s < 5
        assert made.asset["duration"] < 6


async def test_a_camera_that_goes_off_and_on_stays_in_one_file(tmp_path: Path) -> None:
    async with a_call(tmp_path) as call:
        room, code = await call.node.make_room()
        person = await call.join(code, 1, "&cam=0")
        for _ in range(3):
            await person.seconds(2)
            await person.act("camera")
        await person.seconds(2)
        await person.leave()
        (made,) = await call.made(room, 1)
        assert made.kind == "regular"
        (picture,) = [track for track in made.sidecar["tracks"] if track["kind"] == "video"]
        assert [gap["cause"] for gap in picture["gaps"]] == ["muted", "muted"]
        longest = max(after.at_s - before.at_s for before, after in itertools.pairwise(made.stamps))
        assert longest == pytest.approx(2, abs=0.5)


async def test_another_camera_and_microphone_go_on_in_the_same_file(tmp_path: Path) -> None:
    async with a_call(tmp_path) as call:
        room, code = await call.node.make_room()
        person = await call.join(code, 1)
        await person.seconds(2.5)
        await person.page.evaluate("isotape.hmsActions.setVideoSettings({ deviceId: 'another camera' })")
        await person.page.evaluate("isotape.hmsActions.setAudioSettings({ deviceId: 'another microphone' })")
        await person.seconds(3)
        await person.leave()
        (made,) = await call.made(room, 1)
        # A stamped camera counts from 0: a second one was really there.
        counters = [stamp.counter for stamp in made.stamps]
        assert any(after < before for before, after in itertools.pairwise(counters))
        assert len(stamps.beeps(stamps.sound(made.file))) >= 2


async def test_a_share_of_sound_alone_is_a_screen_file(tmp_path: Path) -> None:
    async with a_call(tmp_path) as call:
        room, code = await call.node.make_room()
        person = await call.join(code, 1)
        await person.page.evaluate("isotape.hmsActions.setScreenShareEnabled(true, { audioOnly: true })")
        await person.seconds(3)
        await person.page.evaluate("isotape.hmsActions.setScreenShareEnabled(false)")
        await person.seconds(1)
        await person.leave()
        made = await call.made(room, 2)
        (screen,) = [one for one in made if one.kind == "screen"]
        assert [track["kind"] for track in screen.sidecar["tracks"]] == ["audio"]
        assert screen.sound_s == pytest.approx(3, abs=0.7)
        assert stamps.loudest_hz(stamps.sound(screen.file)) == pytest.approx(2 * person.tone, abs=5)


async def test_a_share_that_the_browser_ends_is_a_file_while_the_call_goes_on(tmp_path: Path) -> None:
    async with a_call(tmp_path) as call:
        room, code = await call.node.make_room()
        people = [await call.join(code, 1), await call.join(code, 2)]
        await people[0].page.evaluate(_REMEMBER_SHARE)
        for person in people:
            await person.act("share")
        await people[0].seconds(3)
        await people[0].page.evaluate(_END_SHARE)
        (early,) = await call.node.assets(room, 1)
        assert early["metadata"]["stream_type"] == "screen"
        for person in people:
            await person.leave()
        made = await call.made(room, 4)
        kinds = [(name, kind) for name in ("peer1", "peer2") for kind in ("regular", "screen")]
        assert sorted((one.name, one.kind) for one in made) == kinds


async def test_the_maximum_ends_the_files_and_not_the_call(tmp_path: Path) -> None:
    async with a_call(tmp_path) as call:
        room, code = await call.node.make_room(maxDuration=5)
        person = await call.join(code, 1)
        assert await person.page.get_attribute("body", "data-recording") == "true"
        await person.page.wait_for_selector("body[data-recording=false]")
        (early,) = await call.node.assets(room, 1)
        late = await call.join(code, 2)
        await late.act("share")
        await late.seconds(2)
        assert await late.page.get_attribute("body", "data-recording") == "false"
        assert (await call.node.session(room))["active"]
        for one in (person, late):
            await one.leave()
        (made,) = await call.made(room, 1)
        assert made.asset["id"] == early["id"]
        assert 4 < made.sound_s <= 5.1


@pytest.mark.parametrize("why", ["no rights", "no recording"])
async def test_a_call_that_gives_nothing_to_record_leaves_no_file(tmp_path: Path, why: str) -> None:
    async with a_call(tmp_path) as call:
        room, code = await (_viewers_room(call.node) if why == "no rights" else call.node.make_room(recorded=False))
        person = await call.join(code, 1)
        await person.seconds(2)
        await person.leave()
        await call.node.receiver.wait_for("session.close.success", 1, 10)
        session = await call.node.session(room)
        listed = await call.node.get(f"/recording-assets?session_id={session['id']}&asset_type=stream")
        assert not listed["data"]
        journals = call.node.server.settings.journal_root
        assert [path for path in journals.rglob("*") if path.is_file()] == []
        await call.told([])


@pytest.mark.parametrize("codec", ["VP8", "VP9", "AV1"])
async def test_every_codec_keeps_sound_and_picture_together_and_plays(tmp_path: Path, codec: str) -> None:
    async with a_call(tmp_path, video_codecs=(codec,)) as call:
        room, code = await call.node.make_room()
        person = await call.join(code, 1)
        await person.act("share")
        await person.seconds(5)
        await person.leave()
        for made in await call.made(room, 2):
            assert made.asset["metadata"]["codec"]["video"] == codec
            assert made.file.suffix == (".webm" if codec == "VP8" else ".mp4")
            played = await play(call.browser, made.file)
            assert played.ended
            assert played.beeps_s == pytest.approx(stamps.beeps(stamps.sound(made.file)), abs=0.12)


async def test_a_socket_that_is_away_longer_than_the_grace_leaves_no_mark(tmp_path: Path) -> None:
    async with a_call(tmp_path, peer_grace_s=1) as call:
        room, code = await call.node.make_room()
        person = await call.join(code, 1)
        await person.page.context.set_offline(True)
        await person.seconds(4)
        await person.page.context.set_offline(False)
        await person.act("share")
        await person.seconds(2)
        await person.leave()
        made = await call.made(room, 2)
        assert sorted(one.kind for one in made) == ["regular", "screen"]
        assert [track["gaps"] for one in made for track in one.sidecar["tracks"]] == [[]] * 4


async def test_a_call_that_changes_hands_at_one_instant_gives_each_their_file(tmp_path: Path) -> None:
    async with a_call(tmp_path) as call:
        room, code = await call.node.make_room()
        here = await call.join(code, 1)
        for number in (2, 3):
            await here.seconds(1.5)
            here, _ = await asyncio.gather(call.join(code, number), here.leave())
        await here.seconds(1.5)
        await here.leave()
        await call.node.receiver.wait_for("stream.recording.success", 3, 10)
        sessions = (await call.node.get(f"/sessions?room_id={room}"))["data"]
        told = [event for event in call.node.receiver.received if event["type"] == "stream.recording.success"]
        assert sorted(event["data"]["user_name"] for event in told) == ["peer1", "peer2", "peer3"]
        assert {event["data"]["session_id"] for event in told} == {session["id"] for session in sessions}
        assert not any(session["active"] for session in sessions)


_REMEMBER_SHARE = """() => {
  const ask = navigator.mediaDevices.getDisplayMedia;
  navigator.mediaDevices.getDisplayMedia = async (wanted) => (window.shared = await ask(wanted));
}"""
# What a person does with the browser's own "Stop sharing" bar: the track ends, and says so.
_END_SHARE = """() => {
  const [picture] = window.shared.getVideoTracks();
  picture.stop();
  picture.dispatchEvent(new Event("ended"));
}"""


async def _crash(person: Person) -> None:
    """Kills the page's process. It never answers, so nobody waits for an answer."""
    developer = await person.page.context.new_cdp_session(person.page)
    with suppress(Error, TimeoutError):
        await asyncio.wait_for(developer.send("Page.crash"), 1)


async def _viewers_room(node: Node) -> tuple[str, str]:
    """A recorded room whose only role may publish nothing."""
    viewer = {"publishParams": {**PUBLISHER, "allowed": []}, "permissions": PERMISSIONS}
    template = await node.post("/templates", {"roles": {"viewer": viewer}})
    config = {"name": "test", "role": "viewer", "streamRecording": {"enabled": True}}
    await node.post(f"/templates/{template['id']}/recordings", [config])
    room = await node.post("/rooms", {"template_id": template["id"]})
    codes = await node.post(f"/room-codes/room/{room['id']}", {})
    return room["id"], codes["data"][0]["code"]
