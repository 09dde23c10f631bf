"""The join page in a real Chromium against the real live side: what two people see of each other and of the recording."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, async_playwright, expect

from isotape.dashboard import DashboardParts, build_dashboard, static_files
from isotape.ids import WorkspaceId
from isotape.storage.local import LocalStorage
from isotape.storage.signed_url import UrlSigner
from tests.browser.conftest import FLAGS
from tests.kit.server import LiveServer, live_server

pytestmark = [pytest.mark.browser, pytest.mark.anyio]

# A join needs two peer connections, and the browsers share the machine with other tests.
_JOIN_MS = 30_000
AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"


@asynccontextmanager
async def a_room(folder: Path, chromium: str) -> AsyncIterator[tuple[LiveServer, str, Browser]]:
    """A live server with the pages, the host's join link of a recorded room, and a browser."""
    async with live_server(folder) as server, async_playwright() as playwright:
        signer = UrlSigner("secret", server.url, server.clock)
        storage = LocalStorage(folder / "assets", signer)
        workspace = WorkspaceId(server.credentials.workspace_id)
        parts = DashboardParts(server.database, workspace, storage, server.clock, "secret", server.url)
        server.http.include_router(build_dashboard(parts))
        server.http.mount("/static", static_files())
        room = await server.make_room("weekly-review")
        browser = await playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield server, f"{server.url}/join/{await server.code(room, 'host')}", browser
        await browser.close()


async def joined(browser: Browser, link: str, name: str, **wishes: str) -> Page:
    """A person who joined by the link alone."""
    page = await browser.new_page(viewport={"width": 1280, "height": 760})
    query = "&".join(f"{key}={value}" for key, value in {"name": name, "auto": "1", **wishes}.items())
    await page.goto(f"{link}?{query}")
    await page.wait_for_selector("body[data-state=joined]", timeout=_JOIN_MS)
    return page


def tile(page: Page, name: str, kind: str = "regular") -> Any:
    return page.locator(f'.tile[data-kind="{kind}"]', has_text=name)


async def sees_picture(page: Page, name: str, kind: str = "regular") -> None:
    """Waits until the tile shows decoded frames that move on."""
    video = tile(page, name, kind).locator("video")
    await video.evaluate(
        "film => new Promise(seen => { const frames = []; const next = (_, frame) => { frames.push(frame.presentedFrames);"
        " frames.length > 4 ? seen() : film.requestVideoFrameCallback(next) }; film.requestVideoFrameCallback(next) })"
    )


async def test_a_person_joins_through_the_preview_and_two_see_each_other(
    tmp_path: Path, chromium_path: str, pictures: Path
) -> None:
    async with a_room(tmp_path, chromium_path) as (_, link, browser):
        page = await browser.new_page(viewport={"width": 1280, "height": 760})
        outside: list[str] = []
        page.on("request", lambda request: outside.append(request.url) if "127.0.0.1" not in request.url else None)
        await page.goto(link)
        await expect(page.locator("#preview-picture")).to_have_attribute("data-camera", "on", timeout=_JOIN_MS)
        await expect(page.get_by_text("This room is recorded from the moment you join.")).to_be_visible()
        await page.locator("#level").evaluate(
            "bar => new Promise(heard => { const look = () => bar.value > 0 ? heard() : requestAnimationFrame(look); look() })"
        )
        await page.screenshot(path=pictures / "join-preview.png")
        await page.get_by_label("Your name").fill("Ada Lovelace")
        await page.get_by_role("button", name="Join", exact=True).click()
        await page.wait_for_selector("body[data-state=joined]", timeout=_JOIN_MS)
        grace = await joined(browser, link, "Grace Hopper")
        await sees_picture(page, "Grace Hopper")
        await sees_picture(grace, "Ada Lovelace")
        await expect(page.locator(".recording-mark")).to_be_visible()
        await expect(page.locator("#people")).to_have_text("2 people")
        await expect(tile(page, "Grace Hopper")).to_have_attribute("data-speaking", "", timeout=_JOIN_MS)
        await page.screenshot(path=pictures / "join-call.png")
        assert [url for url in outside if url.startswith("http")] == []


