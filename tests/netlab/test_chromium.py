"""Chromium over a bad network: the ledger agrees with what the relay carried, and sound and picture stay in step.

There is no ground truth of bytes here, but the relay saw every sequence number that left the browser.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isotape import journal
from isotape.assets.packets import TrackLog, read
from tests.kit import stamps
from tests.kit.browsers import chromium, join
from tests.kit.netlab.conditions import Fate
from tests.kit.netlab.fates import Rows
from tests.kit.netlab.lab import ANNOUNCED, both_ways, running_lab
from tests.kit.node import running_node

pytestmark = [pytest.mark.anyio, pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(180)]

_SECONDS = 15
_BAD = both_ways(100, loss_percent=2, jitter_ms=30)
# The goal for Chromium over such a network.
_AV_ERROR_MS = 40.0


def of_track(log: TrackLog, fates: Rows) -> tuple[set[int], set[int], set[int]]:
    """Sequence numbers that the browser sent, that were given to the server before the journal ended, and that the journal holds."""
    (ssrc,) = set(log.packets["ssrc"].tolist())
    mine = fates[fates["ssrc"] == ssrc]
    ended_ns = int(log.packets["arrival_ns"].max())
    given = mine[(mine["fate"] == Fate.GIVEN) & (mine["given_ns"] < ended_ns)]
    return set(mine["sequence"].tolist()), set(given["sequence"].tolist()), set(log.packets["sequence"].tolist())


def assert_accounted_for(stated: dict[str, Any], log: TrackLog, fates: Rows) -> None:
    sent, given, kept = of_track(log, fates)
    assert kept <= sent, "the journal holds packets that the browser never sent"
    assert given <= kept, "packets that were given to the server are not in the journal"
    packets = stated["packets"]
    assert packets["received"] + packets["recovered"] == len(kept)
    assert packets["lost"] == packets["expected"] - len(kept)
    assert sum(gap["packets"] for gap in stated["gaps"]) == packets["lost"]


async def test_a_browser_on_a_bad_network_is_accounted_for_and_in_step(tmp_path: Path) -> None:
    async with (
        running_node(tmp_path / "node", rtc_ip=ANNOUNCED) as node,
        running_lab(tmp_path / "fates") as lab,
        chromium() as browser,
    ):
        route = await lab.open_announced("browser", node.server.engine.media_port, _BAD)
        room, code = await node.make_room()
        person = await join(browser, node.server.url, code, 1)
        await person.seconds(_SECONDS)
        await person.leave()
        (asset,) = await node.assets(room, 1)
        file, sidecar = await node.download(asset, tmp_path), node.sidecar(asset)
        report = await route.report()
        assert report["kernel_drops"] == 0
        assert report["up"]["lost"] > 0
        logs = {log.kind: log for log in map(read, journal.find(node.server.settings.journal_root))}
        for stated in sidecar["tracks"]:
            assert_accounted_for(stated, logs[stated["kind"]], route.fates())
        errors = np.abs(stamps.av_errors_ms(file))
        assert float(np.percentile(errors, 95)) <= _AV_ERROR_MS
