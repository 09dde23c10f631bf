"""The demo's story: start a server, make a recorded room over REST, let two browsers publish, show what came out.

It talks to the server as any customer would (REST with a management token, the join page, webhooks); only the progress line reads
the rows of unfinished assets, which no public call shows.
"""

import asyncio
import signal
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from rich.console import Console
from rich.table import Table

from isotape.app import Server
from isotape.auth.tokens import sign_management
from isotape.db import assets as asset_rows
from isotape.demo.browser import Browser, find_chromium
from isotape.demo.receiver import Receiver
from isotape.errors import IsotapeError
from isotape.ids import SessionId
from isotape.model import Asset, AssetState
from isotape.settings import Settings

_WEBHOOK_SECRET = "demo-webhook-secret"  # noqa: S105  both ends are this process
_PORT = 8080
_JOIN_S = 60.0
_ASSETS_S = 60.0
_EVENTS_S = 15.0
# alice: camera + microphone, and a screen share with sound; bob: a microphone alone.
_EXPECTED_KINDS = ("audio", "regular", "screen")
_ENDED = (AssetState.COMPLETED, AssetState.FAILED, AssetState.DISCARDED)


@dataclass(frozen=True, slots=True)
class _Stage:
    """What every step needs."""

    console: Console
    server: Server
    client: httpx2.AsyncClient
    receiver: Receiver


async def run_demo(*, once: bool, seconds: int) -> int:
    """Runs the demo; the exit status is 0 when every expected asset is there."""
    console = Console()
    chromium = find_chromium()
    if chromium is None and once:
        console.print("demo: no Chromium on the PATH; install it (Debian: apt-get install chromium)")
        return 1
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(Receiver(_WEBHOOK_SECRET))
        server = await stack.enter_async_context(Server(_settings(receiver, once=once)))
        client = await stack.enter_async_context(_client(server))
        stage = _Stage(console, server, client, receiver)
        return await _play(stage, chromium, once=once, seconds=seconds)


async def _play(stage: _Stage, chromium: Path | None, *, once: bool, seconds: int) -> int:
    room, codes = await _make_room(stage.client)
    stage.console.print(f"server  {stage.server.url}, data in {stage.server.settings.data_dir}")
    missing: list[str] = []
    if chromium is None:
        stage.console.print(
            "no Chromium on the PATH: open the join page below in your own browser, then leave the room"
        )
    else:
        await _publish(stage, chromium, codes["host"], seconds)
        missing = await _show_session(stage, room)
    if not once:
        _print_places(stage, codes)
        stage.console.print("Ctrl-C ends the server.")
        await _until_interrupted()
    stage.console.print(f"the server ends; the files stay in {stage.server.settings.storage_folder}", soft_wrap=True)
    return 1 if missing else 0


def _settings(receiver: Receiver, *, once: bool) -> Settings:
    folder = Path(tempfile.mkdtemp(prefix="isotape-demo-"))
    return Settings(
        data_dir=folder,
        # A person keeps the URL that the guide names, unless something else listens there.
        port=0 if once or not _is_free(_PORT) else _PORT,
        webhook_url=receiver.url,
        webhook_secret=_WEBHOOK_SECRET,
        webhook_allow=("127.0.0.1",),
    )


