"""Firefox mutes, changes its devices, shares its screen, loses its socket, loses the server: right assets, right lengths, right places."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from tests.kit import firefox, stamps
from tests.kit.caller import Caller
from tests.kit.node import Json, Node, running_node
from tests.kit.process import served_node
from tests.kit.until import until

pytestmark = [
    pytest.mark.browser,
    pytest.mark.anyio,
    pytest.mark.timeout(180),
    pytest.mark.skipif(bool(firefox.MISSING), reason=f"{', '.join(firefox.MISSING)} is missing"),
]

_AV_MS = 40
_MUTED_S = 4
_SHARED_S = 3
_DOWN_S = 2
# The SDK tries for 60 s, with pauses that grow.
_BACK_S = 60.0
_SENT = """async (known) => {
  let sent = 0;
  for (const connection of window.connections.slice(known))
    for (const report of (await connection.getStats()).values())
      if (report.type === "outbound-rtp" && report.kind === "video") sent += report.framesSent;
  return sent;
}"""


async def test_mutes_other_devices_a_lost_socket_and_a_share_keep_everything_in_place(tmp_path: Path) -> None:
    async with running_node(tmp_path / "data") as node, firefox.firefox() as fox:
        room, code = await node.make_room()
        person = await firefox.join(fox, node.server.url, code, 1)
        await person.seconds(3)
        await _press(person, "mic", "camera")
        await person.seconds(_MUTED_S)
        await _press(person, "mic", "camera")
        await person.seconds(1)
        await person.page.evaluate("isotape.hmsActions.setVideoSettings({ deviceId: 'another camera' })")
        await person.page.evaluate("isotape.hmsActions.setAudioSettings({ deviceId: 'another microphone' })")
        await _lose_the_socket(person)
        await person.act("share")
        await person.seconds(_SHARED_S)
        await person.act("share")
        await person.seconds(1)
        await person.leave()
        files = {asset["metadata"]["stream_type"]: asset for asset in await node.assets(room, 2)}
        assert set(files) == {"regular", "screen"}
        assert len((await node.session(room))["peers"]) == 1
        await _check_regular(node, files["regular"], tmp_path)
        screen = await _checked(node, files["screen"], tmp_path, 1 + 8)
        assert len(stamps.sound(screen)) / 48_000 == pytest.approx(_SHARED_S, abs=1)
        assert stamps.loudest_hz(stamps.sound(screen)[48_000:]) == pytest.approx(2 * person.tone, abs=5)


async def _check_regular(node: Node, asset: Json, folder: Path) -> None:
    file = await _checked(node, asset, folder, 1)
    heard = stamps.beeps(stamps.sound(file))
    gaps = [after - before for before, after in itertools.pairwise(heard)]
    stood_s = stamps.stood_most_ms(file) / 1000
    assert max(gaps) == pytest.approx(round((max(gaps) - stood_s) / 2) * 2, abs=0.04 + stood_s), (
        "a beep is out of place"
    )
    assert _MUTED_S <= max(gaps) <= _MUTED_S + 4 + stood_s
    for track in node.sidecar(asset)["tracks"]:
        # What else there is, the sound device of a busy machine missed.
        (muted,) = [gap for gap in track["gaps"] if "stood still" not in gap["note"]]
        assert muted["cause"] == "muted"
        assert (muted["to_ms"] - muted["from_ms"]) / 1000 == pytest.approx(_MUTED_S, abs=0.5), track["kind"]
    # A stamped camera counts from 0: after the mute a second one was there, and after the change a third.
    restarts = [after.counter < before.counter for before, after in itertools.pairwise(stamps.stamps(file))]
    assert sum(restarts) == 2


async def test_a_killed_server_costs_one_gap_in_one_file(tmp_path: Path) -> None:
    async with served_node(tmp_path) as node, firefox.firefox() as fox:
        room, code = await node.make_room()
        person = await firefox.join(fox, node.server.url, code, 3)
        await person.seconds(4)
        known = int(await person.page.evaluate("window.connections.length"))
        await node.server.kill()
        await person.seconds(_DOWN_S)
        await node.server.start()

        async def flows() -> bool:
            return int(await person.page.evaluate(_SENT, known)) > 10

        await until(flows, _BACK_S)
        await person.seconds(4)
        await person.leave()
        (asset,) = await node.assets(room, 1)
        await _checked(node, asset, tmp_path, 3)
        for track in node.sidecar(asset)["tracks"]:
            (gap,) = [gap for gap in track["gaps"] if gap["to_ms"] - gap["from_ms"] > 500]
            assert gap["cause"] == "restart", track["kind"]
        assert await node.told() == [asset["id"]]
        assert len(await node.of_room(room)) == 1


async def _lose_the_socket(person: Caller) -> None:
    """The socket closes as a network would close it, and the SDK opens another; media goes on meanwhile."""
    await person.page.evaluate("window.sockets.at(-1).close(4000)")
    again = "window.sockets.length > 1 && window.sockets.at(-1).readyState === WebSocket.OPEN"
    await until(lambda: person.page.evaluate(again), _BACK_S)


async def _press(person: Caller, *buttons: str) -> None:
    for button in buttons:
        await person.act(button)


async def _checked(node: Node, asset: Json, folder: Path, number: int) -> Path:
    """The file; its pictures are that peer's, its length is the page's, its sound is with its pictures, and nothing was lost."""
    file = await node.download(asset, folder)
    found = stamps.stamps(file)
    assert {stamp.peer for stamp in found} == {number}
    truth_s = (found[-1].page_ms - found[0].page_ms) % 65_536 / 1000
    assert found[-1].at_s - found[0].at_s == pytest.approx(truth_s, abs=0.1)
    assert abs(float(np.median(stamps.av_errors_ms(file)))) <= _AV_MS
    assert [track["packets"]["lost"] for track in node.sidecar(asset)["tracks"]] == [0, 0]
    return file
