"""An event reaches its receiver at least once, signed, and never by a way that nobody allowed."""

import hashlib
import hmac
import json
from datetime import timedelta
from pathlib import Path

import pytest
from standardwebhooks.webhooks import Webhook

from isotape.db.deliveries import DeliveryState
from isotape.db.engine import Tx
from isotape.events import StreamRecordingFailed, StreamRecordingSucceeded
from isotape.model import AssetState
from isotape.webhooks.deliver import RETRY_S
from isotape.webhooks.signature import standard_secret
from tests.kit.outside import START, add_room, add_session, an_asset
from tests.unit.webhooks.conftest import SECRET, Receiver, Webhooks

pytestmark = pytest.mark.anyio

SERVER_ERROR = b"HTTP/1.1 500 Oops\r\nContent-Length: 9\r\n\r\nnot today"


async def _announce(webhooks: Webhooks, state: AssetState = AssetState.COMPLETED) -> None:
    async with webhooks.node.database.begin() as tx:
        await _append(tx, webhooks, state)


async def _append(tx: Tx, webhooks: Webhooks, state: AssetState) -> None:
    asset = an_asset(await add_session(tx, await add_room(tx)), state)
    event = StreamRecordingSucceeded if state is AssetState.COMPLETED else StreamRecordingFailed
    await webhooks.events.append(tx, event(asset))


async def test_both_signatures_prove_the_body_that_was_sent(by_hand: Webhooks, receiver: Receiver) -> None:
    await _announce(by_hand)
    by_hand.node.clock.time = START.now(START.tzinfo)  # the library refuses old messages
    await by_hand.deliverer.deliver((await by_hand.row()).id)
    request = receiver.received[0]
    event = json.loads(request.body)
    assert request.headers["x-100ms-signature"] == hmac.new(SECRET.encode(), request.body, hashlib.sha256).hexdigest()
    assert Webhook(standard_secret(SECRET)).verify(request.body, request.headers) == event
    assert request.headers["webhook-id"] == event["id"]
    assert request.headers["content-type"] == "application/json"
    assert (request.target, request.headers["host"]) == ("/hook?x=1", f"127.0.0.1:{receiver.port}")


async def test_a_success_carries_what_a_100ms_receiver_reads(by_hand: Webhooks, receiver: Receiver) -> None:
    await _announce(by_hand)
    await by_hand.deliverer.deliver((await by_hand.row()).id)
    event = json.loads(receiver.received[0].body)
    data = event["data"]
    assert (event["version"], event["type"], event["timestamp"]) == (
        "2.0",
        "stream.recording.success",
        "2024-02-29T04:51:16Z",
    )
    assert (data["type"], data["stream_type"], data["size"], data["duration"]) == (
        "regular",
        "regular",
        22_989_889,
        185,
    )
    assert data["recording_id"] == data["asset_id"]
    assert data["recording_path"].startswith("local://")
    assert data["recording_presigned_url"].startswith("http://isotape.test/files/")
    assert f"expires={int(START.timestamp()) + 3600}" in data["recording_presigned_url"]
    assert data["user_name"] == "Alice Ä"


async def test_a_failure_says_so_and_has_no_url(by_hand: Webhooks, receiver: Receiver) -> None:
    await _announce(by_hand, AssetState.FAILED)
    await by_hand.deliverer.deliver((await by_hand.row()).id)
    data = json.loads(receiver.received[0].body)["data"]
    assert (data["error_message"], data["error_details"]) == ("INTERNAL_ERROR", "asset: no space left")
    assert "recording_presigned_url" not in data


async def test_an_event_that_was_not_committed_is_never_told(by_jobs: Webhooks, receiver: Receiver) -> None:
    with pytest.raises(ZeroDivisionError):
        async with by_jobs.node.database.begin() as tx:
            await _append(tx, by_jobs, AssetState.FAILED)
            raise ZeroDivisionError
    await _announce(by_jobs)
    await receiver.until(1)
    assert [json.loads(request.body)["type"] for request in receiver.received] == ["stream.recording.success"]


