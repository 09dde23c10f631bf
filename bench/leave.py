"""Seconds from a participant's leave until its file can be fetched and the webhook has said so.

Calls of 60 s run side by side, each with one participant in a room of its own, begun and left half a second after one another: so each
file is made while the others are still being recorded, and jobs meet in the queue as they do on a busy server.
"""

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.clips import looping_clips
from bench.figures import Table, percentile, spread
from bench.node import BenchNode, running_isotape
from bench.release import Release
from isotape.demo.receiver import Receiver
from tests.kit.publisher import Json, Publisher, Publishing, running_publisher, sending_peer
from tests.kit.until import until

_SECRET = "webhook secret of the measurement"
_SUCCESS = "stream.recording.success"
_APART_S = 0.5
_PATIENCE_S = 60.0
_TARGET_S = 2.0


@dataclass(frozen=True)
class _Stage:
    """What every call of the run needs."""

    node: BenchNode
    publisher: Publisher
    receiver: Receiver
    template: str
    clips: dict[str, Json]
    seconds: float


async def measure(release: Release, folder: Path, quick: bool) -> Table:
    calls, seconds = (6, 15.0) if quick else (20, 60.0)
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(Receiver(_SECRET))
        settings = {
            "ISOTAPE_WEBHOOK_URL": receiver.url,
            "ISOTAPE_WEBHOOK_SECRET": _SECRET,
            "ISOTAPE_WEBHOOK_ALLOW": "127.0.0.1",
        }
        node = await stack.enter_async_context(running_isotape(release, folder / "node", **settings))
        publisher = await stack.enter_async_context(running_publisher(folder, release=True, log=False))
        clips = await asyncio.to_thread(looping_clips, folder, "H264")
        stage = _Stage(node, publisher, receiver, await node.recorded_template(), clips, seconds)
        waits = await asyncio.gather(*(_call(stage, number) for number in range(calls)))
    table = Table(
        "From the leave to the listed file and its webhook",
        ["calls", "median (range), s", "95 % within, s", "target, s"],
        notes=[
            f"{calls} calls of {seconds:.0f} s in one server at the same time, begun and left {_APART_S} s after one another.",
            "Each publishes H264 of 1280 x 720 (2 Mbit/s) and Opus. Publisher, webhook receiver and server share the machine.",
            "Time runs from before the leave is sent until the webhook is here and the asset is listed as completed.",
        ],
    )
    table.add(str(calls), spread(waits, 2), f"{percentile(waits, 0.95):.2f}", f"{_TARGET_S:.0f}")
    return table


async def _call(stage: _Stage, number: int) -> float:
    """One call; how long its file took."""
    await asyncio.sleep(number * _APART_S)
    room, code = await stage.node.make_room(stage.template)
    async with sending_peer(stage.publisher, stage.node.url, code, f"peer-{number}") as peer:
        await peer.publish(Publishing("video", "H264"), Publishing("audio", "opus"))
        await peer.start(**stage.clips)
        await asyncio.sleep(stage.seconds)
        begun = time.monotonic()
        await peer.client.tell("leave", client_reason="user request")
        await _told(stage, room)
        took = time.monotonic() - begun
        await peer.leave()
    return took


async def _told(stage: _Stage, room: str) -> None:
    """Returns when the webhook of the room's asset is here and the API lists it; RuntimeError when it does not."""
    received = stage.receiver.received
    found = await until(lambda: [event["data"] for event in received if _is_about(event, room)], _PATIENCE_S)
    listed = await stage.node.get(f"/recording-assets/{found[0]['asset_id']}")
    if listed["status"] != "completed":
        raise RuntimeError(f"asset {listed['id']}: announced, but listed as {listed['status']}")


def _is_about(event: dict[str, object], room: str) -> bool:
    data = event["data"]
    return event["type"] == _SUCCESS and isinstance(data, dict) and data["room_id"] == room
