"""kill -9 of the server in the middle of a call: the SDK comes back by itself, and nothing that was recorded is lost or doubled.

The server is a process of its own, the peers are Chromium with the unmodified SDK and stamped devices, the files are decoded.
"""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.kit import stamps
from tests.kit.browsers import Person, chromium, join
from tests.kit.process import ServedNode, served_node
from tests.kit.until import until

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.anyio, pytest.mark.timeout(240)]

_BEFORE_S, _DOWN_S, _AFTER_S = 5, 3, 6
_GRACE_S = 12.0
# The SDK tries for 60 s, with pauses that grow.
_BACK_S = 60.0
_COUNTERS = 4096
_FLOWS = """async (known) => {
  for (const connection of window.connections.slice(known))
    for (const report of (await connection.getStats()).values())
      if (report.type === "outbound-rtp" && report.kind === "video" && report.framesSent > 10) return true;
  return false;
}"""


async def test_a_killed_server_costs_one_gap_and_nothing_else(tmp_path: Path) -> None:
    async with served_node(tmp_path) as node, chromium() as browser:
        room, code = await node.make_room()
        person = await join(browser, node.server.url, code, 1)
        await person.seconds(_BEFORE_S)
        session = await node.session(room)
        known = await _connections(person)
        await node.server.kill()
        await person.seconds(_DOWN_S)
        await node.server.start()
        await _is_back(person, known)
        await person.seconds(_AFTER_S)
        await person.leave()
        (asset,) = await node.assets(room, 1)
        assert asset["metadata"]["stream_type"] == "regular"
        file = await node.download(asset, tmp_path)
        gap_s = _one_restart_gap(node, asset)
        _check_pictures(file, gap_s)
        errors = stamps.av_errors_ms(file)
        assert float(np.abs(np.median(errors))) <= 40
        assert float(np.percentile(np.abs(errors), 95)) <= 60
        assert await _sessions(node, room) == [session["id"]]
        assert await node.told() == [asset["id"]]
        assert len(await node.of_room(room)) == 1


async def test_a_peer_that_does_not_come_back_has_its_asset_after_the_grace(tmp_path: Path) -> None:
    async with served_node(tmp_path, peer_grace_s=_GRACE_S) as node, chromium() as browser:
        room, code = await node.make_room()
        stays = await join(browser, node.server.url, code, 1)
        lost = await join(browser, node.server.url, code, 2)
        await stays.seconds(_BEFORE_S)
        known = await _connections(stays)
        await node.server.kill()
        await lost.page.close()
        await node.server.start()
        await _is_back(stays, known)
        (early,) = await node.assets(room, 1)
        file = await node.download(early, tmp_path)
        assert {stamp.peer for stamp in stamps.stamps(file)} == {2}
        assert len(stamps.stamps(file)) > _BEFORE_S
        await stays.leave()
        both = [asset["id"] for asset in await node.assets(room, 2)]
        assert sorted(await node.told()) == sorted(both)
        assert len(both) == 2


async def _is_back(person: Person, known: int) -> None:
    """Pictures flow over a connection that was made after the kill, when there were `known`."""

    async def flows() -> bool:
        return bool(await person.page.evaluate(_FLOWS, known))

    await until(flows, _BACK_S)


async def _connections(person: Person) -> int:
    return int(await person.page.evaluate("() => window.connections.length"))


def _one_restart_gap(node: ServedNode, asset: dict[str, Any]) -> float:
    lengths = []
    for track in node.sidecar(asset)["tracks"]:
        (gap,) = [gap for gap in track["gaps"] if gap["to_ms"] - gap["from_ms"] > 500]
        assert gap["cause"] == "restart", track["kind"]
        lengths.append((gap["to_ms"] - gap["from_ms"]) / 1000)
    assert min(lengths) >= _DOWN_S
    return max(lengths)


def _check_pictures(file: Path, gap_s: float) -> None:
    found = stamps.stamps(file)
    assert {stamp.peer for stamp in found} == {1}
    steps = {(after.counter - before.counter) % _COUNTERS for before, after in itertools.pairwise(found)}
    assert 0 not in steps, "a picture stands in the file twice"
    assert max(steps) < _COUNTERS // 2, "pictures are out of order"
    pauses = [(after.at_s - before.at_s, before.at_s) for before, after in itertools.pairwise(found)]
    longest, at_s = max(pauses)
    assert longest == pytest.approx(gap_s, abs=1.5)
    # At most a second of what came before the kill is missing, and there are pictures on both sides.
    assert at_s > _BEFORE_S - 1
    assert sum(stamp.at_s > at_s + 0.1 for stamp in found) > _AFTER_S * 3
    first, last = found[0], found[-1]
    truth_s = (last.page_ms - first.page_ms) % 65_536 / 1000
    assert last.at_s - first.at_s == pytest.approx(truth_s, abs=0.1)


async def _sessions(node: ServedNode, room: str) -> list[str]:
    return [session["id"] for session in (await node.get(f"/sessions?room_id={room}"))["data"]]
