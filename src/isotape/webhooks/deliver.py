"""One try of one delivery: read it, check where it goes, sign it, send it, write down what happened, schedule the next try.

Before it: a job that isotape.events or the try before enqueued. After it: the receiver's server. A delivery is told at least
once: a crash between the receiver's answer and our note of it repeats the try, with the same `webhook-id`. The first
tries of one session's events go out in the order of the events as long as the receiver answers; a later try waits for nobody.

What is met here (a refused address, a dead server, a 500) is the delivery's own history and never an error of the job.
"""

import asyncio
import random
import ssl
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import httpx2

from isotape.clock import Clock
from isotape.db import deliveries
from isotape.db.deliveries import Attempt, Delivery, DeliveryState
from isotape.db.engine import Database, Tx
from isotape.errors import IsotapeError
from isotape.logs import logger
from isotape.webhooks.address_guard import AddressGuard, Target
from isotape.webhooks.signature import Signer

# After the n-th failed try, wait this long (s). The first three are 100ms' own; then up to three days and more, as Svix does.
RETRY_S = (1, 3, 10, 30, 120, 600, 3_600, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
# Later tries are spread by this share of their wait, so that a receiver that comes back is not met by all of them at once.
_JITTER = 0.2
_EXACT_TRIES = 3
# How long (s) a first try waits for those of its session's older events; a receiver that hangs must not hold everything.
_TURN_S = 2.0
_TURN_POLL_S = 0.05
# From the first byte out to the last byte in: the upper end of what Standard Webhooks recommends.
_TIMEOUT_S = 15.0
# What is read of an answer. Nothing in it matters but its status; the beginning is kept for whoever looks into a failure.
_MAX_ANSWER_BYTES = 64_000
_KEPT_ANSWER_CHARS = 200
# A receiver that says `410 Gone` wants no more (Standard Webhooks).
_GONE = 410
# The answers whose Retry-After is obeyed.
_BUSY = (429, 503)


class Enqueue(Protocol):
    """jobs.Jobs.enqueue_delivery."""

    def __call__(self, tx: Tx, delivery_id: str, delay_s: float = 0, *, attempt: int = 1) -> Awaitable[None]: ...


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a try met. status is None when nothing was answered; retry_after_s is what the receiver asked for."""

    status: int | None
    text: str
    retry_after_s: float = 0.0

    @property
    def acknowledged(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


class Deliverer:
    """Tries deliveries. One HTTP client for all of them: no redirects, no proxy or certificate path from the environment."""

    def __init__(
        self,
        database: Database,
        enqueue: Enqueue,
        clock: Clock,
        guard: AddressGuard,
        secret: str,
    ) -> None:
        self._database = database
        self._enqueue = enqueue
        self._clock = clock
        self._guard = guard
        self._signer = Signer(secret)
        self._log = logger(component="webhooks")
        self._client: httpx2.AsyncClient | None = None

    async def deliver(self, delivery_id: str) -> None:
        """Tries the delivery once, unless it has come to its end already."""
        async with self._database.connect() as tx:
            delivery = await deliveries.load(tx, delivery_id)
        if delivery is None or delivery.state is not DeliveryState.PENDING:
            return
        if delivery.attempts == 0:
            await self._wait_for_turn(delivery)
        answer = await self._try(delivery)
        await self._note(delivery, answer)

    async def _wait_for_turn(self, delivery: Delivery) -> None:
        """Events of one session become jobs at nearly the same time, and jobs run side by side."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_TURN_S):
                while not await self._is_next(delivery):  # noqa: ASYNC110  other jobs change the rows
                    await asyncio.sleep(_TURN_POLL_S)

    async def _is_next(self, delivery: Delivery) -> bool:
        async with self._database.connect() as tx:
            return await deliveries.is_next(tx, delivery)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def _note(self, delivery: Delivery, answer: _Answer) -> None:
        """Writes down the try and schedules the next one, in one transaction."""
        attempts = delivery.attempts + 1
        now = self._clock.now()
        state, delay_s = _what_next(attempts, answer)
        next_at = now + timedelta(seconds=delay_s) if state is DeliveryState.PENDING else None
        attempt = Attempt(state, attempts, answer.status, "" if answer.acknowledged else answer.text, next_at)
        async with self._database.begin() as tx:
            # Another run of the same job has noted its try in between: that one goes on.
            if await deliveries.record(tx, delivery, attempt, now) and state is DeliveryState.PENDING:
                await self._enqueue(tx, delivery.id, delay_s, attempt=attempts + 1)
        self._report(delivery, attempt)

    def _report(self, delivery: Delivery, attempt: Attempt) -> None:
        log = self._log.bind(
            delivery=delivery.id, event=delivery.event_type, attempts=attempt.attempts, status=attempt.status
        )
        if attempt.state is DeliveryState.FAILED:
            log.error("webhook given up", error=attempt.error)
        elif attempt.state is DeliveryState.PENDING:
            log.warning("webhook not acknowledged", error=attempt.error, next_at=str(attempt.next_attempt_at))

    async def _try(self, delivery: Delivery) -> _Answer:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                target = await self._guard.check(delivery.url)
                return await self._send(delivery, target)
        except TimeoutError:
            return _Answer(None, f"no answer within {_TIMEOUT_S:.0f} s")
        except httpx2.HTTPError as error:
            return _Answer(None, f"{type(error).__name__}: {error}")
        except IsotapeError as error:
            return _Answer(None, error.message)

    async def _send(self, delivery: Delivery, target: Target) -> _Answer:
        """Posts to the first checked address that takes a connection."""
        for address in target.addresses[:-1]:
            try:
                return await self._post(delivery, target, address)
            except httpx2.ConnectError:
                continue
        return await self._post(delivery, target, target.addresses[-1])

    async def _post(self, delivery: Delivery, target: Target, address: str) -> _Answer:
        body = delivery.body.encode()
        request = self._open_client().build_request(
            "POST",
            httpx2.URL(delivery.url).copy_with(scheme=target.scheme, host=address, port=target.port),
            content=body,
            headers={
                "Host": _host_header(target),
                "Content-Type": "application/json",
                **self._signer.headers(delivery.event_id, self._clock.now(), body),
            },
            # TLS asks for, and checks, the name in the URL and not the address that was looked up for it.
            extensions={"sni_hostname": target.host},
        )
        response = await self._open_client().send(request, stream=True, follow_redirects=False)
        try:
            text = await _beginning(response)
        finally:
            await response.aclose()
        return _Answer(response.status_code, f"HTTP {response.status_code} {text}".strip(), _retry_after(response))

    def _open_client(self) -> httpx2.AsyncClient:
        if self._client is None:
            self._client = httpx2.AsyncClient(
                verify=ssl.create_default_context(),
                trust_env=False,
                follow_redirects=False,
                timeout=_TIMEOUT_S,
                headers={"User-Agent": "isotape", "Accept-Encoding": "identity"},
            )
        return self._client


def _what_next(attempts: int, answer: _Answer) -> tuple[DeliveryState, float]:
    """What becomes of the delivery after its `attempts`-th try, and how long until the next one (s)."""
    if answer.acknowledged:
        return DeliveryState.DELIVERED, 0.0
    if answer.status == _GONE or attempts > len(RETRY_S):
        return DeliveryState.FAILED, 0.0
    delay_s = float(RETRY_S[attempts - 1])
    if attempts > _EXACT_TRIES:
        delay_s *= random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311  spreads load, guards nothing
    return DeliveryState.PENDING, max(delay_s, answer.retry_after_s)


def _host_header(target: Target) -> str:
    host = f"[{target.host}]" if ":" in target.host else target.host
    default = {"https": 443, "http": 80}[target.scheme]
    return host if target.port == default else f"{host}:{target.port}"


async def _beginning(response: httpx2.Response) -> str:
    """The first characters of the answer; never more than the bound is read."""
    received = b""
    async for part in response.aiter_raw():
        received += part
        if len(received) >= _MAX_ANSWER_BYTES:
            break
    return received[:_MAX_ANSWER_BYTES].decode("utf-8", "replace")[:_KEPT_ANSWER_CHARS]


def _retry_after(response: httpx2.Response) -> float:
    """Seconds that a busy receiver asks for, at most a day. A date is not read: the schedule waits long enough."""
    text = response.headers.get("retry-after", "")
    if response.status_code not in _BUSY or not text.isdecimal():
        return 0.0
    return min(float(text), RETRY_S[-1])
