"""A webhook receiver on loopback: checks the signature of what arrives and keeps it for the demo to print."""

import asyncio
import hashlib
import hmac
import json
from contextlib import suppress
from typing import Any, Self

_MAX_BODY_BYTES = 1 << 20


class Receiver:
    """Answers 200 to every well-signed POST and 401 to any other. `received` grows in order of arrival."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()
        self._server: asyncio.Server | None = None
        self._arrived = asyncio.Condition()
        self.received: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/webhook"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        assert self._server is not None
        self._server.close()

    async def wait_for(self, event_type: str, count: int, timeout_s: float) -> None:
        """Returns when `count` events of that type are here, or when the time is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s), self._arrived:
                await self._arrived.wait_for(lambda: self._count(event_type) >= count)

    def _count(self, event_type: str) -> int:
        return sum(event["type"] == event_type for event in self.received)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        body = await reader.readexactly(min(int(headers.get("content-length", "0")), _MAX_BODY_BYTES))
        good = self._is_signed(body, headers.get("x-100ms-signature", ""))
        if good:
            async with self._arrived:
                self.received.append(json.loads(body))
                self._arrived.notify_all()
        writer.write(
            b"HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % (b"200 OK" if good else b"401 Bad")
        )
        await writer.drain()
        writer.close()

    def _is_signed(self, body: bytes, signature: str) -> bool:
        return hmac.compare_digest(hmac.new(self._secret, body, hashlib.sha256).hexdigest(), signature)
