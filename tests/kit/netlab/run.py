"""Runs scenarios: one peer each, side by side in one server, through one relay; then compares truth, carriage, journal, sidecar and file.

Before it: lab.py, footage.py. After it: tests/netlab and scripts/netlab, which read the Outcomes.
"""

import asyncio
import math
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isotape import journal
from isotape.assets.packets import TrackLog, read
from tests.kit.netlab import content, ledger
from tests.kit.netlab.content import av_errors_ms
from tests.kit.netlab.footage import Footage, camera, microphone
from tests.kit.netlab.lab import Lab, RoutedClient, Weather, routed_client, routed_peer, running_lab
from tests.kit.netlab.ledger import Evidence, Ledger
from tests.kit.node import Node
from tests.kit.publisher import Publisher, Publishing, SendingPeer, SentPacket

Json = dict[str, Any]
AllSent = dict[tuple[str, str], list[SentPacket]]

# Longer than three of the longest round trips (300 ms): a sender that is asked again within that answers.
_QUIET_S = 1.5
_SETTLED_S = 12.0
_LOOK_EVERY_S = 0.1


@dataclass(frozen=True)
class Scenario:
    """A path and what is sent over it.

    loss_goal is the share of packets that may stay lost, None where there is no goal. At rebind_at_s a NAT on the path forgets the peer.
    """

    name: str
    weather: Weather
    codec: str = "VP8"
    video_kbps: int = 2000
    loss_goal: float | None = None
    seed: int = 1
    rebind_at_s: float | None = None

    @property
    def calm(self) -> Weather:
        """The path while the peer joins: as long, and clean."""
        up, down = self.weather.up, self.weather.down
        return Weather(type(up)(delay_ms=up.delay_ms), type(down)(delay_ms=down.delay_ms))


@dataclass
class Outcome:
    """What came of a scenario. `problems` is empty when everything is accounted for."""

    scenario: Scenario
    tracks: dict[str, Ledger] = field(default_factory=dict)
    carried: Json = field(default_factory=dict)
    av_errors_ms: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def video(self) -> Ledger:
        return self.tracks["video"]


@dataclass
class _Call:
    """One scenario under way."""

    scenario: Scenario
    room: str
    client: RoutedClient
    peer: SendingPeer
    footage: dict[str, Footage] = field(default_factory=dict)


async def run(
    node: Node, publisher: Publisher, scenarios: Sequence[Scenario], seconds: float, folder: Path
) -> list[Outcome]:
    """Calls of `seconds` for all scenarios at the same time."""
    footage = [_footage(scenario, folder) for scenario in scenarios]  # before anybody joins: encoding holds the loop up
    async with running_lab(folder / "fates") as lab, AsyncExitStack() as stack:
        calls = await asyncio.gather(*(_open(node, publisher, lab, one, stack) for one in scenarios))
        for call, one in zip(calls, footage, strict=True):
            call.footage = one
            await _begin(call)
        await asyncio.gather(*(_last(call, seconds) for call in calls))
        await asyncio.gather(*(_settle(call) for call in calls))
        sent = await publisher.all_sent()
        for call in calls:
            await call.peer.leave()
        return [await _judge(node, call, sent, folder) for call in calls]


def at_most(lost: int, packets: int, doubt: float = 0.05) -> float:
    """The share of loss that so many losses exclude: were it larger, so few would be seen with a probability below `doubt` (Poisson)."""
    low, high = 0.0, 1.0
    while high - low > 1e-7:
        middle = (low + high) / 2
        if 1.0 - chance_of(lost + 1, packets, middle) > doubt:
            low = middle
        else:
            high = middle
    return high


def chance_of(lost: int, packets: int, share: float) -> float:
    """The probability of this many losses or more when each packet is lost with probability `share` (Poisson)."""
    mean = packets * share
    return 1.0 - sum(math.exp(-mean + number * math.log(mean) - math.lgamma(number + 1)) for number in range(lost))


