"""The receiver in examples/, started as a reader would start it, takes what isotape sends and nothing else."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from isotape.clock import SystemClock
from isotape.webhooks.signature import Signer, standard_secret

pytestmark = pytest.mark.anyio

EXAMPLE = Path(__file__).parents[3] / "examples/consume_webhook.py"
BODY = '{"id":"e1","type":"stream.recording.success","data":{"stream_type":"regular","recording_presigned_url":"http://x/ä"}}'.encode()


@asynccontextmanager
async def _example(secret: str) -> AsyncIterator[tuple[asyncio.StreamReader, str]]:
    """Its standard output, and its URL."""
    environment = {**os.environ, "WEBHOOK_SECRET": secret}
    program = await asyncio.create_subprocess_exec(
        sys.executable, str(EXAMPLE), "0", env=environment, stdout=asyncio.subprocess.PIPE
    )
    assert program.stdout is not None
    try:
        port = (await program.stdout.readline()).decode().split()[-1]
        yield program.stdout, f"http://127.0.0.1:{port}/"
    finally:
        program.terminate()
        await program.wait()


@pytest.mark.parametrize("secret", ["plain secret", standard_secret("a standard secret")])
async def test_the_example_takes_a_signed_event_once(secret: str) -> None:
    async with _example(secret) as (printed, url), httpx2.AsyncClient(trust_env=False) as client:
        headers = Signer(secret).headers("e1", SystemClock().now(), BODY)
        for _ in range(2):
            assert (await client.post(url, content=BODY, headers=headers)).status_code == 204
        second = BODY.replace(b"e1", b"e2")
        await client.post(url, content=second, headers=Signer(secret).headers("e2", SystemClock().now(), second))
        lines = [(await printed.readline()).decode() for _ in range(2)]
    assert lines == ["stream.recording.success regular http://x/ä\n"] * 2


async def test_the_example_refuses_what_is_not_signed_for_these_bytes() -> None:
    async with _example("secret") as (_, url), httpx2.AsyncClient(trust_env=False) as client:
        good = Signer("secret").headers("e1", SystemClock().now(), BODY)
        stale = Signer("secret").headers("e1", SystemClock().now().replace(year=2020), BODY)
        foreign = Signer("another").headers("e1", SystemClock().now(), BODY)
        bad = [
            {},
            stale,
            foreign,
            {**good, "webhook-id": "e2"},
            *({k: v for k, v in good.items() if k != name} for name in good),
        ]
        for headers in bad:
            assert (await client.post(url, content=BODY, headers=headers)).status_code == 401, headers
        assert (await client.post(url, content=BODY + b" ", headers=good)).status_code == 401
