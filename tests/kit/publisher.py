"""Peers that send known media to a running server: `isotape-publisher` makes the packets, this file speaks the client protocol for it.

One Publisher is one process with any number of SendingPeers. Each joins, offers, mutes and leaves over a real socket, as the browser
SDK does; what each packet held and when it left stands in the ground-truth log, which `sent` reads. crates/sim documents the commands.
"""

import asyncio
import json
import struct
import subprocess
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
from websockets.exceptions import ConnectionClosed

from tests.kit.client import Client
from tests.kit.packetise import PACKETISERS

Json = dict[str, Any]

_ROOT = Path(__file__).resolve().parents[2]
_CLOCK_RATE = {"opus": 48_000}
_VIDEO_CLOCK_RATE = 90_000
# -dBov of each audio packet; the level says that somebody speaks.
_SPEAKING = 30
_NO_LEVEL = 255
# A bound, not a pace. A reply waits behind everything else that shares the machine.
_PATIENCE_S = 30.0
_MAX_LINE = 1 << 20
# As the browser SDK does; the server gives up a socket that says nothing for 15 s.
_PING_EVERY_S = 3.0


class PublisherError(Exception):
    """The publisher refused a command, or is gone."""


@cache
def publisher_binary(*, release: bool = False) -> Path:
    """Builds `isotape-publisher` (cargo does nothing when it is fresh) and returns where it lies."""
    profile = ["--release"] if release else []
    subprocess.run(
        ["cargo", "build", "--quiet", "--locked", "-p", "isotape-sim", "--bin", "isotape-publisher", *profile],
        cwd=_ROOT,
        check=True,
    )
    asked = ["cargo", "metadata", "--locked", "--no-deps", "--format-version", "1"]
    metadata = json.loads(subprocess.run(asked, cwd=_ROOT, check=True, capture_output=True).stdout)
    return Path(metadata["target_directory"]) / ("release" if release else "debug") / "isotape-publisher"


def write_clip(path: Path, codec: str, frames: Sequence[bytes], frame_s: float) -> Path:
    """Cuts encoded frames, one each `frame_s`, into a clip file that the publisher sends."""
    ticks = round(frame_s * _CLOCK_RATE.get(codec, _VIDEO_CLOCK_RATE))
    header = json.dumps({"codec": codec, "duration": ticks * len(frames)}).encode()
    parts = [b"ISOCLIP1", struct.pack("<I", len(header)), header]
    is_audio = codec == "opus"
    for number, frame in enumerate(frames):
        payloads = PACKETISERS[codec](frame)
        for at, payload in enumerate(payloads):
            marker = not is_audio and at + 1 == len(payloads)
            level = _SPEAKING if is_audio else _NO_LEVEL
            parts += [struct.pack("<IBBH", number * ticks, marker, level, len(payload)), payload]
    path.write_bytes(b"".join(parts))
    return path


@dataclass(frozen=True, slots=True)
class SentPacket:
    """One line of the ground-truth log. bytes and sha256 are of the payload; a lost one took its number and never left."""

    peer: str
    track: str
    ssrc: int
    payload_type: int
    sequence: int
    timestamp: int
    marker: bool
    bytes: int
    sha256: str
    send_ns: int
    lost: bool


@dataclass(frozen=True, slots=True)
class Publishing:
    """A Track to publish. name is this test's own short name of it; tracks of one stream_id become one Asset."""

    name: str
    codec: str
    stream_id: str = "cam"
    source: str = "regular"
    track_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def kind(self) -> str:
        return "audio" if self.codec == "opus" else "video"


