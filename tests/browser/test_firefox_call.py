"""Firefox ESR on the join page beside Chromium: it publishes, sees, mutes, shares and comes back, and its files hold what it sent.

Before it: the same node, SDK and stamped devices as in the calls of Chromium. Firefox publishes VP9 or VP8 (its H264 is a plug-in that it
downloads), paces its pictures by the refresh of the page and names its streams in braces.
"""

import asyncio
import itertools
from pathlib import Path

import numpy as np
import pytest

from isotape.assets.packets import read
from tests.kit import browsers, firefox, stamps
from tests.kit.caller import Caller
from tests.kit.node import Json, Node, running_node
from tests.kit.playback import plays
from tests.kit.until import until

pytestmark = [
    pytest.mark.browser,
    pytest.mark.anyio,
    pytest.mark.timeout(180),
    pytest.mark.skipif(bool(firefox.MISSING), reason=f"{', '.join(firefox.MISSING)} is missing"),
]

_CALL_S = 6
# Fewer pictures than this and a test says nothing; a busy machine sends fewer than 30 a second.
_ENOUGH = 3 * _CALL_S
_COUNTERS = 4096  # cells of the counter wrap at 12 bits
_AV_MS = 40
_PATIENCE_S = 30.0
_SEEN = """async () => {
  let seen = 0;
  for (const connection of window.connections)
    for (const report of (await connection.getStats()).values())
      if (report.type === "inbound-rtp" && report.kind === "video") seen += report.framesDecoded ?? 0;
  return seen;
}"""


async def test_firefox_and_chromium_see_each_other_and_each_leaves_its_own_content_that_plays(tmp_path: Path) -> None:
    async with (
        running_node(tmp_path / "data", video_codecs=("VP9", "VP8")) as node,
        browsers.chromium() as chromium,
        firefox.firefox() as fox,
    ):
        room, code = await node.make_room()
        one = await browsers.join(chromium, node.server.url, code, 1)
        two = await firefox.join(fox, node.server.url, code, 2)
        await asyncio.gather(_sees_pictures(one), _sees_pictures(two))
        await two.seconds(_CALL_S)
        sent = {caller.name: (await caller.pictures_sent())["regular"] for caller in (one, two)}
        await two.leave()
        await one.leave()
        names = {peer["id"]: peer["name"] for peer in (await node.session(room))["peers"].values()}
        playing = []
        for asset in await node.assets(room, 2):
            caller = {"peer1": one, "peer2": two}[names[asset["metadata"]["peer_id"]]]
            file = await node.download(asset, tmp_path)
            _check_content(file, caller.number, caller.tone)
            _check_sync(file)
            assert len(stamps.pictures(file)) >= sent[caller.name]
            _check_whole(node, asset, file)
            assert (file.suffix, asset["metadata"]["codec"]["video"]) == (".mp4", "VP9")
            playing.append(plays(fox, file, asset["duration"]))
        await asyncio.gather(*playing)


async def _sees_pictures(caller: Caller) -> None:
    """Another 10 pictures of others are decoded in the caller's page."""
    before = int(await caller.page.evaluate(_SEEN))

    async def sees() -> bool:
        return int(await caller.page.evaluate(_SEEN)) >= before + 10

    await until(sees, _PATIENCE_S)


def _check_content(file: Path, number: int, tone: int) -> None:
    found = stamps.stamps(file)
    assert len(found) > _ENOUGH, f"{file.name}: only {len(found)} readable pictures"
    assert {stamp.peer for stamp in found} == {number}
    steps = {(after.counter - before.counter) % _COUNTERS for before, after in itertools.pairwise(found)}
    assert max(steps) < _COUNTERS // 2, "pictures are out of order"
    assert stamps.loudest_hz(stamps.sound(file)[48_000:]) == pytest.approx(tone, abs=5)


def _check_sync(file: Path) -> None:
    errors = np.abs(stamps.av_errors_ms(file))
    assert len(errors) > _ENOUGH
    assert float(np.median(errors)) <= _AV_MS
    assert float(np.percentile(errors, 95)) <= 60


def _check_whole(node: Node, asset: Json, file: Path) -> None:
    """No packet is missing, and each picture that came is in the file once."""
    for track in node.sidecar(asset)["tracks"]:
        assert track["packets"]["lost"] == 0, track["kind"]
        assert track["packets"]["expected"] == track["packets"]["received"], track["kind"]
        if track["kind"] == "video":
            packets = np.concatenate([read(node.journal(journal["id"])).packets for journal in track["journals"]])
            came = len(np.unique(packets["timestamp"][packets["length"] > 0]))
            cut_off = came + len(track["fillers"]) - len(stamps.pictures(file))
            assert cut_off in (0, 1), "only the picture that was being sent at the leave may be incomplete"
