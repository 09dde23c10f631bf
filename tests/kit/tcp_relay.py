"""Carries TCP connections from an announced address to the server's media port: the way that stays when a network lets no UDP through."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_CHUNK_BYTES = 65_536


@asynccontextmanager
async def tcp_relay(announced: str, port: int) -> AsyncIterator[None]:
    """`announced`:`port` leads to 127.0.0.1:`port` until the end, which cuts what is connected."""
    writers: list[asyncio.StreamWriter] = []

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        writers.extend((writer, back))
        await asyncio.gather(_copy(reader, back), _copy(there, writer))

    server = await asyncio.start_server(carry, announced, port)
    try:
        yield
    finally:
        server.close()
        for writer in writers:
            writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until either side ends."""
    try:
        while chunk := await reader.read(_CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()
