"""Whatever is sent, the process goes on, the socket answers, and nobody else notices."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isotape.errors import BadRequest, Forbidden, NotFound
from isotape.signalling.messages import METHODS, read
from tests.kit.client import Client, Refused, client
from tests.kit.server import LiveServer

pytestmark = pytest.mark.anyio


@pytest.fixture
async def alice(live: LiveServer) -> AsyncIterator[Client]:
    room = await live.make_room()
    async with client(live.url, live.token(room, "alice")) as one:
        await one.join()
        yield one


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("{", 400),
        ("[]", 400),
        ("17", 400),
        ("{}", 400),
        ('{"id":"a"}', 400),
        ('{"method":7}', 400),
        ('{"method":"ping","id":{}}', 400),
        ("[" * 100_000, 400),
        (b"\x00\x01", 400),
        ("x" * (1 << 20) + "x", 413),
    ],
)
async def test_a_frame_that_is_no_request_gets_an_error_and_the_socket_lives(
    alice: Client, frame: str | bytes, code: int
) -> None:
    await alice.send_text(frame)
    assert (await alice.unaddressed_error())["code"] == code
    assert await alice.request("ping", timestamp=5) == {"timestamp": 5}


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("no-such-method", {}, 404),
        ("poll-set", {}, 404),
        ("whiteboard-create", {}, 404),
        ("offer", {}, 400),
        ("offer", {"desc": {"sdp": 7}}, 400),
        ("offer", {"desc": {"sdp": "v=0"}, "tracks": {"a": {"type": "smell"}}}, 400),
        ("offer", {"desc": {"sdp": "\x00" * 1000}, "tracks": {}}, 400),
        ("join", {"name": "x" * 100_000}, 400),
        ("trickle", {"target": 2, "candidate": {}}, 400),
        ("broadcast", {}, 400),
        ("role-change-request", {"role": "host"}, 403),
    ],
)
async def test_wrong_params_get_the_named_error(
    alice: Client, method: str, params: dict[str, object], code: int
) -> None:
    with pytest.raises(Refused) as refused:
        await alice.request(method, **params)
    assert refused.value.code == code
    assert refused.value.message


async def test_params_that_are_no_object_are_refused(alice: Client) -> None:
    await alice.send_text(json.dumps({"method": "offer", "params": [1], "id": "q"}))
    assert await alice.request("ping", timestamp=5) == {"timestamp": 5}


async def test_notifications_that_make_no_sense_are_passed_over(alice: Client) -> None:
    await alice.tell("answer", desc={"type": "answer", "sdp": "v=0\r\nnonsense"})
    await alice.tell("trickle", target=1, candidate={"candidate": "nonsense"})
    await alice.tell("track-update", tracks={"unknown": {"track_id": "u", "stream_id": "s", "type": "audio"}})
    await alice.tell("no-such-method")
    assert await alice.request("ping", timestamp=5) == {"timestamp": 5}


async def test_every_request_of_a_flood_is_answered_in_order_and_others_are_served(live: LiveServer) -> None:
    room = await live.make_room()
    async with client(live.url, live.token(room, "a")) as flood, client(live.url, live.token(room, "b")) as calm:
        await flood.join()
        asked = [asyncio.create_task(flood.request("get-metadata", key=str(number))) for number in range(250)]
        await calm.join()
        answers = await asyncio.gather(*asked)
    assert [answer["key"] for answer in answers] == [str(number) for number in range(250)]


async def test_a_socket_with_a_bad_token_is_told_so_and_closed(live: LiveServer) -> None:
    stranger = Client(live.url, "not.a.token")
    await stranger.open_socket(f"{live.url.replace('http', 'ws')}/ws")
    assert (await stranger.notice("on-error")) == {"code": 401, "message": "Token validation error"}
    assert await stranger.closed() == 4001


async def test_a_peer_id_that_could_not_be_a_name_is_refused(live: LiveServer) -> None:
    room = await live.make_room()
    for peer_id in ("", "../../etc", "a b", "x" * 65):
        assert (await Client(live.url, live.token(room, "a"), peer_id=peer_id).init()).status_code == 400


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(method=st.sampled_from(sorted(METHODS)) | st.text(max_size=12), params=JSON_VALUES)
def test_any_json_is_either_a_typed_call_or_a_named_error(method: str, params: object) -> None:
    frame = read(json.dumps({"method": method, "params": params, "id": 1}))
    with suppress(BadRequest, Forbidden, NotFound):
        assert isinstance(frame.call().params, METHODS[method])


@settings(max_examples=300)
@given(st.text())
def test_any_text_is_either_a_frame_or_a_bad_request(text: str) -> None:
    with suppress(BadRequest):
        read(text)