class Publisher:
    """The process. `said` holds its events (connections, data, finished clips) in order."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._replies: dict[int, asyncio.Future[Json]] = {}
        self._news = asyncio.Condition()
        self._reader = asyncio.create_task(self._read())
        self._log = log
        self._asked = 0
        self.said: list[Json] = []

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ask(self, command: str, **fields: Any) -> Json:
        """The reply to one command; PublisherError when it is refused."""
        self._asked += 1
        reply = self._replies[self._asked] = asyncio.get_running_loop().create_future()
        stdin = self._process.stdin
        assert stdin is not None
        stdin.write((json.dumps({"command": command, "request": self._asked, **fields}) + "\n").encode())
        async with asyncio.timeout(_PATIENCE_S):
            await stdin.drain()
            answer = await reply
        if "error" in answer:
            raise PublisherError(f"publisher {command}: {answer['error']}")
        result: Json = answer["ok"]
        return result

    async def hear(self, patience_s: float = _PATIENCE_S, **fields: Any) -> Json:
        """The first event, past or to come, that has all these fields."""

        def found() -> Json | None:
            return next((event for event in self.said if fields.items() <= event.items()), None)

        async with asyncio.timeout(patience_s), self._news:
            return dict(await self._news.wait_for(found))  # type: ignore[arg-type]

    async def sent(self, peer: str, track: str) -> list[SentPacket]:
        """What of one Track left so far, in order of sending."""
        return (await self.all_sent()).get((peer, track), [])

    async def all_sent(self) -> dict[tuple[str, str], list[SentPacket]]:
        """The same of all Tracks, by peer and track."""
        await self.ask("stats")  # its reply comes after the log has been flushed
        found: dict[tuple[str, str], list[SentPacket]] = {}
        for line in self._log.read_text().splitlines():
            packet = SentPacket(**json.loads(line))
            found.setdefault((packet.peer, packet.track), []).append(packet)
        return found

    async def close(self) -> None:
        """The end of stdin ends the process; a deaf one is killed."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._reader

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            event = json.loads(line)
            if event["event"] == "reply":
                self._replies.pop(event["request"]).set_result(event)
                continue
            async with self._news:
                self.said.append(event)
                self._news.notify_all()
        for waiting in self._replies.values():
            waiting.set_exception(PublisherError("publisher: ended before it replied"))


@asynccontextmanager
async def running_publisher(
    folder: Path, *, release: bool = False, log: bool = True, address: str = "127.0.0.1"
) -> AsyncIterator[Publisher]:
    """A publisher that sends from `address` and writes its truth to `folder`/truth.jsonl; without `log` nowhere, for load."""
    binary = await asyncio.to_thread(publisher_binary, release=release)
    process = await asyncio.create_subprocess_exec(
        binary, address, stdin=subprocess.PIPE, stdout=subprocess.PIPE, limit=_MAX_LINE
    )
    publisher = Publisher(process, folder / "truth.jsonl")
    try:
        if log:
            await publisher.ask("log", path=str(folder / "truth.jsonl"))
        yield publisher
    finally:
        await publisher.close()


async def token_of_code(url: str, code: str, user_id: str) -> str:
    """The app token that a room code buys."""
    async with httpx2.AsyncClient(trust_env=False) as http:
        answer = await http.post(f"{url}/v2/token", json={"code": code, "user_id": user_id})
    return str(answer.raise_for_status().json()["token"])


