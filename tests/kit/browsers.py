"""Real Chromium with stamped devices, on the join page, with the unmodified client SDK."""

import asyncio
import os
import signal
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


async def starve_sound(seconds: float) -> None:
    """Lets the browsers of this test make no sound for a while, as a starved machine does: their audio services stand still."""
    services = [pid for pid in descendants(os.getpid()) if b"audio.mojom.AudioService" in _command(pid)]
    assert services, "no audio service of a browser runs"
    for pid in services:
        os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        for pid in services:
            os.kill(pid, signal.SIGCONT)


def descendants(pid: int) -> list[int]:
    """The processes that a process started, directly or through others."""
    parents = {int(folder.name): parent for folder in Path("/proc").glob("[0-9]*") if (parent := _parent(folder))}
    found = [pid]
    for ancestor in found:
        found += [child for child, parent in parents.items() if parent == ancestor]
    return found[1:]


def _parent(folder: Path) -> int:
    """The parent of the process of a /proc folder; 0 when it is gone. proc(5): the second field may hold spaces, so count behind it."""
    try:
        return int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
