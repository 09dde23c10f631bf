"""A client of the client protocol in Python: /init, the socket, requests and notices, in the words that the browser SDK uses.

It sends SDPs without media behind them (tests/kit/sdp.py), so it shows what is said and what is recorded as rows, not what is heard.
"""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import httpx2
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.kit.sdp import OfferBook

# A bound, not a pace: nothing waits that long unless it is broken.
_PATIENCE_S = 10.0

Json = dict[str, Any]


class Refused(Exception):
    """The server answered a request with an error."""

    def __init__(self, error: Json) -> None:
        super().__init__(f"{error.get('code')} {error.get('message')}")
        self.code = error.get("code")
        self.message = str(error.get("message"))


@dataclass(eq=False)
class Client:
    """One socket of one peer. `notices` holds everything the server said unasked, in order."""

    url: str
    token: str
    peer_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    notices: list[Json] = field(default_factory=list)
    book: OfferBook = field(default_factory=OfferBook)
    tracks: dict[str, Json] = field(default_factory=dict)
    close_code: int | None = None
    node_id: str | None = None

    def __post_init__(self) -> None:
        self._socket: ClientConnection | None = None
        self._replies: dict[str, asyncio.Future[Json]] = {}
        self._news = asyncio.Condition()
        self._reader: asyncio.Task[None] | None = None
        self.unaddressed: list[Json] = []

    async def init(self) -> httpx2.Response:
        async with httpx2.AsyncClient() as http:
            return await http.get(
                f"{self.url}/init", params={"peer_id": self.peer_id}, headers={"Authorization": f"Bearer {self.token}"}
            )

    async def open(self) -> None:
        """/init, then the socket."""
        answer = await self.init()
        assert answer.status_code == 200, answer.text
        await self.open_socket(answer.json()["endpoint"])

    async def open_socket(self, endpoint: str) -> None:
        url = f"{endpoint}?peer={self.peer_id}&token={self.token}&protocol_version=2.5&protocol_spec=20250115"
        self._socket = await connect(url, max_size=None)
        self._reader = asyncio.create_task(self._read(self._socket))

    async def send_text(self, text: str | bytes) -> None:
        assert self._socket is not None
        await self._socket.send(text)

    async def request(self, method: str, **params: Any) -> Json:
        """The result of a request; Refused when the server answers with an error."""
        request_id = str(uuid.uuid4())
        reply = self._replies[request_id] = asyncio.get_running_loop().create_future()
        await self.send_text(json.dumps({"method": method, "params": params, "id": request_id, "jsonrpc": "2.0"}))
        async with asyncio.timeout(_PATIENCE_S):
            message = await reply
        if "error" in message:
            raise Refused(message["error"])
        result = message["result"]
        assert result is not None
        return dict(result)

    async def tell(self, method: str, **params: Any) -> None:
        await self.send_text(json.dumps({"method": method, "params": params}))

    async def join(self, name: str = "someone") -> Json:
        result = await self.request(
            "join",
            name=name,
            data="",
            disableVidAutoSub=True,
            server_sub_degrade=False,
            simulcast=False,
            onDemandTracks=False,
            offer={"type": "offer", "sdp": self.book.sdp()},
        )
        self.node_id = result.get("sfu_node_id")
        return result

    async def publish(self, kind: str, source: str = "regular", stream_id: str = "cam", mute: bool = False) -> str:
        """Adds a track and offers; the track's id."""
        track_id = str(uuid.uuid4())
        self.book.add(kind, stream_id, track_id)
        self.tracks[track_id] = {
            "track_id": track_id,
            "stream_id": stream_id,
            "type": kind,
            "source": source,
            "mute": mute,
            "description": "",
        }
        await self.offer()
        return track_id

    async def unpublish(self, track_id: str) -> None:
        self.book.remove(track_id)
        del self.tracks[track_id]
        await self.offer()

    async def offer(self) -> Json:
        desc = {"type": "offer", "sdp": self.book.sdp()}
        return await self.request("offer", desc=desc, tracks=self.tracks, sfu_node_id=self.node_id)

    async def notice(self, method: str, matches: Callable[[Json], bool] = lambda _params: True) -> Json:
        """The params of the first notice that matches, whether it came already or comes yet."""

        def found() -> Json | None:
            for one in self.notices:
                if one["method"] == method and matches(one["params"]):
                    return dict(one["params"])
            return None

        async with asyncio.timeout(_PATIENCE_S), self._news:
            await self._news.wait_for(lambda: found() is not None)
        seen = found()
        assert seen is not None
        return seen

    async def each(self, method: str) -> AsyncIterator[Json]:
        """The params of every such notice, as they come, without end."""
        for seen in count():
            async with self._news:
                while len(self.heard(method)) <= seen:
                    await self._news.wait()
            yield self.heard(method)[seen]

    def heard(self, method: str) -> list[Json]:
        return [one["params"] for one in self.notices if one["method"] == method]

    async def unaddressed_error(self) -> Json:
        """The first error that answers no request of ours."""
        async with asyncio.timeout(_PATIENCE_S), self._news:
            await self._news.wait_for(lambda: bool(self.unaddressed))
        return dict(self.unaddressed[0]["error"])

    async def closed(self) -> int | None:
        """Waits for the server to close the socket; its close code."""
        assert self._reader is not None
        async with asyncio.timeout(_PATIENCE_S):
            await asyncio.wait((self._reader,))
        return self.close_code

    async def leave(self) -> None:
        await self.tell("leave", client_reason="user request")
        await self.close()

    async def close(self) -> None:
        """Closes the socket without a word, as a closed tab does."""
        if self._socket is not None:
            await self._socket.close(1001)
        if self._reader is not None:
            await asyncio.wait((self._reader,))

    async def _read(self, socket: ClientConnection) -> None:
        with suppress(ConnectionClosed):
            async for text in socket:
                message = json.loads(text)
                async with self._news:
                    self._sort(message)
                    self._news.notify_all()
        self.close_code = socket.close_code

    def _sort(self, message: Json) -> None:
        request_id = message.get("id")
        if request_id in self._replies:
            waiting = self._replies.pop(request_id)
            if not waiting.done():  # whoever asked may have been cancelled
                waiting.set_result(message)
        elif "method" in message:
            self.notices.append(message)
        else:
            self.unaddressed.append(message)


@asynccontextmanager
async def client(url: str, token: str, **options: Any) -> AsyncIterator[Client]:
    """A client with an open socket."""
    one = Client(url, token, **options)
    await one.open()
    try:
        yield one
    finally:
        await one.close()
