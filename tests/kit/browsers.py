"""Real Chromium with stamped devices, on the join page, with the unmodified client SDK."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, async_playwright

_DEVICES = Path(__file__).with_name("stamped_devices.js").read_text()
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--mute-audio",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--disable-background-timer-throttling",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
)
_JOIN_MS = 30_000
# Sound is made in blocks of some 10 ms, and the clocks are read a moment apart.
_STALL_MS = 40
# Keeps the SDK's peer connections in reach, so that a test can ask them what they sent.
_KEEP_CONNECTIONS = """
window.connections = [];
window.RTCPeerConnection = class extends RTCPeerConnection {
  constructor(...given) { super(...given); window.connections.push(this); }
};
"""
_PICTURES_SENT = """async () => {
  const sent = { regular: 0, screen: 0 };
  for (const connection of window.connections)
    for (const sender of connection.getSenders())
      if (sender.track?.kind === "video")
        for (const report of (await sender.getStats()).values())
          if (report.type === "outbound-rtp") sent[sender.track.shown === "screen" ? "screen" : "regular"] += report.framesSent;
  return sent;
}"""


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Debian's Chromium, headless."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=list(_FLAGS))
        try:
            yield browser
        finally:
            await browser.close()


@dataclass
class Person:
    """One peer in a page of its own. `number` and `tone` are what its pictures and its sound carry."""

    page: Page
    number: int
    tone: int
    name: str

    async def act(self, what: str) -> None:
        """Presses a button of the bar: mic, camera, share or leave."""
        await self.page.locator(f"#bar [data-act={what}]").first.click()

    async def leave(self) -> None:
        await self.act("leave")
        await self.page.wait_for_selector("body[data-state=left]", timeout=_JOIN_MS)

    async def sdk(self, expression: str) -> Any:
        """A value of the SDK: `actions` and `state` are its own."""
        return await self.page.evaluate(
            f"() => {{ const actions = isotape.hmsActions, state = isotape.hmsStore.getState(); return {expression}; }}"
        )

    async def pictures_sent(self) -> dict[str, int]:
        """How many pictures the browser says it has sent so far, by kind of asset."""
        sent: dict[str, int] = await self.page.evaluate(_PICTURES_SENT)
        return sent

    async def sound_ran_on(self) -> bool:
        """Whether the browser made its sound without a stop so far. A busy machine's does not, and then dates nothing."""
        stall_ms: float = await self.page.evaluate("window.soundStall()")
        return abs(stall_ms) < _STALL_MS

    async def seconds(self, count: float) -> None:
        """Lets the call go on for that long: the length of a recording is what such a test is about."""
        await self.page.wait_for_timeout(count * 1000)


async def join(browser: Browser, url: str, code: str, number: int, query: str = "") -> Person:
    """A person who has joined the room of `code`; pictures carry `number`, the sound has its own pitch."""
    person = Person(await (await browser.new_context()).new_page(), number, 400 + 150 * number, f"peer{number}")
    await person.page.add_init_script(_KEEP_CONNECTIONS)
    stamp = f"{{peer: {number}, tone: {person.tone}}}"
    await person.page.add_init_script(f"({_DEVICES.strip()})({stamp});")
    await person.page.goto(f"{url}/join/{code}?auto=1&name={person.name}{query}")
    await person.page.wait_for_selector("body[data-state=joined]", timeout=_JOIN_MS)
    return person