@dataclass(eq=False)
class SendingPeer:
    """A participant: its socket (`client`) and its media (`name` in the publisher).

    The client may be replaced by another of the same peer_id, as a browser does when its socket broke.
    """

    publisher: Publisher
    client: Client
    name: str
    published: dict[str, Publishing] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []
        self.is_gone = False

    async def join(self) -> None:
        """/init, socket, join with the data channel's offer; returns when the publishing connection is up."""
        await self.client.open()
        await self.publisher.ask("add_peer", peer=self.name)
        offer = await self.publisher.ask("publish_offer", peer=self.name)
        answer = await self.client.request(
            "join", name=self.name, data="", offer={"type": "offer", "sdp": offer["sdp"]}
        )
        self.client.node_id = answer.get("sfu_node_id")
        await self.publisher.ask("publish_answer", peer=self.name, sdp=answer["sdp"])
        self.listen()
        await self.publisher.hear(event="connection", peer=self.name, pc="publish", state="connected")

    def listen(self) -> None:
        """Pings, and answers the server's offers of the subscribing connection, from now on and on the present socket."""
        self.deafen()
        self._tasks = [
            asyncio.create_task(self._answer_offers(self.client)),
            asyncio.create_task(_ping(self.client)),
        ]

    def deafen(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def publish(self, *tracks: Publishing) -> None:
        """Offers the tracks beside those that are published already. Nothing is sent before `start`."""
        await self._offer(
            tracks=[
                {
                    "track": one.name,
                    "kind": one.kind,
                    "codec": one.codec,
                    "stream_id": one.stream_id,
                    "track_id": one.track_id,
                }
                for one in tracks
            ],
            remove=[],
            now={**self.published, **{one.name: one for one in tracks}},
        )

    async def unpublish(self, *names: str) -> None:
        """Ends tracks as the end of a share does."""
        await self._offer(
            tracks=[],
            remove=list(names),
            now={name: one for name, one in self.published.items() if name not in names},
        )

    async def start(self, **clips: Path | Json) -> int:
        """Sends clips on tracks with one common time zero, which it returns (Unix ns).

        Each is a clip file or the fields of a `start` command: `{"file" | "fake": …, "loop": True, "offset_ms": 300, "lose": [7]}`.
        """
        tracks = [
            {"track": name, **({"file": str(clip)} if isinstance(clip, Path) else clip)} for name, clip in clips.items()
        ]
        reply = await self.publisher.ask("start", peer=self.name, tracks=tracks)
        return int(reply["started_ns"])

    async def finished(self, *names: str, patience_s: float = _PATIENCE_S) -> None:
        """Returns when the clips on these tracks have been sent whole."""
        for name in names:
            await self.publisher.hear(patience_s, event="finished", peer=self.name, track=name)

    async def mute(self, name: str, muted: bool = True) -> None:
        """Stops the packets and says so, in the order of a browser."""
        await self.publisher.ask("mute", peer=self.name, track=name, muted=muted)
        track = self.client.tracks[self.published[name].track_id]
        track["mute"] = muted
        await self.client.tell("track-update", tracks={track["track_id"]: track})

    async def network(self, loss_percent: float, seed: int = 1) -> None:
        """Loses this share of the RTP datagrams on their way out from now on."""
        await self.publisher.ask("network", peer=self.name, loss_percent=loss_percent, seed=seed)

    async def sent(self, track: str) -> list[SentPacket]:
        return await self.publisher.sent(self.name, track)

    async def leave(self) -> None:
        """Says goodbye, then closes socket and media."""
        self.deafen()
        await self.client.leave()
        await self.publisher.ask("close", peer=self.name, clean=True)
        self.is_gone = True

    async def vanish(self) -> None:
        """Falls silent without a word: socket and media are cut."""
        self.deafen()
        await self.publisher.ask("close", peer=self.name, clean=False)
        await self.client.close()
        self.is_gone = True

    async def _offer(self, tracks: list[Json], remove: list[str], now: dict[str, Publishing]) -> None:
        offer = await self.publisher.ask("publish_offer", peer=self.name, tracks=tracks, remove=remove)
        known = self.client.tracks
        self.client.tracks = {
            one.track_id: known.get(one.track_id)
            or {
                "track_id": one.track_id,
                "stream_id": one.stream_id,
                "type": one.kind,
                "source": one.source,
                "mute": False,
                "description": "",
            }
            for one in now.values()
        }
        answer = await self.client.request(
            "offer",
            desc={"type": "offer", "sdp": offer["sdp"]},
            tracks=self.client.tracks,
            sfu_node_id=self.client.node_id,
        )
        await self.publisher.ask("publish_answer", peer=self.name, sdp=answer["sdp"])
        self.published = now

    async def _answer_offers(self, client: Client) -> None:
        async for offer in client.each("offer"):
            reply = await self.publisher.ask("subscribe_offer", peer=self.name, sdp=offer["sdp"])
            await client.tell("answer", desc={"type": "answer", "sdp": reply["sdp"]})


async def _ping(client: Client) -> None:
    with suppress(ConnectionClosed):
        while True:
            await asyncio.sleep(_PING_EVERY_S)
            await client.request("ping", timestamp=0)


@asynccontextmanager
async def sending_peer(publisher: Publisher, url: str, code: str, name: str) -> AsyncIterator[SendingPeer]:
    """A joined participant; `code` is a room code. One that has not left by the end vanishes."""
    peer = SendingPeer(publisher, Client(url, await token_of_code(url, code, name)), name)
    await peer.join()
    try:
        yield peer
    finally:
        if not peer.is_gone:
            await peer.vanish()
