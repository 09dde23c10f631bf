"""One whole node for a test, and its REST API as a customer uses it."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2

from isotape.app import Server
from isotape.auth.tokens import sign_management
from isotape.demo.receiver import Receiver
from isotape.settings import Settings
from tests.kit.until import until

Json = dict[str, Any]

_SECRET = "webhook secret of the test"
_ASSETS_S = 30.0
_ENDED = ("completed", "failed", "discarded")

PUBLISHER = {
    "allowed": ["audio", "video", "screen"],
    "audio": {"bitRate": 64, "codec": "opus"},
    "video": {"bitRate": 1000, "codec": "vp8", "frameRate": 30, "width": 640, "height": 360},
    "screen": {"codec": "vp8", "frameRate": 30, "width": 1280, "height": 720},
}
PERMISSIONS = {"endRoom": True, "removeOthers": True, "mute": True, "unmute": True, "changeRole": True}


@dataclass
class Node:
    """A running server, a REST client with a management token, and the webhooks that arrived."""

    server: Server
    api: httpx2.AsyncClient
    receiver: Receiver

    async def post(self, path: str, body: object) -> Any:
        return (await self.api.post(path, json=body)).raise_for_status().json()

    async def get(self, path: str) -> Any:
        return (await self.api.get(path)).raise_for_status().json()

    async def make_room(self, *, recorded: bool = True, **recording: Any) -> tuple[str, str]:
        """A room of a new template; its id and its code for role `host`."""
        role = {"name": "host", "publishParams": PUBLISHER, "permissions": PERMISSIONS}
        role["subscribeParams"] = {"subscribeToRoles": ["host"], "maxSubsBitRate": 3200}
        template = await self.post("/templates", {"roles": {"host": role}})
        if recorded:
            config = {"name": "test", "role": "host", "streamRecording": {"enabled": True}, **recording}
            await self.post(f"/templates/{template['id']}/recordings", [config])
        room = await self.post("/rooms", {"template_id": template["id"]})
        codes = await self.post(f"/room-codes/room/{room['id']}", {})
        return room["id"], codes["data"][0]["code"]

    async def session(self, room: str) -> Json:
        """The newest session of the room."""
        session: Json = (await self.get(f"/sessions?room_id={room}"))["data"][0]
        return session

    async def assets(self, room: str, count: int) -> list[Json]:
        """The assets of the room's newest session once `count` of them are listed, in order of creation."""
        session = await self.session(room)

        async def listed() -> list[Json] | None:
            found = (await self.get(f"/recording-assets?session_id={session['id']}&asset_type=stream&limit=100"))[
                "data"
            ]
            return found if found is not None and len(found) >= count else None

        assets: list[Json] = await until(listed, _ASSETS_S)
        return sorted(assets, key=lambda asset: str(asset["id"]))

    async def download(self, asset: Json, folder: Path) -> Path:
        """The file behind the asset's signed URL."""
        signed = await self.get(f"/recording-assets/{asset['id']}/presigned-url")
        async with httpx2.AsyncClient(trust_env=False) as client:
            answer = (await client.get(signed["url"])).raise_for_status()
        file = folder / Path(urlsplit(signed["url"]).path).name
        file.write_bytes(answer.content)
        assert len(answer.content) == asset["size"]
        return file

    def journal(self, journal_id: str) -> Path:
        """The folder of a journal."""
        (folder,) = self.server.settings.journal_root.glob(f"*/{journal_id}")
        return folder

    def sidecar(self, asset: Json) -> Json:
        """The timeline that was written beside the asset's file."""
        key = Path(asset["path"].removeprefix("local://")).with_suffix(".json")
        sidecar: Json = json.loads((self.server.settings.storage_folder / key).read_text())
        return sidecar


@asynccontextmanager
async def running_node(folder: Path, **settings: Any) -> AsyncIterator[Node]:
    """A node on a free port with its data in `folder`, and a webhook receiver."""
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(Receiver(_SECRET))
        values: dict[str, Any] = {
            "data_dir": folder,
            "port": 0,
            "webhook_url": receiver.url,
            "webhook_secret": _SECRET,
            "webhook_allow": ("127.0.0.1",),
            "drain_s": 5,
            **settings,
        }
        server = await stack.enter_async_context(Server(Settings(**values)))
        token = sign_management(server.credentials, server.clock.now())
        headers = {"Authorization": f"Bearer {token}"}
        api = await stack.enter_async_context(
            httpx2.AsyncClient(base_url=f"{server.url}/v2", headers=headers, trust_env=False, timeout=20)
        )
        yield Node(server, api, receiver)
