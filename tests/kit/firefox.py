"""Debian's Firefox ESR, headless, driven over WebDriver BiDi: the protocol that it speaks itself, so that no driver has to be installed.

Its pages answer to the same calls as those of tests.kit.browsers (evaluate, click, wait_for_selector …), so that a test can be told which
browser to take. A fresh profile each time; a proxy that is not there keeps everything but this machine's own addresses out of reach.
"""

import asyncio
import itertools
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.kit.caller import Caller, enter
from tests.kit.until import until

_PROGRAM = "/usr/bin/firefox-esr"
_SOUND_SERVER = "/usr/bin/pulseaudio"
_LOG = "kit.log"
_PREFERENCES: dict[str, bool | int | str] = {
    # Port 9 (discard) of this machine takes nothing; Firefox never asks a proxy for loopback addresses.
    "network.proxy.type": 1,
    "network.proxy.http": "127.0.0.1",
    "network.proxy.http_port": 9,
    "network.proxy.ssl": "127.0.0.1",
    "network.proxy.ssl_port": 9,
    # Media over the loopback interface, by plain addresses.
    "media.peerconnection.ice.loopback": True,
    "media.peerconnection.ice.obfuscate_host_addresses": False,
    "media.navigator.permission.disabled": True,
    # Only a page that may use devices learns all addresses of the machine, those of loopback among them.
    "permissions.default.camera": 1,
    "permissions.default.microphone": 1,
    "media.autoplay.default": 0,
    "media.autoplay.blocking_policy": 0,
    # Several people are in windows of one browser, and none of them is in the background.
    "dom.min_background_timeout_value": 4,
    "dom.timeout.enable_budget_timer_throttling": False,
    "dom.ipc.processPriorityManager.enabled": False,
    "layout.throttled_frame_rate": 60,
}
# A bound, not a pace: a start takes 3 s on a machine at rest, and the browsers share it with other tests.
_PATIENCE_S = 60.0
_REPLY_BYTES = 16 << 20


MISSING = [program for program in (_PROGRAM, _SOUND_SERVER) if not Path(program).exists()]


class FirefoxError(Exception):
    """What Firefox or the page answered instead of a value."""


