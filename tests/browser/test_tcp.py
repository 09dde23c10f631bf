"""A browser whose network lets no UDP through is recorded over TCP, and one that changes its way stays in its recording."""

from pathlib import Path
from typing import Any

import pytest

from tests.kit import browsers, firefox, stamps
from tests.kit.netlab.conditions import Conditions
from tests.kit.netlab.lab import ANNOUNCED, Weather, running_lab
from tests.kit.node import running_node
from tests.kit.tcp_relay import tcp_relay

pytestmark = [pytest.mark.browser, pytest.mark.anyio, pytest.mark.timeout(180)]

# Longer than the pause between two consent checks of Firefox, which is 4 to 6 s (RFC 7675 section 5.1).
_CALL_S = 8
_BOTH = pytest.mark.parametrize(
    ("opened", "join"),
    [
        pytest.param(browsers.chromium, browsers.join, id="chromium"),
        pytest.param(
            firefox.firefox,
            firefox.join,
            id="firefox",
            marks=pytest.mark.skipif(bool(firefox.MISSING), reason=f"{', '.join(firefox.MISSING)} is missing"),
        ),
    ],
)
_FINE = Weather()
_NOTHING_PASSES = Weather(Conditions(loss_percent=100), Conditions(loss_percent=100))


@_BOTH
async def test_a_browser_without_udp_is_recorded_over_tcp(tmp_path: Path, opened: Any, join: Any) -> None:
    async with running_node(tmp_path / "data", rtc_ip=ANNOUNCED) as node, opened() as browser:
        async with tcp_relay(ANNOUNCED, node.server.engine.media_port):
            room, code = await node.make_room()
            person = await join(browser, node.server.url, code, 1)
            await person.seconds(_CALL_S)
            await person.leave()
            (asset,) = await node.assets(room, 1)
        assert node.server.engine.metrics()["tcp_frames_received"] > 0
        _check_content(await node.download(asset, tmp_path), person.number, person.tone)
        assert all(track["packets"]["lost"] == 0 for track in node.sidecar(asset)["tracks"])


@_BOTH
async def test_a_browser_whose_udp_dies_goes_on_over_tcp_in_the_same_recording(
    tmp_path: Path, opened: Any, join: Any
) -> None:
    async with (
        running_node(tmp_path / "data", rtc_ip=ANNOUNCED) as node,
        running_lab(tmp_path / "fates") as lab,
        opened() as browser,
        tcp_relay(ANNOUNCED, node.server.engine.media_port),
    ):
        route = await lab.open_announced("browser", node.server.engine.media_port, _FINE)
        room, code = await node.make_room()
        person = await join(browser, node.server.url, code, 1)
        await person.seconds(_CALL_S)
        await route.change(_NOTHING_PASSES)
        await person.seconds(2 * _CALL_S)
        await person.leave()
        (asset,) = await node.assets(room, 1)
        metrics = node.server.engine.metrics()
        assert metrics["tcp_frames_received"] > metrics["received_packets"] / 4
        assert metrics["path_changes"] >= 1
        _check_content(await node.download(asset, tmp_path), person.number, person.tone)
        (sound,) = [track for track in node.sidecar(asset)["tracks"] if track["kind"] == "audio"]
        _check_stated(sound)
        assert sound["packets"]["lost"] > 0, "nothing was cut: nothing was tested"


@_BOTH
async def test_a_browser_behind_a_rebinding_nat_goes_on_in_the_same_recording(
    tmp_path: Path, opened: Any, join: Any
) -> None:
    async with (
        running_node(tmp_path / "data", rtc_ip=ANNOUNCED) as node,
        running_lab(tmp_path / "fates") as lab,
        opened() as browser,
    ):
        route = await lab.open_announced("browser", node.server.engine.media_port, _FINE)
        room, code = await node.make_room()
        person = await join(browser, node.server.url, code, 1)
        for _ in range(3):
            await person.seconds(_CALL_S)
            await route.rebind()
        await person.seconds(_CALL_S)
        await person.leave()
        (asset,) = await node.assets(room, 1)
        assert node.server.engine.metrics()["path_changes"] >= 3
        _check_content(await node.download(asset, tmp_path), person.number, person.tone)
        for track in node.sidecar(asset)["tracks"]:
            _check_stated(track)


def _check_content(file: Path, number: int, tone: int) -> None:
    """The pictures are the browser's, in order, and the sound is too."""
    found = stamps.stamps(file)
    assert len(found) > 3 * _CALL_S, f"only {len(found)} readable pictures"
    assert {stamp.peer for stamp in found} == {number}
    assert stamps.loudest_hz(stamps.sound(file)[48_000:]) == pytest.approx(tone, abs=5)


def _check_stated(track: dict[str, Any]) -> None:
    """What was lost on the way is stated, packet by packet and as gaps."""
    for name in ("losses", "gaps"):
        assert sum(one["packets"] for one in track[name]) == track["packets"]["lost"]
