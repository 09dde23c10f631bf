"""Messages, raised hands, the session store, looking each other up, moderating."""

from collections.abc import AsyncIterator

import pytest

from tests.kit.client import Client, Refused, client
from tests.kit.server import LiveServer

pytestmark = pytest.mark.anyio


@pytest.fixture
async def trio(live: LiveServer) -> AsyncIterator[tuple[Client, Client, Client]]:
    """A host and two guests in one room."""
    room = await live.make_room()
    async with (
        client(live.url, live.token(room, "alice", "host")) as alice,
        client(live.url, live.token(room, "bob", "guest")) as bob,
        client(live.url, live.token(room, "carol", "guest")) as carol,
    ):
        for one, name in ((alice, "Alice"), (bob, "Bob"), (carol, "Carol")):
            await one.join(name)
        yield alice, bob, carol


Trio = tuple[Client, Client, Client]


async def test_a_message_reaches_all_others_and_not_its_sender(trio: Trio) -> None:
    alice, bob, carol = trio
    receipt = await alice.request("broadcast", info={"message": "hello", "type": "chat"})
    for one in (bob, carol):
        heard = await one.notice("on-broadcast")
        assert (heard["info"]["message"], heard["message_id"], heard["private"]) == (
            "hello",
            receipt["message_id"],
            False,
        )
        assert heard["peer"]["info"]["name"] == "Alice"
    assert alice.heard("on-broadcast") == []


async def test_a_private_message_reaches_one_peer_and_a_role_message_its_role(trio: Trio) -> None:
    alice, bob, carol = trio
    await alice.request("broadcast", info={"message": "psst"}, peer_id=bob.peer_id)
    assert (await bob.notice("on-broadcast"))["private"] is True
    await bob.request("broadcast", info={"message": "to hosts"}, roles=["host"])
    assert (await alice.notice("on-broadcast"))["info"]["message"] == "to hosts"
    assert carol.heard("on-broadcast") == []
    with pytest.raises(Refused, match="404"):
        await alice.request("broadcast", info={"message": "?"}, peer_id="nobody")


async def test_a_raised_hand_is_seen_by_all_and_can_be_lowered_by_another(trio: Trio) -> None:
    alice, bob, carol = trio
    assert await bob.request("group-join", name="_handraise") == {"groups": ["_handraise"]}
    for one in trio:
        seen = await one.notice("on-peer-update", lambda params: params["groups"] == ["_handraise"])
        assert (seen["peer_id"], seen["realtime"]) == (bob.peer_id, True)
    await alice.request("group-remove", name="_handraise", peer_id=bob.peer_id)
    await carol.notice("on-peer-update", lambda params: params["groups"] == [])


async def test_a_new_name_is_told_and_stays_over_a_reconnect(trio: Trio) -> None:
    alice, bob, _carol = trio
    await bob.request("peer-update", name="Robert")
    assert (await alice.notice("on-peer-update"))["info"]["name"] == "Robert"
    assert (await alice.request("get-peer", peer_id=bob.peer_id))["info"]["name"] == "Robert"


async def test_the_session_store_tells_its_watchers(trio: Trio) -> None:
    alice, bob, carol = trio
    await bob.request("listen-metadata-change", keys=["spotlight"])
    stored = await alice.request("set-metadata", key="spotlight", data={"peer": "x"})
    assert (await bob.notice("on-metadata-change"))["values"][0]["data"] == {"peer": "x"}
    assert (await carol.request("get-metadata", key="spotlight"))["change_version"] == stored["change_version"]
    assert carol.heard("on-metadata-change") == []
    with pytest.raises(Refused, match="409"):
        await carol.request("set-metadata", key="spotlight", data=None, if_change_version=stored["change_version"] + 1)
    assert (await carol.request("get-metadata", key="unset"))["data"] is None


async def test_peers_find_each_other(trio: Trio) -> None:
    alice, bob, carol = trio
    guests = await alice.request("find-peer", role="guest", limit=10)
    assert {peer["peer_id"] for peer in guests["peers"]} == {bob.peer_id, carol.peer_id}
    assert (guests["total"], guests["eof"]) == (2, True)
    found = await alice.request("peer-name-search", query="car", limit=10, offset=0)
    assert [peer["name"] for peer in found["peers"]] == ["Carol"]
    assert await alice.request("poll-list") == {"polls": [], "last": True}


async def test_a_host_sends_a_guest_away(trio: Trio) -> None:
    alice, bob, carol = trio
    with pytest.raises(Refused, match="403"):
        await bob.request("peer-leave-request", requested_for=carol.peer_id, reason="no")
    await alice.request("peer-leave-request", requested_for=bob.peer_id, reason="bye")
    asked = await bob.notice("on-peer-leave-request")
    assert (asked["requested_by"], asked["room_end"]) == (alice.peer_id, False)
    assert (await carol.notice("on-peer-leave"))["peer_id"] == bob.peer_id
    with pytest.raises(Refused, match="404"):
        await bob.request("broadcast", info={"message": "still here"})


async def test_a_host_mutes_a_guest_and_a_guest_mutes_nobody(trio: Trio) -> None:
    alice, bob, carol = trio
    mic = await bob.publish("audio")
    await alice.request("track-update-request", requested_for=bob.peer_id, track_id=mic, stream_id="cam", mute=True)
    assert (await bob.notice("on-track-update-request"))["track_id"] == mic
    await alice.request("change-track-mute-state-request", value=True, type="audio", roles=["guest"])
    assert (await carol.notice("on-change-track-mute-state-request"))["value"] is True
    with pytest.raises(Refused, match="403"):
        await carol.request("change-track-mute-state-request", value=True)