class _Bidi:
    """One WebSocket: commands out, replies back by their number. Events are not subscribed to."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}

    async def command(self, method: str, **params: Any) -> Any:
        number = next(self._numbers)
        reply = self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        return await reply

    async def read(self) -> None:
        """Hands out replies until the socket closes; whoever waits then gets an error."""
        try:
            async for text in self._socket:
                self._answer(json.loads(text))
        except ConnectionClosed:
            pass
        for reply in self._waiting.values():
            if not reply.done():
                reply.set_exception(FirefoxError("firefox: closed its socket before it answered"))

    def _answer(self, message: dict[str, Any]) -> None:
        reply = self._waiting.pop(message.get("id") or 0, None)
        if reply is None or reply.done():
            return
        if message["type"] == "success":
            reply.set_result(message["result"])
        else:
            reply.set_exception(FirefoxError(f"firefox: {message['error']}: {message['message']}"))


class FirefoxPage:
    """One window, with cookies and storage of its own."""

    def __init__(self, bidi: _Bidi, context: str, user: str) -> None:
        self._bidi = bidi
        self._context = context
        self._user = user

    async def add_init_script(self, script: str) -> None:
        """Runs before every script of every document that the page loads from now on."""
        function = f"() => {{ {script} }}"
        await self._bidi.command("script.addPreloadScript", functionDeclaration=function, contexts=[self._context])

    async def goto(self, url: str) -> None:
        await self._bidi.command("browsingContext.navigate", context=self._context, url=url, wait="complete")

    async def reload(self) -> None:
        await self._bidi.command("browsingContext.reload", context=self._context, wait="complete")

    async def evaluate(self, expression: str, argument: Any = None) -> Any:
        """The value of an expression, or what a function returns for `argument`; promises are waited for. It travels as JSON."""
        call = f"typeof it === 'function' ? it({json.dumps(argument)}) : it"
        told = await self._bidi.command(
            "script.evaluate",
            expression=f"(async () => {{ const it = ({expression}\n); return JSON.stringify((await ({call})) ?? null); }})()",
            target={"context": self._context},
            awaitPromise=True,
            userActivation=True,
        )
        if told["type"] == "exception":
            raise FirefoxError(f"firefox: the page threw {told['exceptionDetails']['text']}")
        return json.loads(told["result"]["value"])

    async def click(self, selector: str) -> None:
        """Clicks the first element that matches."""
        await self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")

    async def wait_for_selector(self, selector: str, timeout: float = 1000 * _PATIENCE_S) -> None:
        """Waits (ms) until an element matches."""
        await until(lambda: self.evaluate(f"document.querySelector({json.dumps(selector)}) !== null"), timeout / 1000)

    async def wait_for_timeout(self, timeout: float) -> None:
        """Lets the page go on for that many milliseconds."""
        await asyncio.sleep(timeout / 1000)

    async def close(self) -> None:
        """Closes the window, with its storage."""
        await self._bidi.command("browser.removeUserContext", userContext=self._user)


class Firefox:
    """A running browser."""

    def __init__(self, bidi: _Bidi) -> None:
        self._bidi = bidi

    async def new_page(self) -> FirefoxPage:
        user = (await self._bidi.command("browser.createUserContext"))["userContext"]
        made = await self._bidi.command("browsingContext.create", type="window", userContext=user)
        return FirefoxPage(self._bidi, made["context"], user)


class FirefoxPerson(Caller):
    """One peer in a page of Firefox."""

    page: FirefoxPage


@asynccontextmanager
async def firefox(**preferences: bool | int | str) -> AsyncIterator[Firefox]:
    """A browser with a profile of its own; `preferences` (with __ for a dot) go on top."""
    with TemporaryDirectory(prefix="firefox-", ignore_cleanup_errors=True) as folder:
        profile = Path(folder)
        given = {name.replace("__", "."): value for name, value in preferences.items()}
        lines = [
            f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in (_PREFERENCES | given).items()
        ]
        (profile / "user.js").write_text("\n".join(lines))
        async with _running(profile, *_sound(profile)), _running(profile, *_browser(profile)) as process:
            address = await until(lambda: _address(profile, process), _PATIENCE_S)
            async with _session(f"{address}/session") as bidi:
                yield Firefox(bidi)


@asynccontextmanager
async def _session(address: str) -> AsyncIterator[_Bidi]:
    async with connect(address, max_size=_REPLY_BYTES, ping_interval=None, proxy=None) as socket:
        bidi = _Bidi(socket)
        reading = asyncio.create_task(bidi.read())
        try:
            await bidi.command("session.new", capabilities={})
            yield bidi
        finally:
            await socket.close()
            await reading


def _sound(profile: Path) -> tuple[str, ...]:
    """A sound server with a sink that leads nowhere: without any sink an AudioContext of Firefox never runs."""
    socket = f"module-native-protocol-unix socket={profile}/sound auth-anonymous=1"
    options = (
        "-n",
        "--daemonize=no",
        "--use-pid-file=no",
        "--exit-idle-time=-1",
        "--disable-shm",
        "--log-target=stderr",
    )
    return (_SOUND_SERVER, *options, "-L", socket, "-L", "module-null-sink rate=48000")


def _browser(profile: Path) -> tuple[str, ...]:
    options = ("--headless", "--no-remote", "--profile", str(profile), "--remote-debugging-port=0")
    return (_PROGRAM, *options, "about:blank")


@asynccontextmanager
async def _running(profile: Path, *command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process with the profile as its home. What belongs to a profile that is thrown away needs no orderly end."""
    ours = {"HOME": str(profile), "PULSE_SERVER": f"unix:{profile}/sound", "MOZ_CRASHREPORTER_DISABLE": "1"}
    with (profile / _LOG).open("ab") as log:
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log, env={**os.environ, **ours})
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _address(profile: Path, process: asyncio.subprocess.Process) -> str | None:
    """Where Firefox listens: it writes that into its profile."""
    if process.returncode is not None:
        raise FirefoxError(f"firefox: ended with {process.returncode}\n{(profile / _LOG).read_text()}")
    file = profile / "WebDriverBiDiServer.json"
    if not file.is_file() or not (text := file.read_text()):
        return None
    server = json.loads(text)
    return f"ws://{server['ws_host']}:{server['ws_port']}"


async def join(browser: Firefox, url: str, code: str, number: int, query: str = "") -> FirefoxPerson:
    """A person who has joined the room of `code`; pictures carry `number`, the sound has its own pitch."""
    person = FirefoxPerson(await browser.new_page(), number)
    await enter(person, url, code, query)
    return person
