"""A network between peers and the server that is as bad as a test wants it: starts the relay and sends peers through it.

SDP answers name the relay instead of the server. Before it: conditions.py says what becomes of a datagram, relay.py is the process that
carries datagrams accordingly and logs the fate of each (fates.py). After it: run.py makes calls of footage.py's media for several peers
at once; ledger.py compares what was sent, what was carried, journal and sidecar packet by packet, content.py the finished file.
"""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.kit.client import Client
from tests.kit.netlab import fates
from tests.kit.netlab.conditions import Conditions
from tests.kit.publisher import Publisher, SendingPeer, token_of_code

Json = dict[str, Any]

_ROOT = Path(__file__).resolve().parents[3]
# A node that announces this address (rtc_ip) and listens on 127.0.0.1 is reached by whatever client only through a route bound to it.
ANNOUNCED = "127.0.0.2"
# A bound, not a pace.
_PATIENCE_S = 30.0
# foundation component transport priority address port (RFC 8839 section 5.1)
_CANDIDATE = re.compile(r"(?m)^(a=candidate:\S+ \d+ udp \d+) (\S+) (\d+)(?= )", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Weather:
    """Both directions of a path; `up` is towards the server."""

    up: Conditions = field(default_factory=Conditions)
    down: Conditions = field(default_factory=Conditions)


def both_ways(rtt_ms: float, **conditions: Any) -> Weather:
    """The same conditions in both directions, with half the round trip in each."""
    one_way = Conditions(delay_ms=rtt_ms / 2, **conditions)
    return Weather(one_way, one_way)


class Route:
    """One relayed path. Clients send to `port`."""

    def __init__(self, lab: "Lab", name: str, port: int) -> None:
        self._lab, self.name, self.port = lab, name, port

    async def change(self, weather: Weather) -> None:
        """Other conditions from now on."""
        await self._lab.ask("change", name=self.name, up=asdict(weather.up), down=asdict(weather.down))

    async def rebind(self) -> None:
        """The server sees other source addresses from now on, as when a NAT forgets."""
        await self._lab.ask("rebind", name=self.name)

    async def report(self) -> Json:
        """What was counted so far: `up`, `down`, `kernel_drops`, and how late datagrams were given (`late_us`)."""
        return await self._lab.ask("report", name=self.name)

    def fates(self) -> fates.Rows:
        """What became of each RTP datagram towards the server; `report` first."""
        return fates.read(self._lab.folder / f"{self.name}.fates")


class Lab:
    """The relay's process."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        self._process, self.folder = process, folder
        self._turn = asyncio.Lock()

    async def open(self, name: str, server: tuple[str, int], weather: Weather, **more: Any) -> Route:
        """A route to `server`. `bind` is where clients send to (a free port of 127.0.0.1 when left out), `seed` repeats a run."""
        fields = {"bind": ("127.0.0.1", 0), "seed": 1, **more}
        both = {"up": asdict(weather.up), "down": asdict(weather.down)}
        reply = await self.ask("open", name=name, server=server, **both, **fields)
        return Route(self, name, reply["port"])

    async def open_announced(self, name: str, media_port: int, weather: Weather, **more: Any) -> Route:
        """A route for all clients of a node that announces ANNOUNCED; browsers need nothing else."""
        return await self.open(name, ("127.0.0.1", media_port), weather, bind=(ANNOUNCED, media_port), **more)

    async def ask(self, command: str, **fields: Any) -> Json:
        """The reply to one command."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        async with self._turn, asyncio.timeout(_PATIENCE_S):
            stdin.write((json.dumps({"command": command, **fields}) + "\n").encode())
            await stdin.drain()
            line = await stdout.readline()
        assert line, f"relay {command}: it ended before it replied"
        reply: Json = json.loads(line)
        return reply

    async def close(self) -> None:
        """The end of stdin ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def running_lab(folder: Path) -> AsyncIterator[Lab]:
    """A relay that logs to `folder`."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "tests.kit.netlab.relay", str(folder)]
    process = await asyncio.create_subprocess_exec(*command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    lab = Lab(process, folder)
    try:
        yield lab
    finally:
        await lab.close()


@dataclass(eq=False)
class RoutedClient(Client):
    """A client whose media goes through a route, which is opened when the first answer tells where the server is."""

    lab: Lab | None = None
    weather: Weather = field(default_factory=Weather)
    seed: int = 1
    route: Route | None = None

    async def request(self, method: str, **params: Any) -> Json:
        """As Client does; an SDP in the answer names the route."""
        result = await super().request(method, **params)
        if "sdp" in result:
            result["sdp"] = await self._by_route(result["sdp"])
        return result

    async def _by_route(self, sdp: str) -> str:
        found = _CANDIDATE.search(sdp)
        if found is None:
            return sdp
        if self.route is None:
            assert self.lab is not None
            server = (found[2], int(found[3]))
            self.route = await self.lab.open(self.peer_id, server, self.weather, seed=self.seed)
        return _CANDIDATE.sub(rf"\1 127.0.0.1 {self.route.port}", sdp)


@asynccontextmanager
async def routed_peer(publisher: Publisher, client: RoutedClient, name: str) -> AsyncIterator[SendingPeer]:
    """A joined participant behind a route. One that has not left by the end vanishes."""
    peer = SendingPeer(publisher, client, name)
    await peer.join()
    try:
        yield peer
    finally:
        if not peer.is_gone:
            await peer.vanish()


async def routed_client(lab: Lab, url: str, code: str, name: str, **more: Any) -> RoutedClient:
    """A client with a room code; `weather` and `seed` may be given."""
    return RoutedClient(url, await token_of_code(url, code, name), lab=lab, **more)
