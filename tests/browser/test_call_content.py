"""What real browsers sent is what the files hold: right peer, right order, nothing missing, sound and picture together.

Unmodified SDK in Chromium, stamped devices, a whole node, files downloaded through their signed URLs and decoded again.
"""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isotape.assets.packets import read
from tests.kit import stamps
from tests.kit.browsers import Person, chromium, join, starve_sound
from tests.kit.node import Node, running_node

pytestmark = [pytest.mark.browser, pytest.mark.anyio, pytest.mark.timeout(180)]

_CALL_S = 10
# Cells of the counter wrap at 12 bits.
_COUNTERS = 4096

# A machine that is busy with other work sends fewer pictures; fewer than this and the test says nothing.
_ENOUGH = 3 * _CALL_S
# A stall of the browser's sound that the reports of a 10 s call show at best on one side, far above the 40 ms that sync may be off.
_STALL_S = 0.3


async def test_each_peer_leaves_its_own_pictures_and_its_own_sound(tmp_path: Path) -> None:
    async with running_node(tmp_path / "data") as node, chromium() as browser:
        room, code = await node.make_room()
        one = await join(browser, node.server.url, code, 1)
        two = await join(browser, node.server.url, code, 2)
        await two.act("share")
        await one.seconds(_CALL_S)
        sent = {"peer1": await one.pictures_sent(), "peer2": await two.pictures_sent()}
        await two.leave()
        await one.leave()
        assets = await node.assets(room, 3)
        names = await _names(node, room)
        seen = set()
        for asset in assets:
            person = {"peer1": one, "peer2": two}[names[asset["metadata"]["peer_id"]]]
            kind = asset["metadata"]["stream_type"]
            seen.add((person.name, kind))
            file = await node.download(asset, tmp_path)
            _check_content(file, person, screen=kind == "screen")
            # Each picture that came is there once; a busy browser itself sends the same canvas twice, 1 ms apart.
            video = _video_track(node, asset)
            cut_off = _pictures_received(node, video) + len(video["fillers"]) - len(stamps.pictures(file))
            assert cut_off in (0, 1), "only the picture that was being sent at the leave may be incomplete"
            # Whatever the browser had sent when it was asked is in the file, besides what it sent until it left.
            assert len(stamps.pictures(file)) >= sent[person.name][kind]
        assert seen == {("peer1", "regular"), ("peer2", "regular"), ("peer2", "screen")}


def _check_content(file: Path, person: Person, *, screen: bool) -> None:
    found = stamps.stamps(file)
    assert len(found) > _ENOUGH, f"{file.name}: only {len(found)} readable pictures"
    assert {stamp.peer for stamp in found} == {person.number + 8 if screen else person.number}
    steps = {(after.counter - before.counter) % _COUNTERS for before, after in itertools.pairwise(found)}
    assert max(steps) < _COUNTERS // 2, "pictures are out of order"
    pitch = stamps.loudest_hz(stamps.sound(file)[48_000:])
    assert pitch == pytest.approx(person.tone * 2 if screen else person.tone, abs=5)


async def test_sound_and_picture_of_a_browser_are_together(tmp_path: Path) -> None:
    async with running_node(tmp_path / "data") as node, chromium() as browser:
        room, code = await node.make_room()
        person = await join(browser, node.server.url, code, 3)
        await person.seconds(_CALL_S)
        await person.leave()
        (asset,) = await node.assets(room, 1)
        _check_sync(await node.download(asset, tmp_path))


async def test_sound_that_stood_still_in_the_browser_is_a_gap_and_stays_with_its_pictures(tmp_path: Path) -> None:
    async with running_node(tmp_path / "data") as node, chromium() as browser:
        room, code = await node.make_room()
        person = await join(browser, node.server.url, code, 3)
        await person.seconds(_CALL_S / 2)
        await starve_sound(_STALL_S)
        await person.seconds(_CALL_S / 2)
        await person.leave()
        (asset,) = await node.assets(room, 1)
        file = await node.download(asset, tmp_path)
        stood_ms = stamps.stalled_ms(file)
        assert stood_ms > _STALL_S * 500, "the browser's sound ran on: nothing was tested"
        _check_sync(file)
        (sound,) = [track for track in node.sidecar(asset)["tracks"] if track["kind"] == "audio"]
        stated = [gap["to_ms"] - gap["from_ms"] for gap in sound["gaps"] if "stood still" in gap["note"]]
        assert sum(stated) == pytest.approx(stood_ms, abs=40)


def _check_sync(file: Path) -> None:
    errors = np.abs(stamps.av_errors_ms(file))
    assert len(errors) > _ENOUGH
    assert float(np.median(errors)) <= 40
    assert float(np.percentile(errors, 95)) <= 60


def _video_track(node: Node, asset: dict[str, Any]) -> dict[str, Any]:
    (video,) = [track for track in node.sidecar(asset)["tracks"] if track["kind"] == "video"]
    return video


def _pictures_received(node: Node, video: dict[str, Any]) -> int:
    """The RTP times in the journals of a video track: one for each picture that the browser sent."""
    journals = [read(node.journal(journal["id"])).packets for journal in video["journals"]]
    return sum(len(np.unique(packets["timestamp"][packets["length"] > 0])) for packets in journals)


async def _names(node: Node, room: str) -> dict[str, str]:
    return {peer["id"]: peer["name"] for peer in (await node.session(room))["peers"].values()}
