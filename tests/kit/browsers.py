"""Real Chromium with stamped devices, on the join page, with the unmodified client SDK."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import Browser, Page, async_playwright

from tests.kit.caller import Caller, enter

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


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Debian's Chromium, headless."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=list(_FLAGS))
        try:
            yield browser
        finally:
            await browser.close()


class Person(Caller):
    """One peer in a page of Chromium."""

    page: Page


async def join(browser: Browser, url: str, code: str, number: int, query: str = "") -> Person:
    """A person who has joined the room of `code`; pictures carry `number`, the sound has its own pitch."""
    person = Person(await browser.new_page(), number)
    await enter(person, url, code, query)
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