async def test_a_receiver_that_fails_twice_is_told_by_the_third_try(by_jobs: Webhooks, receiver: Receiver) -> None:
    """By the real queue: 1 s and 3 s after the tries, with one id and one body."""
    receiver.answers = [SERVER_ERROR, SERVER_ERROR, b"HTTP/1.1 204 No Content\r\n\r\n"]
    await _announce(by_jobs)
    await receiver.until(3)
    assert len({request.headers["webhook-id"] for request in receiver.received}) == 1
    assert len({request.body for request in receiver.received}) == 1
    times = [int(request.headers["webhook-timestamp"]) for request in receiver.received]
    assert times[1] - times[0] >= 1
    assert times[2] - times[1] >= 2


async def test_every_failed_try_schedules_the_next_until_the_last(by_hand: Webhooks, receiver: Receiver) -> None:
    receiver.answers = [SERVER_ERROR]
    await _announce(by_hand)
    delivery_id = (await by_hand.row()).id
    for _ in range(len(RETRY_S) + 3):
        await by_hand.deliverer.deliver(delivery_id)
    row = await by_hand.row()
    assert (row.state, row.attempts, row.last_status) == (DeliveryState.FAILED, len(RETRY_S) + 1, 500)
    assert row.last_error == "HTTP 500 not today"
    assert len(receiver.received) == len(RETRY_S) + 1
    delays = [delay_s for _, delay_s, _ in by_hand.enqueued[1:]]
    assert delays[:3] == [1, 3, 10]
    assert all(0.8 * wanted <= got <= 1.2 * wanted for got, wanted in zip(delays, RETRY_S, strict=True))
    assert [attempt for _, _, attempt in by_hand.enqueued] == list(range(1, len(RETRY_S) + 2))


@pytest.mark.parametrize(
    ("answer", "state", "note"),
    [
        (b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", "delivered", ""),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", "pending", "HTTP 302"),
        (b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n", "failed", "HTTP 410"),
        (b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n", "pending", "HTTP 401"),
        (b"nonsense\r\n\r\n", "pending", "RemoteProtocolError"),
        (b"", "pending", "RemoteProtocolError"),
    ],
)
async def test_only_a_2xx_acknowledges(
    by_hand: Webhooks, receiver: Receiver, answer: bytes, state: str, note: str
) -> None:
    receiver.answers = [answer]
    await _announce(by_hand)
    await by_hand.deliverer.deliver((await by_hand.row()).id)
    row = await by_hand.row()
    assert row.state == state
    assert row.last_error.startswith(note)
    assert len(receiver.received) == 1


async def test_a_told_delivery_is_not_told_again(by_hand: Webhooks, receiver: Receiver) -> None:
    await _announce(by_hand)
    for _ in range(3):
        await by_hand.deliverer.deliver((await by_hand.row()).id)
    assert len(receiver.received) == 1
    assert (await by_hand.row()).delivered_at == START


async def test_a_busy_receiver_is_left_alone_as_long_as_it_asks(by_hand: Webhooks, receiver: Receiver) -> None:
    receiver.answers = [b"HTTP/1.1 503 Busy\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n"]
    await _announce(by_hand)
    await by_hand.deliverer.deliver((await by_hand.row()).id)
    assert (await by_hand.row()).next_attempt_at == START + timedelta(seconds=120)


async def test_an_endless_answer_is_read_no_further_than_its_bound(by_hand: Webhooks, receiver: Receiver) -> None:
    receiver.answers = [b"HTTP/1.1 500 No\r\nContent-Length: 100000000\r\n\r\n" + b"x" * 200_000]
    await _announce(by_hand)
    await by_hand.deliverer.deliver((await by_hand.row()).id)
    row = await by_hand.row()
    assert (row.last_status, len(row.last_error)) == (500, len("HTTP 500 ") + 200)


async def test_a_receiver_that_never_answers_costs_one_try(
    by_hand: Webhooks, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isotape.webhooks.deliver._TIMEOUT_S", 0.3)
    receiver.answers = [None]
    await _announce(by_hand)
    await by_hand.deliverer.deliver((await by_hand.row()).id)
    row = await by_hand.row()
    assert (row.state, row.attempts, row.last_status) == ("pending", 1, None)


async def test_no_proxy_of_the_environment_sees_an_event(
    by_hand: Webhooks, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    await _announce(by_hand)
    await by_hand.deliverer.deliver((await by_hand.row()).id)
    assert (await by_hand.row()).state == "delivered"
