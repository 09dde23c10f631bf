"""One Chromium through the relay, and what can be said of its recording: there is no ground truth of bytes here.

The relay saw every sequence number that left the browser, and the pictures carry the time of the sound they belong to. Before it: lab.py.
After it: tests/netlab and scripts/netlab.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from isotape import journal
from isotape.assets.packets import TrackLog, read
from tests.kit import stamps
from tests.kit.browsers import chromium, join
from tests.kit.netlab.conditions import Fate
from tests.kit.netlab.fates import Rows
from tests.kit.netlab.lab import ANNOUNCED, Weather, running_lab
from tests.kit.node import running_node

Json = dict[str, Any]


@dataclass
class BrowserCall:
    """What came of it: counts as the sidecar has them by kind, how far each picture stands from its sound, and what is wrong."""

    packets: dict[str, dict[str, int]] = field(default_factory=dict)
    av_errors_ms: list[float] = field(default_factory=list)
    carried: Json = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


async def call(folder: Path, weather: Weather, seconds: float) -> BrowserCall:
    """Joins with camera and microphone, stays, leaves, and compares."""
    async with (
        running_node(folder / "node", rtc_ip=ANNOUNCED) as node,
        running_lab(folder / "fates") as lab,
        chromium() as browser,
    ):
        route = await lab.open_announced("browser", node.server.engine.media_port, weather)
        room, code = await node.make_room()
        person = await join(browser, node.server.url, code, 1)
        await person.seconds(seconds)
        await person.leave()
        (asset,) = await node.assets(room, 1)
        file, sidecar = await node.download(asset, folder), node.sidecar(asset)
        found = BrowserCall(carried=await route.report())
        logs = {log.kind: log for log in map(read, journal.find(node.server.settings.journal_root))}
        for stated in sidecar["tracks"]:
            found.packets[stated["kind"]] = stated["packets"]
            found.problems += _problems(stated, logs[stated["kind"]], route.fates())
        if found.carried["kernel_drops"]:
            found.problems.append(f"relay: the kernel dropped {found.carried['kernel_drops']} datagrams")
    found.av_errors_ms = np.abs(stamps.av_errors_ms(file)).tolist()
    return found


def _problems(stated: Json, log: TrackLog, fates: Rows) -> Iterator[str]:
    """Counts and runs of loss are those of the journal, and the journal holds what the relay gave."""
    kind, packets = stated["kind"], stated["packets"]
    sent, given, kept = _of_track(log, fates)
    if not kept <= sent:
        yield f"{kind}: the journal holds {len(kept - sent)} packets that the browser never sent"
    if not given <= kept:
        yield f"{kind}: {len(given - kept)} packets were given to the server and are not in the journal"
    if packets["received"] + packets["recovered"] != len(kept):
        yield f"{kind}: the sidecar states {packets}, the journal holds {len(kept)}"
    for name in ("losses", "gaps"):
        number = sum(one["packets"] for one in stated[name])
        if number != packets["lost"]:
            yield f"{kind}: the {name} state {number} packets, {packets['lost']} are lost"


def _of_track(log: TrackLog, fates: Rows) -> tuple[set[int], set[int], set[int]]:
    """Sequence numbers that the browser sent, that were given to the server before the journal ended, and that it holds.

    They are unwrapped as the journal's are: a call of minutes has more than 65,536 packets.
    """
    (ssrc,) = set(log.packets["ssrc"].tolist())
    mine = fates[fates["ssrc"] == ssrc]
    mine = mine[np.argsort(mine["taken_ns"], kind="stable")]
    first = int(log.packets["sequence"][0])
    sent = _unwrapped(mine["sequence"], first)
    is_given = (mine["fate"] == Fate.GIVEN) & (mine["given_ns"] < int(log.packets["arrival_ns"].max()))
    return set(sent.tolist()), set(sent[is_given].tolist()), set(_unwrapped(log.packets["sequence"], first).tolist())


def _unwrapped(sequence: Rows, first: int) -> Rows:
    """64-bit numbers, each as near as possible to the one before; `first` tells where both lists begin."""
    numbers = np.concatenate(([first], sequence.astype(np.int64)))
    steps = (np.diff(numbers) + 0x8000) % 0x10000 - 0x8000
    return first + np.cumsum(steps)