async def test_mute_share_chat_and_leave_reach_the_other(tmp_path: Path, chromium_path: str, pictures: Path) -> None:
    async with a_room(tmp_path, chromium_path) as (_, link, browser):
        ada = await joined(browser, link, "Ada")
        grace = await joined(browser, link, "Grace")
        bar = ada.locator("#bar")
        await bar.get_by_role("button", name="Microphone").click()
        await expect(tile(grace, "Ada")).to_have_attribute("data-muted", "true")
        await bar.get_by_role("button", name="Camera").click()
        await expect(tile(grace, "Ada")).to_have_attribute("data-camera", "off")
        await bar.get_by_role("button", name="Share screen").click()
        await sees_picture(grace, "Screen of Ada", "screen")
        await grace.screenshot(path=pictures / "join-share.png")
        await bar.get_by_role("button", name="Share screen").click()
        await expect(grace.locator('.tile[data-kind="screen"]')).to_have_count(0)
        await grace.get_by_role("button", name="Chat").click()
        await grace.get_by_label("Message to everybody").fill("<b>hello</b>")
        await grace.keyboard.press("Enter")
        await expect(bar.get_by_role("button", name="Chat, 1 new")).to_be_visible()
        await expect(ada.locator(".message")).to_have_text("Grace<b>hello</b>")
        await bar.get_by_role("button", name="Leave").click()
        await expect(ada.get_by_text("You left the room.")).to_be_visible()
        await expect(grace.locator(".tile")).to_have_count(1)
        # A closed tab is a leave as well, long before the grace of a lost connection is over.
        other = await joined(browser, link, "Ada again")
        await expect(grace.locator(".tile")).to_have_count(2)
        await other.goto("about:blank")
        await expect(grace.locator(".tile")).to_have_count(1)


async def test_a_person_without_camera_and_microphone_shows_as_initials(tmp_path: Path, chromium_path: str) -> None:
    async with a_room(tmp_path, chromium_path) as (_, link, browser):
        ada = await joined(browser, link, "Ada Lovelace", mic="0", cam="0")
        await expect(tile(ada, "Ada Lovelace").locator(".tile-initials")).to_have_text("AL")
        await expect(tile(ada, "Ada Lovelace")).to_have_attribute("data-muted", "true")
        await expect(ada.locator("#bar [data-act=mic]")).to_have_attribute("aria-pressed", "false")


# Keeps the page's peer connections, so that a test can ask what their senders may use.
_WATCH_CONNECTIONS = """
window.connections = []
window.RTCPeerConnection = class extends RTCPeerConnection {
  constructor(...given) { super(...given); window.connections.push(this) }
}
"""
_MICROPHONE_BITRATE = """new Promise(raised => {
  const look = () => {
    const senders = connections.flatMap(one => one.getSenders()).filter(sender => sender.track?.kind === "audio")
    const most = Math.max(0, ...senders.flatMap(sender => sender.getParameters().encodings.map(one => one.maxBitrate ?? 0)))
    most > 32000 ? raised(most) : setTimeout(look, 50)
  }
  look()
})"""


async def test_the_microphone_is_published_with_the_quality_of_an_archive(tmp_path: Path, chromium_path: str) -> None:
    async with a_room(tmp_path, chromium_path) as (_, link, browser):
        page = await browser.new_page()
        await page.add_init_script(_WATCH_CONNECTIONS)
        await page.goto(f"{link}?auto=1&name=Ada")
        await page.wait_for_selector("body[data-state=joined]", timeout=_JOIN_MS)
        # The SDK's own cap of a voice is 32 kbit/s.
        assert await page.evaluate(_MICROPHONE_BITRATE) >= 128_000


async def test_a_code_that_opens_nothing_says_what_to_do(tmp_path: Path, chromium_path: str) -> None:
    async with a_room(tmp_path, chromium_path) as (server, _, browser):
        page = await browser.new_page()
        answer = await page.goto(f"{server.url}/join/abc-defg-hij")
        assert answer is not None
        assert answer.status == 404
        await expect(page.get_by_role("heading", level=1)).to_have_text("This code opens no room")


async def test_the_join_page_passes_axe_before_and_in_the_call(tmp_path: Path, chromium_path: str) -> None:
    async with a_room(tmp_path, chromium_path) as (_, link, browser):
        for query in ("", "?auto=1&name=Ada"):
            page = await browser.new_page(viewport={"width": 360, "height": 780})
            await page.goto(link + query)
            await page.wait_for_selector(f"body[data-state={'joined' if query else 'preview'}]", timeout=_JOIN_MS)
            session = await page.context.new_cdp_session(page)
            await session.send("Page.setBypassCSP", {"enabled": True})
            await page.evaluate(AXE.read_text())
            found = await page.evaluate(
                "async () => (await axe.run()).violations.map(v => `${v.id}: ${v.nodes[0].html}`)"
            )
            assert found == []
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
