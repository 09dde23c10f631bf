"""The peer: Janus WebRTC Server (Debian's package) with its video room, driven over its own HTTP API.

The publisher is the one that sends to isotape. Each participant has a room of its own, so nothing is forwarded. Janus passes over
loopback, so the publisher sends to it within a namespace of the bench's own (namespace.py); the kernel's path is the same. Two traps:
`filename` must be a bare name when `rec_dir` is set (a path records nothing and says nothing), and the recorder is only on when the
room says `record`.
"""

import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from bench.processes import free_port, running
from tests.kit.publisher import Publisher
from tests.kit.until import until

Json = dict[str, Any]

_READY_S = 20.0
_PROGRAMS = {"janus": "janus", "janus-pp-rec": "janus-tools", "ffmpeg": "ffmpeg"}
# What the video room does not need; every one left out is a thread less that could count against Janus.
_OTHER_PLUGINS = "audiobridge duktape echotest lua nosip recordplay sip streaming textroom videocall voicemail"
_OTHER_TRANSPORTS = "mqtt nanomsg pfunix rabbitmq websockets"


class JanusMissing(Exception):
    """Janus is not installed and cannot be."""


def install() -> str:
    """Installs what is missing when root; the version of Janus. JanusMissing names the packages otherwise."""
    lacking = [package for program, package in _PROGRAMS.items() if shutil.which(program) is None]
    if lacking and os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"bench: installing {' '.join(lacking)}", flush=True)
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        asked = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", *lacking]
        subprocess.run(asked, check=True, env=quiet, stdout=subprocess.DEVNULL)
    lacking = [package for program, package in _PROGRAMS.items() if shutil.which(program) is None]
    if lacking:
        raise JanusMissing(f"bench: the peer is missing (as root: apt-get install {' '.join(lacking)})")
    shown = subprocess.run(["janus", "--version"], capture_output=True, text=True)
    found = re.search(r"\(([\d.]+)\)", shown.stdout + shown.stderr)
    return f"Janus {found[1] if found else 'of unknown version'}"


@dataclass
class Janus:
    """A running Janus and one session of its API."""

    pid: int
    recordings: Path
    http: httpx2.AsyncClient
    session: int = 0
    asked: int = 0
    handles: list[int] = field(default_factory=list)

    async def ask(self, path: str, **body: Any) -> Json:
        self.asked += 1
        reply = await self.http.post(path, json={"transaction": str(self.asked), **body})
        answer: Json = reply.raise_for_status().json()
        if answer["janus"] == "error":
            raise RuntimeError(f"janus {body['janus']}: {answer['error']}")
        return answer

    async def event(self, sender: int) -> Json:
        """The next plugin event of one handle. The long poll gives events of all; participants join one by one."""
        while True:
            event: Json = (await self.http.get(f"/{self.session}", params={"maxev": 1})).raise_for_status().json()
            if event.get("janus") == "event" and event.get("sender") == sender:
                data = event["plugindata"]["data"]
                if "error" in data:
                    raise RuntimeError(f"janus video room: {data['error']}")
                return event

    async def publish(self, publisher: Publisher, peer: str, room: int, tracks: list[Json]) -> None:
        """A recorded room with one participant; returns when its media is connected."""
        attached = await self.ask(f"/{self.session}", janus="attach", plugin="janus.plugin.videoroom")
        handle = attached["data"]["id"]
        self.handles.append(handle)
        path = f"/{self.session}/{handle}"
        create = {
            "request": "create",
            "room": room,
            "record": True,
            "rec_dir": str(self.recordings),
            "videocodec": "vp8",
            "audiocodec": "opus",
            "bitrate": 0,
        }
        await self.ask(path, janus="message", body=create)
        await self.ask(path, janus="message", body={"request": "join", "ptype": "publisher", "room": room})
        await self.event(handle)
        await publisher.ask("add_peer", peer=peer)
        offer = await publisher.ask("publish_offer", peer=peer, tracks=tracks)
        publish = {"request": "publish", "record": True, "filename": peer}
        jsep = {"type": "offer", "sdp": offer["sdp"], "trickle": False}
        await self.ask(path, janus="message", body=publish, jsep=jsep)
        answer = (await self.event(handle))["jsep"]
        await publisher.ask("publish_answer", peer=peer, sdp=_without_ipv6(answer["sdp"]))
        await publisher.hear(event="connection", peer=peer, state="connected")

    async def leave(self) -> None:
        """Closes every recording."""
        for handle in self.handles:
            await self.ask(f"/{self.session}/{handle}", janus="detach")
        self.handles.clear()

    def recorded_packets(self) -> int:
        """RTP packets in all recordings."""
        return sum(_mjr_packets(path.read_bytes()) for path in self.recordings.glob("*.mjr"))


def _without_ipv6(sdp: str) -> str:
    """The publisher speaks IPv4. The address is the fifth field of a candidate (RFC 8839 section 5.1)."""
    lines = sdp.splitlines(keepends=True)
    return "".join(line for line in lines if not (line.startswith("a=candidate:") and ":" in line.split()[4]))


def _mjr_packets(data: bytes) -> int:
    """A .mjr is 8 bytes of magic, a header with its length, then frames: `MEET`, 4 bytes of time, a length and the packet."""
    at, packets = 10 + int.from_bytes(data[8:10]), 0
    while at + 10 <= len(data):
        at += 10 + int.from_bytes(data[at + 8 : at + 10])
        packets += 1
    return packets


@asynccontextmanager
async def running_janus(folder: Path) -> AsyncIterator[Janus]:
    """Janus on loopback with its defaults, the video room and the HTTP API alone."""
    recordings, port = folder / "recordings", free_port()
    recordings.mkdir(parents=True)
    command = ["janus", "--configs-folder", str(_configure(folder, port)), "--disable-colors"]
    async with running(command, folder / "janus.log") as process:
        base = f"http://127.0.0.1:{port}/janus"
        async with httpx2.AsyncClient(base_url=base, trust_env=False, timeout=60) as http:
            janus = Janus(process.pid, recordings, http)

            async def answers() -> int:
                with suppress(httpx2.TransportError):
                    return int((await janus.ask("", janus="create"))["data"]["id"])
                return 0

            janus.session = await until(answers, _READY_S)
            yield janus


def _configure(folder: Path, port: int) -> Path:
    configs = folder / "janus"
    configs.mkdir()
    plugins = ",".join(f"libjanus_{name}.so" for name in _OTHER_PLUGINS.split())
    transports = ",".join(f"libjanus_{name}.so" for name in _OTHER_TRANSPORTS.split())
    (configs / "janus.jcfg").write_text(
        f'general: {{ configs_folder = "{configs}"; debug_level = 3; session_timeout = 0; }}\n'
        "media: { }\nnat: { }\n"
        f'plugins: {{ disable = "{plugins}"; }}\ntransports: {{ disable = "{transports}"; }}\n'
    )
    (configs / "janus.transport.http.jcfg").write_text(
        f'general: {{ json = "compact"; base_path = "/janus"; http = true; port = {port}; ip = "127.0.0.1"; https = false; }}\n'
        "admin: { admin_http = false; admin_https = false; }\n"
    )
    (configs / "janus.plugin.videoroom.jcfg").write_text("general: { }\n")
    return configs