def _footage(scenario: Scenario, folder: Path) -> dict[str, Footage]:
    return {"video": camera(folder, scenario.codec, scenario.video_kbps), "audio": microphone(folder)}


async def _open(node: Node, publisher: Publisher, lab: Lab, scenario: Scenario, stack: AsyncExitStack) -> _Call:
    room, code = await node.make_room()
    client = await routed_client(lab, node.server.url, code, scenario.name, weather=scenario.calm, seed=scenario.seed)
    peer = await stack.enter_async_context(routed_peer(publisher, client, scenario.name))
    await peer.publish(Publishing("video", scenario.codec), Publishing("audio", "opus"))
    return _Call(scenario, room, client, peer)


async def _begin(call: _Call) -> None:
    assert call.client.route is not None
    await call.client.route.change(call.scenario.weather)
    await call.peer.start(**{kind: {"file": str(one.clip), "loop": True} for kind, one in call.footage.items()})


async def _last(call: _Call, seconds: float) -> None:
    """Lets the call go on for so long, whatever happens in it."""
    until_then = call.scenario.rebind_at_s
    if until_then is not None:
        assert call.client.route is not None
        await asyncio.sleep(until_then)
        await call.client.route.rebind()
    await asyncio.sleep(seconds - (until_then or 0.0))


async def _settle(call: _Call) -> None:
    """Stops sending and lets retransmission come to its end."""
    route = call.client.route
    assert route is not None
    for kind in call.footage:
        await call.peer.publisher.ask("stop", peer=call.peer.name, track=kind)
    async with asyncio.timeout(_SETTLED_S):
        seen, still_s = -1, 0.0
        while still_s < _QUIET_S:
            await asyncio.sleep(_LOOK_EVERY_S)
            carried = (await route.report())["up"]["rtp"]
            still_s = still_s + _LOOK_EVERY_S if carried == seen else 0.0
            seen = carried


async def _judge(node: Node, call: _Call, sent: AllSent, folder: Path) -> Outcome:
    assert call.client.route is not None
    outcome = Outcome(call.scenario, carried=await call.client.route.report())
    assets = await node.assets(call.room, 1)
    if len(assets) != 1 or assets[0]["status"] != "completed":
        outcome.problems.append(f"assets: {[asset['status'] for asset in assets]} instead of one completed")
        return outcome
    sidecar, path = node.sidecar(assets[0]), await node.download(assets[0], folder)
    fates, shown = call.client.route.fates(), {}
    for stated in sidecar["tracks"]:
        kind = stated["kind"]
        mine = sent[call.scenario.name, kind]
        log = _journal(node, call.peer.published[kind].track_id)
        outcome.tracks[kind] = ledger.compare(Evidence(mine, fates, log, stated))
        seen = content.compare(path, call.footage[kind], mine, log, stated)
        shown[kind] = seen.shown
        outcome.problems += [f"{kind}: {problem}" for problem in [*outcome.tracks[kind].problems, *seen.problems]]
    outcome.av_errors_ms = av_errors_ms(shown.get("video", []), shown.get("audio", []))
    outcome.problems += _machine_problems(outcome.carried)
    return outcome


def _journal(node: Node, track_id: str) -> TrackLog:
    logs = [read(folder) for folder in journal.find(node.server.settings.journal_root)]
    (mine,) = [log for log in logs if log.meta["track_id"] == track_id]
    return mine


def _machine_problems(carried: Json) -> list[str]:
    """The relay itself must not have lost anything, or its counts prove nothing."""
    lost = {"kernel_drops": carried["kernel_drops"], "refused_clients": carried["refused_clients"]}
    for way in ("up", "down"):
        lost |= {f"{way} {name}": carried[way][name] for name in ("crowded_out", "unsent")}
    return [f"relay: {name}: {number}" for name, number in lost.items() if number]
