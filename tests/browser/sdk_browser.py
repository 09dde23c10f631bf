"""Chromium pages that hold the unmodified client SDK."""

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, async_playwright
from starlette.responses import FileResponse, HTMLResponse

from tests.kit.server import LiveServer
from tests.kit.until import until

_ROOT = Path(__file__).parents[2]
_CHROMIUM = "/usr/bin/chromium"
_TAB = "isotape test tab"
# Decoding on a machine that also encodes and records takes its time; this is a bound, not a pace.
_PATIENCE_S = 30.0


def bundle(folder: Path) -> Path:
    """The page's script, bundled from the installed SDK."""
    out = folder / "sdk_page.js"
    source = Path(__file__).with_name("sdk_page.js")
    command = [_ROOT / "node_modules/.bin/esbuild", source, "--bundle", f"--outfile={out}", "--log-level=error"]
    subprocess.run([*command, "--define:process.env={}"], check=True, cwd=_ROOT)
    return out


def serve_page(server: LiveServer, script: Path) -> None:
    """Adds the page to a server."""
    server.http.get("/sdk")(lambda: HTMLResponse(f"<title>{_TAB}</title><body><script src=/sdk.js></script></body>"))
    server.http.get("/sdk.js")(lambda: FileResponse(script))


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    arguments = [
        "--no-sandbox",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--auto-select-tab-capture-source-by-title={_TAB}",
    ]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=_CHROMIUM, args=arguments)
        yield browser
        await browser.close()


class SdkPeer:
    """One page with one peer."""

    def __init__(self, page: Page) -> None:
        self.page = page

    @classmethod
    async def join(cls, browser: Browser, url: str, code: str, name: str) -> "SdkPeer":
        context = await browser.new_context(permissions=["camera", "microphone"])
        page = await context.new_page()
        await page.goto(f"{url}/sdk")
        await page.wait_for_function("() => window.isotape !== undefined")
        await page.evaluate("([code, name]) => isotape.join(code, name)", [code, name])
        return cls(page)

    async def do(self, script: str) -> Any:
        return await self.page.evaluate(script)

    async def remote(self, **wanted: Any) -> list[dict[str, Any]]:
        """The remote tracks with these properties."""
        tracks: list[dict[str, Any]] = await self.do("isotape.remote()")
        return [track for track in tracks if all(track[name] == value for name, value in wanted.items())]

    async def sees_pictures(self, **wanted: Any) -> None:
        """Waits until another 5 frames of such a remote track were decoded."""
        before = await self._frames(**wanted)

        async def more() -> bool:
            return await self._frames(**wanted) >= before + 5

        await until(more, _PATIENCE_S)

    async def sees(self, count: int, **wanted: Any) -> None:
        """Waits until there are so many such remote tracks."""

        async def enough() -> bool:
            return len(await self.remote(**wanted)) == count

        await until(enough, _PATIENCE_S)

    async def becomes(self, script: str, value: Any) -> None:
        """Waits until the script gives the value."""

        async def is_so() -> bool:
            return bool(await self.do(script) == value)

        await until(is_so, _PATIENCE_S)

    async def _frames(self, **wanted: Any) -> int:
        return sum(track["frames"] for track in await self.remote(type="video", **wanted))
