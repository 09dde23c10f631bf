"""Microseconds of CPU per packet received and recorded: isotape beside Janus, both with 20 participants alone in their rooms.

One isotape call and one Janus call make a pair; pairs alternate, so that whatever else the machine does meets both. Each packet counts
that was sent during the window; that it was also recorded is checked after the call, for all packets.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import namespace
from bench.clips import looping_clips
from bench.figures import Table, ratio_of_pairs, spread
from bench.janus import install, running_janus
from bench.node import running_isotape
from bench.processes import cpu_s
from bench.release import Release
from isotape.assets.packets import read
from isotape.journal import find
from tests.kit.publisher import Json, Publisher, Publishing, running_publisher, sending_peer
from tests.kit.until import until

_PEERS = 20
# Handshakes and the first key frame are over by then.
_SETTLE_S = 3.0
_IDLE_S = 5.0
_SEALED_S = 60.0


@dataclass(frozen=True, slots=True)
class _Run:
    """One call: CPU share of the idle server, its CPU and the packets sent in the window; packets sent and recorded in the whole call."""

    idle: float
    cpu_s: float
    packets: int
    window_s: float
    sent: int
    recorded: int

    @property
    def us_per_packet(self) -> float:
        return self.cpu_s * 1e6 / self.packets

    @property
    def us_above_idle(self) -> float:
        """What the packets themselves cost: a server that only waits looks for work now and then."""
        return (self.cpu_s - self.idle * self.window_s) * 1e6 / self.packets


async def measure(release: Release, folder: Path, quick: bool) -> Table:
    pairs, window_s = (1, 8.0) if quick else (4, 20.0)
    version = await asyncio.to_thread(install)
    namespace.enter()  # after the installation, which needs the network
    clips = await asyncio.to_thread(looping_clips, folder, "VP8")
    ours, theirs = [], []
    for pair in range(pairs):
        ours.append(await _isotape(release, folder / f"isotape-{pair}", clips, window_s))
        theirs.append(await _janus(folder / f"janus-{pair}", clips, window_s))
    table = Table(
        "CPU per packet received and recorded",
        ["", "µs per packet", "of it above idle", "idle, % of a core", "packets/s", "recorded of sent"],
        notes=[
            f"{_PEERS} participants, each alone in its room: VP8 of 2 Mbit/s (a picture's packets in one burst) and Opus of 50 packets/s.",
            f"{pairs} pairs in turn, window {window_s:.0f} s each; median (range). CPU is user and system of the whole server process.",
        ],
    )
    for name, runs in (("isotape", ours), (version, theirs)):
        cost, above = spread([run.us_per_packet for run in runs]), spread([run.us_above_idle for run in runs])
        idle = spread([run.idle * 100 for run in runs])
        rate = sum(run.packets for run in runs) / sum(run.window_s for run in runs)
        kept, sent = sum(run.recorded for run in runs), sum(run.sent for run in runs)
        table.add(name, cost, above, idle, f"{rate:,.0f}", f"{kept:,} of {sent:,}")
    costs = [[run.us_per_packet for run in runs] for runs in (ours, theirs)]
    above_idle = [[run.us_above_idle for run in runs] for runs in (ours, theirs)]
    table.add(f"{version} ÷ isotape", ratio_of_pairs(*costs), ratio_of_pairs(*above_idle), "", "", "")
    return table


async def _isotape(release: Release, folder: Path, clips: dict[str, Json], window_s: float) -> _Run:
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(running_isotape(release, folder))
        publisher = await stack.enter_async_context(running_publisher(folder, release=True, log=False))
        idle = await _idle(node.pid)
        template = await node.recorded_template()
        peers = []
        for number in range(_PEERS):
            _, code = await node.make_room(template)
            peer = await stack.enter_async_context(sending_peer(publisher, node.url, code, f"peer-{number}"))
            await peer.publish(Publishing("video", "VP8"), Publishing("audio", "opus"))
            peers.append(peer)
        for peer in peers:
            await peer.start(**clips)

        async def leave() -> None:
            for peer in peers:
                await peer.leave()

        journals = node.data_dir / "journals"
        return await _watch(publisher, _Server(node.pid, idle, leave, lambda: _journal_packets(journals)), window_s)


async def _janus(folder: Path, clips: dict[str, Json], window_s: float) -> _Run:
    async with AsyncExitStack() as stack:
        janus = await stack.enter_async_context(running_janus(folder))
        publisher = await stack.enter_async_context(
            running_publisher(folder, release=True, log=False, address=namespace.ADDRESS)
        )
        idle = await _idle(janus.pid)
        for number in range(_PEERS):
            name = f"peer-{number}"
            tracks = [
                {"track": kind, "kind": kind, "codec": codec, "stream_id": "cam", "track_id": f"{name}-{kind}"}
                for kind, codec in (("video", "VP8"), ("audio", "opus"))
            ]
            await janus.publish(publisher, name, 1000 + number, tracks)
        for number in range(_PEERS):
            playing = [{"track": track, **clip} for track, clip in clips.items()]
            await publisher.ask("start", peer=f"peer-{number}", tracks=playing)
        return await _watch(publisher, _Server(janus.pid, idle, janus.leave, janus.recorded_packets), window_s)


@dataclass(frozen=True, slots=True)
class _Server:
    """What a call needs to know of the server: its process, how all participants leave, and what it has recorded by now."""

    pid: int
    idle: float
    leave: Callable[[], Awaitable[None]]
    recorded: Callable[[], int]


async def _idle(pid: int) -> float:
    """The share of one core that a server takes with nobody there."""
    await asyncio.sleep(_SETTLE_S)  # its start is over
    before, begun = cpu_s(pid), time.monotonic()
    await asyncio.sleep(_IDLE_S)
    return (cpu_s(pid) - before) / (time.monotonic() - begun)


async def _watch(publisher: Publisher, server: _Server, window_s: float) -> _Run:
    """The window of one call under way, then its end and the count of what was recorded."""
    await asyncio.sleep(_SETTLE_S)
    sent_before, cpu_before, begun = await _sent(publisher), cpu_s(server.pid), time.monotonic()
    await asyncio.sleep(window_s)
    sent_after, cpu_after, ended = await _sent(publisher), cpu_s(server.pid), time.monotonic()
    for number in range(_PEERS):
        for track in ("video", "audio"):
            await publisher.ask("stop", peer=f"peer-{number}", track=track)
    total = await _sent(publisher)
    await asyncio.sleep(1)  # what is under way or asked for again arrives
    await server.leave()
    kept = await _settled(server.recorded)
    return _Run(server.idle, cpu_after - cpu_before, sent_after - sent_before, ended - begun, total, kept)


async def _settled(recorded: Callable[[], int]) -> int:
    """The count once it has stopped growing."""
    last = -1

    async def stands_still() -> bool:
        nonlocal last
        before, last = last, await asyncio.to_thread(recorded)
        await asyncio.sleep(0.5)
        return before == last

    await until(stands_still, _SEALED_S)
    return last


async def _sent(publisher: Publisher) -> int:
    peers: dict[str, Any] = (await publisher.ask("stats"))["peers"]
    return sum(track["packets"] for peer in peers.values() for track in peer["sent"].values())


def _journal_packets(root: Path) -> int:
    return sum(len(read(folder).packets) for folder in find(root))
