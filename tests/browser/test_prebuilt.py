"""The 100ms Prebuilt UI on its own page: what a peer sends with it is recorded like any other's, and nothing of it leaves this host.

Unmodified UI in Chromium, stamped devices, a whole node. `make prebuilt` builds the page first, where that was not done.
"""

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from playwright.async_api import Browser, Page, Request, expect

from isotape.dashboard.pages import prebuilt
from tests.kit import stamps
from tests.kit.browsers import chromium, join
from tests.kit.node import running_node
from tests.kit.until import until

# Installing what the page is bundled from takes a minute where nothing of it is cached.
pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.anyio, pytest.mark.timeout(600)]

_ROOT = Path(__file__).parents[2]
_DEVICES = (_ROOT / "tests/kit/stamped_devices.js").read_text()
_PATIENCE_MS = 30_000
_CALL_S = 6
# The screen's own button carries no name; it stands before the menu of all that can be shared.
_SHARE = "button:has(+ [data-testid=sharing_btn])"
# A machine that is busy with other work sends fewer pictures; fewer than this and the test says nothing.
_ENOUGH = 3 * _CALL_S


@pytest.fixture(scope="module")
def built() -> None:
    """The page's bundle, as the Makefile makes it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    made = subprocess.run(["make", "prebuilt"], cwd=_ROOT, env=environment, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr


@dataclass
class Guest:
    """One peer on the Prebuilt page; every request of its page is kept."""

    page: Page
    number: int
    requests: list[Request] = field(default_factory=list)

    @property
    def tone(self) -> int:
        return 400 + 150 * self.number

    async def join(self, url: str, code: str) -> None:
        self.page.context.on("request", lambda request: self.requests.append(request))
        await self.page.add_init_script(f"({_DEVICES.strip()})({{peer: {self.number}, tone: {self.tone}}});")
        await self.page.goto(f"{url}/prebuilt/{code}?name=guest{self.number}")
        await self.page.get_by_role("button", name="Join Now").click(timeout=_PATIENCE_MS)
        await expect(self.page.get_by_test_id("conferencing")).to_be_visible(timeout=_PATIENCE_MS)

    async def leave(self) -> None:
        await self.page.get_by_test_id("leave_room_btn").click()
        await self.page.get_by_test_id("leave_room").click()
        await expect(self.page.get_by_text("You left the room")).to_be_visible(timeout=_PATIENCE_MS)

    async def sees(self, name: str) -> None:
        """Waits until the tile of a peer shows decoded frames that move on."""
        film = self.page.get_by_test_id(f"participant_tile_{name}").locator("video")
        await film.evaluate(
            "film => new Promise(seen => { let left = 5; const next = () => --left ? film.requestVideoFrameCallback(next)"
            " : seen(); film.requestVideoFrameCallback(next); })"
        )

    def strangers(self, url: str) -> list[str]:
        """The requests to anywhere but the server."""
        return [
            one.url for one in self.requests if urlsplit(one.url.removeprefix("blob:")).netloc != urlsplit(url).netloc
        ]


async def test_a_peer_joins_shares_and_leaves_with_prebuilt_and_its_files_hold_what_it_sent(
    tmp_path: Path, built: None
) -> None:
    async with running_node(tmp_path / "data") as node, chromium() as browser:
        room, code = await node.make_room()
        guest = await _guest(browser, 1, node.server.url, code)
        other = await join(browser, node.server.url, code, 2)
        await guest.sees(other.name)
        await guest.page.click(_SHARE)
        await other.page.wait_for_selector(".tile[data-kind=screen] video", timeout=_PATIENCE_MS)
        await other.seconds(_CALL_S)
        await guest.leave()
        files = {asset["metadata"]["stream_type"]: asset for asset in await node.assets(room, 2)}
        assert sorted(files) == ["regular", "screen"]
        for kind, carried, tone in (("regular", 1, guest.tone), ("screen", 1 + 8, 2 * guest.tone)):
            file = await node.download(files[kind], tmp_path)
            found = stamps.stamps(file)
            assert len(found) > _ENOUGH
            assert {stamp.peer for stamp in found} == {carried}
            assert stamps.loudest_hz(stamps.sound(file)[48_000:]) == pytest.approx(tone, abs=5)
        await other.leave()
        assert guest.strangers(node.server.url) == []


async def _guest(browser: Browser, number: int, url: str, code: str) -> Guest:
    guest = Guest(await browser.new_page(viewport={"width": 1280, "height": 760}), number)
    await guest.join(url, code)
    return guest


async def test_a_prebuilt_peer_whose_socket_drops_comes_back_into_its_asset(tmp_path: Path, built: None) -> None:
    async with running_node(tmp_path / "data") as node, chromium() as browser:
        room, code = await node.make_room()
        guest = await _guest(browser, 3, node.server.url, code)
        other = await join(browser, node.server.url, code, 4)
        await guest.sees(other.name)
        asked = len(guest.requests)
        await guest.page.context.set_offline(True)
        await other.seconds(3)
        await guest.page.context.set_offline(False)
        await until(lambda: any("/init?" in one.url for one in guest.requests[asked:]), _PATIENCE_MS / 1000)
        await other.seconds(_CALL_S)
        await guest.sees(other.name)
        await guest.leave()
        (asset,) = await node.assets(room, 1)
        file = await node.download(asset, tmp_path)
        assert {stamp.peer for stamp in stamps.stamps(file)} == {3}
        assert asset["duration"] >= _CALL_S
        await other.leave()
        assert guest.strangers(node.server.url) == []


async def test_chat_hand_mute_and_the_end_reach_the_others_and_the_policy_lets_the_ui_look_as_it_is_drawn(
    tmp_path: Path, built: None
) -> None:
    async with running_node(tmp_path / "data") as node, chromium() as browser:
        _, code = await node.make_room()
        guest = await _guest(browser, 5, node.server.url, code)
        refused: list[str] = []
        guest.page.on("console", lambda said: refused.append(said.text) if "style violates" in said.text else None)
        other = await join(browser, node.server.url, code, 6)
        await guest.page.get_by_test_id("chat_btn").click()
        await guest.page.get_by_placeholder("Send a message...").fill("hello")
        await guest.page.keyboard.press("Enter")
        await expect(other.page.locator(".message")).to_have_text("guest5hello", timeout=_PATIENCE_MS)
        await guest.page.locator("[aria-haspopup=dialog]").last.click()
        await expect(guest.page.locator("em-emoji-picker")).to_be_visible()
        await guest.page.keyboard.press("Escape")
        await guest.page.get_by_test_id("emoji_reaction_btn").click()
        await expect(guest.page.locator("em-emoji").first).to_be_visible()
        await guest.page.keyboard.press("Escape")
        await guest.page.get_by_test_id("hand_raise_btn").click()
        await until(
            lambda: other.sdk("Object.values(state.peers).some(peer => peer.isHandRaised)"), _PATIENCE_MS / 1000
        )
        await guest.page.get_by_test_id("audio_toggle_btn").click()
        muted = other.page.locator(".tile", has_text="guest5")
        await expect(muted).to_have_attribute("data-muted", "true", timeout=_PATIENCE_MS)
        await guest.page.get_by_test_id("leave_end_dropdown_trigger").click()
        await guest.page.get_by_test_id("end_room_btn").click()
        await guest.page.get_by_test_id("stop_stream_btn").click()
        await other.page.wait_for_selector("body[data-state=left]", timeout=_PATIENCE_MS)
        assert refused == []
        assert guest.strangers(node.server.url) == []


async def test_the_bundle_travels_compressed_to_whoever_takes_that(tmp_path: Path, built: None) -> None:
    async with running_node(tmp_path / "data") as node, httpx2.AsyncClient(trust_env=False) as client:
        url = f"{node.server.url}/static/prebuilt/prebuilt.js"
        answers = [await client.get(url, headers={"Accept-Encoding": takes}) for takes in ("gzip", "identity")]
        assert answers[0].content == answers[1].content
        assert [answer.headers["content-type"].partition(";")[0] for answer in answers] == ["text/javascript"] * 2
        assert int(answers[0].headers["content-length"]) < int(answers[1].headers["content-length"]) / 2


async def test_a_server_without_the_bundle_names_the_command_that_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prebuilt, "PREBUILT", tmp_path / "nothing")
    async with running_node(tmp_path / "data") as node, httpx2.AsyncClient(trust_env=False) as client:
        _, code = await node.make_room()
        answer = await client.get(f"{node.server.url}/prebuilt/{code}")
        assert answer.status_code == 404
        assert "make prebuilt" in answer.text
        assert f"/join/{code}" in answer.text
