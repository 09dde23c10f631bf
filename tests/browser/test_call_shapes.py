"""The shapes that a call can have: mutes, late and absent cameras, a share that comes twice. Right assets, right lengths, right places."""

import itertools
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.async_api import Browser

from tests.kit import stamps
from tests.kit.browsers import chromium, join
from tests.kit.node import running_node
from tests.kit.playback import play

pytestmark = [pytest.mark.browser, pytest.mark.anyio, pytest.mark.timeout(180)]


async def test_ten_seconds_of_mute_keep_everything_after_them_in_place(tmp_path: Path) -> None:
    async with running_node(tmp_path / "data") as node, chromium() as browser:
        room, code = await node.make_room()
        person = await join(browser, node.server.url, code, 1)
        await person.seconds(4)
        await person.act("mic")
        await person.act("camera")
        await person.seconds(10)
        await person.act("mic")
        await person.act("camera")
        await person.seconds(5)
        await person.leave()
        (asset,) = await node.assets(room, 1)
        assert asset["metadata"]["stream_type"] == "regular"
        file = await node.download(asset, tmp_path)
        heard = stamps.beeps(stamps.sound(file))
        gaps = [after - before for before, after in itertools.pairwise(heard)]
        assert max(gaps) == pytest.approx(round(max(gaps) / 2) * 2, abs=0.04), "a beep stands off its 2 s grid"
        assert 8 <= max(gaps) <= 14
        _keeps_time(file)
        for track in node.sidecar(asset)["tracks"]:
            (muted,) = [gap for gap in track["gaps"] if gap["cause"] == "muted"]
            assert (muted["to_ms"] - muted["from_ms"]) / 1000 == pytest.approx(10, abs=0.5), track["kind"]
        await _plays(browser, asset, file)


async def test_a_camera_that_comes_five_seconds_late_is_where_it_was(tmp_path: Path) -> None:
    async with running_node(tmp_path / "data") as node, chromium() as browser:
        room, code = await node.make_room()
        person = await join(browser, node.server.url, code, 2, "&cam=0")
        await person.seconds(5)
        await person.act("camera")
        await person.seconds(5)
        await person.leave()
        (asset,) = await node.assets(room, 1)
        assert asset["metadata"]["stream_type"] == "regular"
        file = await node.download(asset, tmp_path)
        assert stamps.stamps(file)[0].at_s == pytest.approx(5, abs=1.5)
        _keeps_time(file)
        assert abs(float(np.median(stamps.av_errors_ms(file)))) <= 40
        await _plays(browser, asset, file)


async def test_a_camera_that_never_comes_makes_an_audio_file(tmp_path: Path) -> None:
    async with running_node(tmp_path / "data") as node, chromium() as browser:
        room, code = await node.make_room()
        person = await join(browser, node.server.url, code, 3, "&cam=0")
        began = time.monotonic()
        await person.seconds(6)
        lasted = time.monotonic() - began
        await person.leave()
        (asset,) = await node.assets(room, 1)
        assert asset["metadata"]["stream_type"] == "audio"
        file = await node.download(asset, tmp_path)
        sound = stamps.sound(file)
        assert len(sound) / 48_000 == pytest.approx(lasted, abs=1)
        assert stamps.loudest_hz(sound[48_000:]) == pytest.approx(person.tone, abs=5)
        await _plays(browser, asset, file)


async def test_a_share_that_comes_twice_makes_two_screen_files(tmp_path: Path) -> None:
    async with running_node(tmp_path / "data") as node, chromium() as browser:
        room, code = await node.make_room()
        person = await join(browser, node.server.url, code, 4)
        for seconds in (3, 5):
            await person.act("share")
            await person.seconds(seconds)
            await person.act("share")
            await person.seconds(1)
        # The first share's file is there while the call still goes on.
        early = await node.assets(room, 2)
        assert {asset["metadata"]["stream_type"] for asset in early} == {"screen"}
        await person.leave()
        assets = await node.assets(room, 3)
        screens = [asset for asset in assets if asset["metadata"]["stream_type"] == "screen"]
        lengths = []
        for asset in screens:
            file = await node.download(asset, tmp_path)
            assert {stamp.peer for stamp in stamps.stamps(file)} == {4 + 8}
            _keeps_time(file)
            lengths.append(len(stamps.sound(file)) / 48_000)
            await _plays(browser, asset, file)
        assert sorted(lengths) == pytest.approx([3, 5], abs=1)


def _keeps_time(file: Path) -> None:
    """From its first stamped picture to its last the file lasts as long as the page's clock in them says."""
    first, *_, last = stamps.stamps(file)
    truth = (last.page_ms - first.page_ms) % 65_536 / 1000
    assert last.at_s - first.at_s == pytest.approx(truth, abs=0.1)


async def _plays(browser: Browser, asset: dict[str, Any], file: Path) -> None:
    """Chromium plays the file to its end and hears each beep where the decoder found it."""
    expected = stamps.beeps(stamps.sound(file))
    played = await play(browser, file)
    assert played.ended
    assert played.length_s == pytest.approx(asset["duration"], abs=1)
    assert len(played.beeps_s) == len(expected)
    assert played.beeps_s == pytest.approx(expected, abs=0.12)
