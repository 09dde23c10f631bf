"""One WebSocket, from accept to close: frames in, in order; messages out, in order.

Before it: the router. After it: requests.py. Whatever a client sends, the process goes on and the socket answers: a
frame that cannot be understood gets a JSON-RPC error. A token that opens nothing is told so *on* the socket: a client
cannot read a refused upgrade and would knock again and again. Silence for 15 s, or a client that does not read, ends
the socket; the peer stays for its grace.
"""

import asyncio

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from isotape.errors import BadRequest, IsotapeError, PayloadTooLarge
from isotape.ids import PeerId
from isotape.logs import logger
from isotape.signalling.conversation import Conversation
from isotape.signalling.entry import enter
from isotape.signalling.fanout import Outbox
from isotape.signalling.messages import Frame, read
from isotape.signalling.negotiation import Negotiation
from isotape.signalling.parts import SignallingParts
from isotape.signalling.requests import HANDLERS
from isotape.wire import client as wire

log = logger(part="signalling")

# The client pings 3 s after each pong and gives the server up after 12 s, so 15 s without a frame is a dead client.
_SILENCE_S = 15.0
MAX_FRAME_BYTES = 1 << 20
# Frames that wait for the one being worked on; then the socket is not read, and TCP slows the client down.
_INBOX_BOUND = 64
# A client that starts says some 30 things at once, then one every 3 s. Above the rate its socket is read more slowly;
# nothing is lost.
_RATE_PER_S = 50.0
_BURST = 200.0
_CLOSE_REFUSED = 4001
_CLOSE_SILENT = 4002
_CLOSE_UNAVAILABLE = 1013


async def serve_socket(websocket: WebSocket, parts: SignallingParts, negotiation: Negotiation) -> None:
    """Runs one socket to its end."""
    await websocket.accept()
    query = websocket.query_params
    try:
        token, entry = await enter(parts, query.get("token", ""), query.get("peer", ""))
    except IsotapeError as error:
        await _refuse(websocket, error)
        return
    box = Outbox()
    talk = Conversation(parts, negotiation, token, PeerId(query["peer"]), entry, box)
    parts.fanout.attach(talk.peer_id, box)
    try:
        talk.open()
        await PeerSocket(websocket, talk).run()
    finally:
        talk.hang_up(is_current=parts.fanout.detach(talk.peer_id, box))


async def _refuse(websocket: WebSocket, error: IsotapeError) -> None:
    # `on-error` makes the client leave for good; what may work a moment later must only look like a lost socket.
    if error.status < 500:
        refusal = wire.notice(wire.Notice.ERROR, {"code": error.status, "message": error.message})
        await websocket.send_json(refusal)
    await websocket.close(_CLOSE_REFUSED if error.status < 500 else _CLOSE_UNAVAILABLE)


class PeerSocket:
    """The reader, the worker and the writer of one socket."""

    def __init__(self, websocket: WebSocket, talk: Conversation) -> None:
        self._websocket = websocket
        self._talk = talk
        self._inbox: asyncio.Queue[Frame | None] = asyncio.Queue(_INBOX_BOUND)
        self._rate = _Rate()

    async def run(self) -> None:
        """Until the client is gone, silent or sent away. What it said before that is still done, in order."""
        async with asyncio.TaskGroup() as tasks:
            writer = tasks.create_task(self._write())
            worker = tasks.create_task(self._work())
            reader = tasks.create_task(self._read())
            await asyncio.wait((reader, writer), return_when=asyncio.FIRST_COMPLETED)
            reader.cancel()
            await self._inbox.put(None)
            await asyncio.wait((worker,))
            self._talk.box.close()

    async def _read(self) -> None:
        while True:
            try:
                async with asyncio.timeout(_SILENCE_S):
                    message = await self._websocket.receive()
            except TimeoutError:
                self._talk.box.close(_CLOSE_SILENT)
                return
            if message["type"] == "websocket.disconnect":
                return
            await self._rate.wait()
            await self._hear(message.get("text"))

    async def _hear(self, text: str | None) -> None:
        try:
            if text is None:
                raise BadRequest("frame: binary, text is spoken here")
            if len(text) > MAX_FRAME_BYTES:
                raise PayloadTooLarge(f"frame: longer than {MAX_FRAME_BYTES} bytes")
            frame = read(text)
        except IsotapeError as error:
            self._talk.box.push(wire.error_reply(None, error.status, error.message))
            return
        if frame.method == "ping":
            # At once, past the queue: slow work on one message must not look like a dead server.
            await self._answer(frame)
        else:
            await self._inbox.put(frame)

    async def _work(self) -> None:
        while (frame := await self._inbox.get()) is not None:
            await self._answer(frame)
            self._talk.flush()

    async def _answer(self, frame: Frame) -> None:
        reply = await self._obey(frame)
        if frame.id is not None:
            self._talk.box.push(reply)
        elif "error" in reply:
            log.info("notification refused", peer=self._talk.peer_id, method=frame.method[:64], **reply["error"])

    async def _obey(self, frame: Frame) -> wire.Message:
        request_id = frame.id if frame.id is not None else ""
        try:
            call = frame.call()
            return wire.reply(request_id, await HANDLERS[call.method](self._talk, call.params))
        except IsotapeError as error:
            return wire.error_reply(request_id, error.status, error.message)
        except Exception:  # the named supervisor of a socket: a bug costs one request.
            log.exception("request failed", peer=self._talk.peer_id, method=frame.method[:64])
            return wire.error_reply(request_id, 500, "internal error")

    async def _write(self) -> None:
        try:
            while (text := await self._talk.box.next()) is not None:
                await self._websocket.send_text(text)
            if self._websocket.application_state is WebSocketState.CONNECTED:
                await self._websocket.close(self._talk.box.close_code)
        except (WebSocketDisconnect, RuntimeError):
            # The client went while something was being said; the reader learns the same.
            return


class _Rate:
    """A token bucket that makes the reader wait."""

    def __init__(self) -> None:
        self._tokens = _BURST
        self._filled_at = asyncio.get_running_loop().time()

    async def wait(self) -> None:
        now = asyncio.get_running_loop().time()
        self._tokens = min(_BURST, self._tokens + (now - self._filled_at) * _RATE_PER_S)
        self._filled_at = now
        self._tokens -= 1
        if self._tokens < 0:
            await asyncio.sleep(-self._tokens / _RATE_PER_S)
