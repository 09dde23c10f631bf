"""Firefox plays H264 in MP4, VP8 in WebM and sound alone from start to end, with each beep where the decoder finds it.

The files come from a call of real browsers. Those of tests.browser.test_firefox_call are VP9 in MP4, and are played there.
"""

import asyncio
from pathlib import Path

import pytest

from tests.kit import browsers, firefox
from tests.kit.node import running_node
from tests.kit.playback import plays

pytestmark = [
    pytest.mark.browser,
    pytest.mark.anyio,
    pytest.mark.timeout(180),
    pytest.mark.skipif(bool(firefox.MISSING), reason=f"{', '.join(firefox.MISSING)} is missing"),
]

_CALL_S = 5


async def test_h264_vp8_and_sound_alone_play_with_sound_in_place(tmp_path: Path) -> None:
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
        playing = [
            plays(fox, file, asset["duration"], has_pictures="video" in asset["metadata"]["codec"])
            for file, asset in zip(files, assets, strict=True)
        ]
        await asyncio.gather(*playing)
