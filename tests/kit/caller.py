"""One peer on the join page, in whatever browser: stamped devices, the unmodified client SDK, and what a person does there.

tests.kit.browsers (Chromium) and tests.kit.firefox open the page; everything that is the same in both stands here.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

_DEVICES = Path(__file__).with_name("stamped_devices.js").read_text()
_JOIN_MS = 30_000
# Keeps the SDK's peer connections and sockets in reach, so that a test can ask what they sent, or cut them.
_KEEP_CONNECTIONS = """
window.connections = [];
window.RTCPeerConnection = class extends RTCPeerConnection {
  constructor(...given) { super(...given); window.connections.push(this); }
};
window.sockets = [];
window.WebSocket = class extends WebSocket {
  constructor(...given) { super(...given); window.sockets.push(this); }
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


class Tab(Protocol):
    """What a test needs of a page, as Playwright names it."""

    async def add_init_script(self, script: str) -> Any: ...

    async def goto(self, url: str) -> Any: ...

    async def evaluate(self, expression: str, arg: Any = None, /) -> Any: ...

    async def click(self, selector: str) -> None: ...

    async def wait_for_selector(self, selector: str, *, timeout: float) -> Any: ...

    async def wait_for_timeout(self, timeout: float) -> None: ...

    async def close(self) -> None: ...


class Browser(Protocol):
    """A browser that opens pages which share nothing."""

    async def new_page(self) -> Tab: ...


@dataclass
class Caller:
    """One peer in a page of its own; its pictures carry its number."""

    page: Tab
    number: int

    @property
    def tone(self) -> int:
        """The pitch of its sound (Hz)."""
        return 400 + 150 * self.number

    @property
    def name(self) -> str:
        return f"peer{self.number}"

    async def act(self, what: str) -> None:
        """Presses a button of the bar: mic, camera, share or leave."""
        await self.page.click(f"#bar [data-act={what}]")

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


async def enter(caller: Caller, url: str, code: str, query: str = "") -> None:
    """Opens the join page with the caller's devices and returns once the caller has joined the room of `code`."""
    page = caller.page
    await page.add_init_script(_KEEP_CONNECTIONS)
    await page.add_init_script(f"({_DEVICES.strip()})({{peer: {caller.number}, tone: {caller.tone}}});")
    await page.goto(f"{url}/join/{code}?auto=1&name={caller.name}{query}")
    await page.wait_for_selector("body[data-state=joined]", timeout=_JOIN_MS)
