"""Firefox plays every kind of file from start to end: H264 and VP9 in MP4, VP8 in WebM, sound alone; each beep where the decoder finds it.

The files come from calls of real browsers; tests.browser.test_firefox_call looks at what the files hold.
"""

import asyncio
from pathlib import Path

import pytest

from tests.kit import browsers, firefox, stamps
from tests.kit.caller import Browser
from tests.kit.node import Json, running_node
from tests.kit.playback import play

pytestmark = [
    pytest.mark.browser,
    pytest.mark.anyio,
    pytest.mark.timeout(180),
    pytest.mark.skipif(bool(firefox.MISSING), reason=f"{', '.join(firefox.MISSING)} is missing"),
]

_CALL_S = 5
# The element tells its time in steps, and a busy page asks late.
_HEARD_S = 0.12


async def test_every_kind_of_file_plays_with_sound_in_place(tmp_path: Path) -> None:
    codecs = ("H264", "VP8")  # the first that a browser can send: Firefox has no H264 of its own
    async with (
        running_node(tmp_path / "data", video_codecs=codecs) as node,
        browsers.chromium() as chromium,
        firefox.firefox() as fox,
    ):
        room, code = await node.make_room()
        callers = [
            await browsers.join(chromium, node.server.url, code, 1),
            await browsers.join(chromium, node.server.url, code, 2, "&cam=0"),
            await firefox.join(fox, node.server.url, code, 3),
        ]
        await callers[0].seconds(_CALL_S)
        for caller in callers:
            await caller.leave()
        assets = await node.assets(room, 3)
        files = [await node.download(asset, tmp_path) for asset in assets]
        kinds = {
            (file.suffix, asset["metadata"]["codec"].get("video")) for file, asset in zip(files, assets, strict=True)
        }
        assert kinds == {(".mp4", "H264"), (".webm", "VP8"), (".mp4", None)}
        await asyncio.gather(*(plays(fox, file, asset) for file, asset in zip(files, assets, strict=True)))


async def plays(browser: Browser, file: Path, asset: Json) -> None:
    """The browser plays the file to its end, shows its pictures and hears each beep where the decoder found it."""
    expected = stamps.beeps(stamps.sound(file))
    played = await play(browser, file)
    assert played.ended
    assert played.length_s == pytest.approx(asset["duration"], abs=1)
    assert len(played.beeps_s) == len(expected) >= 2
    assert played.beeps_s == pytest.approx(expected, abs=_HEARD_S)
    if "video" in asset["metadata"]["codec"]:
        assert played.width == stamps.stamps(file)[-1].width
        assert played.pictures >= len(stamps.pictures(file)) - 2
