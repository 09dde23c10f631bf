"""A headless Chromium that opens one page and runs expressions in it, over the DevTools protocol.

Only what the demo needs: start, evaluate as if a person had clicked, close. The tests use Playwright; this keeps
the demo free of it. It polls, because a page and a starting process offer no event to wait for.
"""

import asyncio
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect

from isotape.errors import IsotapeError

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # the demo may run as root in a container; it opens only our own page
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--mute-audio",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--auto-accept-this-tab-capture",
    # Chromium hides host candidates behind mDNS names, which nothing resolves on a machine without avahi.
    "--disable-features=WebRtcHideLocalIpsWithMdns",
    "--remote-debugging-port=0",
)
_START_S = 30.0
_ANSWER_S = 20.0


def find_chromium() -> Path | None:
    """The Chromium on the PATH, if there is one."""
    return next((Path(found) for name in _NAMES if (found := shutil.which(name))), None)


class Browser:
    """One Chromium process with one page. Use as `async with await Browser.open(program, url) as browser`."""

    def __init__(self, process: asyncio.subprocess.Process, socket: ClientConnection, profile: str) -> None:
        self._process = process
        self._socket = socket
        self._profile = profile
        self._sequence = 0

    @classmethod
    async def open(cls, program: Path, url: str) -> Self:
        """Starts Chromium on `url`; IsotapeError when it does not come up within 30 s."""
        profile = tempfile.mkdtemp(prefix="isotape-browser-")
        process = await asyncio.create_subprocess_exec(
            str(program),
            *_FLAGS,
            f"--user-data-dir={profile}",
            url,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(_START_S):
                socket = await _attach(Path(profile) / "DevToolsActivePort", url)
        except (TimeoutError, OSError) as error:
            process.kill()
            await process.wait()
            raise IsotapeError(f"browser {program}: did not open {url}: {error!r}") from error
        return cls(process, socket, profile)

    async def evaluate(self, expression: str) -> Any:
        """The JSON value of an expression (promises awaited), run as if a person had just clicked."""
        return await self._call(
            "Runtime.evaluate", expression=expression, userGesture=True, awaitPromise=True, returnByValue=True
        )

    async def until(self, expression: str, timeout_s: float) -> None:
        """Waits until the expression is truthy; IsotapeError names it when it never is."""
        try:
            async with asyncio.timeout(timeout_s):
                while not await self.evaluate(expression):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        except TimeoutError as error:
            raise IsotapeError(f"browser: {expression} did not come true within {timeout_s:.0f} s") from error

    async def close(self) -> None:
        await self._socket.close()
        if self._process.returncode is None:
            self._process.terminate()
        await self._process.wait()
        await asyncio.to_thread(shutil.rmtree, self._profile, ignore_errors=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    async def _call(self, method: str, **params: Any) -> Any:
        self._sequence += 1
        await self._socket.send(json.dumps({"id": self._sequence, "method": method, "params": params}))
        async with asyncio.timeout(_ANSWER_S):
            while (answer := json.loads(await self._socket.recv())).get("id") != self._sequence:
                pass
        result = answer.get("result", {})
        if "exceptionDetails" in result or "error" in answer:
            raise IsotapeError(f"browser: {params.get('expression', method)} failed: {json.dumps(answer)[:500]}")
        return result.get("result", {}).get("value")


async def _attach(port_file: Path, url: str) -> ClientConnection:
    """Connects to the DevTools socket of the page that shows `url`."""
    while not (await asyncio.to_thread(_read, port_file)).count("\n"):  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    port = int((await asyncio.to_thread(_read, port_file)).splitlines()[0])
    while True:
        for target in await _targets(port):
            if target["type"] == "page" and target["url"].split("?")[0] == url.split("?")[0]:
                return await connect(target["webSocketDebuggerUrl"], max_size=None, proxy=None)
        await asyncio.sleep(0.1)


def _read(file: Path) -> str:
    return file.read_text() if file.exists() else ""


async def _targets(port: int) -> list[dict[str, str]]:
    import httpx2

    async with httpx2.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"http://127.0.0.1:{port}/json")
    targets: list[dict[str, str]] = answer.json()
    return targets