def _is_free(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _client(server: Server) -> httpx2.AsyncClient:
    token = sign_management(server.credentials, server.clock.now())
    return httpx2.AsyncClient(
        base_url=f"{server.url}/v2", headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=20
    )


async def _make_room(client: httpx2.AsyncClient) -> tuple[str, dict[str, str]]:
    """A room of a template with stream recording on; its id and its codes by role."""
    template = await _post(client, "/templates", {"name": "demo", "roles": {"host": _host_role()}})
    recording = {"name": "demo", "role": "host", "streamRecording": {"enabled": True, "width": 1280, "height": 720}}
    await _post(client, f"/templates/{template['id']}/recordings", [recording])
    room = await _post(client, "/rooms", {"name": "demo", "template_id": template["id"]})
    codes = await _post(client, f"/room-codes/room/{room['id']}", {})
    return room["id"], {code["role"]: code["code"] for code in codes["data"]}


def _host_role() -> dict[str, Any]:
    return {
        "name": "host",
        "publishParams": {
            "allowed": ["audio", "video", "screen"],
            "audio": {"bitRate": 64, "codec": "opus"},
            "video": {"bitRate": 1500, "codec": "vp8", "frameRate": 30, "width": 1280, "height": 720},
            "screen": {"codec": "vp8", "frameRate": 15, "width": 1920, "height": 1080},
        },
        "subscribeParams": {"subscribeToRoles": ["host"], "maxSubsBitRate": 3200},
        "permissions": {"endRoom": True, "removeOthers": True, "mute": True, "unmute": True, "changeRole": True},
    }


async def _post(client: httpx2.AsyncClient, path: str, body: object) -> Any:
    answer = await client.post(path, json=body)
    if answer.status_code != 200:
        raise IsotapeError(f"demo: POST {path} answered {answer.status_code}: {answer.text}")
    return answer.json()


async def _publish(stage: _Stage, chromium: Path, code: str, seconds: int) -> None:
    """Both peers join, publish for `seconds` and leave."""
    join = f"{stage.server.url}/join/{code}?auto=1"
    async with (
        await Browser.open(chromium, f"{join}&name=alice") as alice,
        await Browser.open(chromium, f"{join}&name=bob&cam=0") as bob,
    ):
        for name, browser in (("alice", alice), ("bob", bob)):
            await browser.until("document.body.dataset.state === 'joined'", _JOIN_S)
            stage.console.print(f"{name} joined")
        await alice.evaluate("document.querySelector('[data-act=share]').click()")
        with stage.console.status("alice sends camera, microphone and a screen share; bob a microphone"):
            await asyncio.sleep(seconds)
        for browser in (bob, alice):
            await browser.evaluate("document.querySelector('[data-act=leave]').click()")
            await browser.until("document.body.dataset.state === 'left'", _JOIN_S)
    stage.console.print("both left; the assets are being made")


async def _show_session(stage: _Stage, room: str) -> list[str]:
    """Waits for the assets, prints them and the webhooks; the kinds that are missing."""
    session = (await _get(stage.client, f"/sessions?room_id={room}"))["data"][0]
    assets = await _wait_for_assets(stage, SessionId(session["id"]))
    listed = await _get(stage.client, f"/recording-assets?session_id={session['id']}&asset_type=stream&limit=100")
    names = {peer["id"]: peer["name"] for peer in session["peers"].values()}
    await _print_assets(stage, listed["data"] or [], names)
    completed = [asset for asset in assets if asset.state is AssetState.COMPLETED]
    await _print_webhooks(stage, len(completed))
    missing = [kind for kind in _EXPECTED_KINDS if kind not in {asset.kind.value for asset in completed}]
    if missing:
        stage.console.print(f"[bold red]missing: {', '.join(missing)}")
        for asset in assets:
            stage.console.print(f"asset {asset.id} {asset.kind}: {asset.state} {asset.error}")
    return missing


async def _get(client: httpx2.AsyncClient, path: str) -> Any:
    return (await client.get(path)).raise_for_status().json()


async def _wait_for_assets(stage: _Stage, session: SessionId) -> list[Asset]:
    """The assets of the session once each has come to an end, or as they are after a minute."""
    deadline = time.monotonic() + _ASSETS_S
    with stage.console.status("waiting") as line:
        while True:
            async with stage.server.database.connect() as tx:
                assets = await asset_rows.of_session(tx, stage.server.workspace_id, session)
            line.update("  ".join(f"{asset.kind}: {asset.state}" for asset in assets))
            if (assets and all(asset.state in _ENDED for asset in assets)) or time.monotonic() > deadline:
                return assets
            await asyncio.sleep(0.1)


async def _print_assets(stage: _Stage, assets: list[dict[str, Any]], names: dict[str, str]) -> None:
    """One row an asset, then its path and its signed URL, never wrapped: a broken URL cannot be clicked or copied."""
    table = Table(title="Assets", title_justify="left")
    for column in ("kind", "peer", "duration", "size", "codec"):
        table.add_column(column, justify="right" if column in ("duration", "size") else "left")
    places = []
    for asset in assets:
        details = asset["metadata"]
        codecs = " + ".join(name for name in (details.get("codec") or {}).values() if name)
        peer = names.get(details["peer_id"], details["peer_id"])
        table.add_row(details["stream_type"], peer, f"{asset['duration']} s", f"{asset['size'] / 1e6:.2f} MB", codecs)
        signed = await _get(stage.client, f"/recording-assets/{asset['id']}/presigned-url?presign_duration=3600")
        places.append(f"{details['stream_type']:8} path {asset['path']}\n{'':8} URL  {signed['url']}")
    stage.console.print(table)
    for place in places:
        stage.console.print(place, soft_wrap=True, highlight=False)


async def _print_webhooks(stage: _Stage, expected: int) -> None:
    await stage.receiver.wait_for("stream.recording.success", expected, _EVENTS_S)
    stage.console.print("Webhooks received, signatures checked", style="bold")
    for event in stage.receiver.received:
        data = event["data"]
        details = f"{data.get('stream_type', '')} {data.get('user_name', '')} {data.get('recording_path', '')}"
        stage.console.print(f"{event['type']:26} {details}", soft_wrap=True, highlight=False)


def _print_places(stage: _Stage, codes: dict[str, str]) -> None:
    places = [("dashboard", f"{stage.server.url}/dashboard"), ("join", f"{stage.server.url}/join/{codes['host']}")]
    places.append(("API", f"{stage.server.url}/v2, described by {stage.server.url}/openapi.json"))
    if stage.server.first_password:
        places.insert(1, ("log in as", f"admin / {stage.server.first_password}"))
    for name, place in places:
        stage.console.print(f"{name:10} {place}", soft_wrap=True, highlight=False)


async def _until_interrupted() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
