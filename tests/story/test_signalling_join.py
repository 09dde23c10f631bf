"""Peers join, see each other come, publish and go."""

import pytest

from tests.kit.client import Client, Refused, client
from tests.kit.server import LiveServer
from tests.kit.until import until

pytestmark = pytest.mark.anyio


async def test_a_client_learns_its_policy_before_anything_else(live: LiveServer) -> None:
    room = await live.make_room()
    async with client(live.url, live.token(room, "alice")) as alice:
        policy = await alice.notice("on-policy-change")
        assert alice.notices[0]["method"] == "on-policy-change"
        assert policy["name"] == "host"
        assert set(policy["known_roles"]) == {"host", "guest", "viewer"}
        host = policy["known_roles"]["host"]
        assert all(kind in host["publishParams"] for kind in host["publishParams"]["allowed"])
        assert host["permissions"]["browserRecording"] is False


async def test_a_joined_client_hears_of_the_others_and_not_of_itself(live: LiveServer) -> None:
    room = await live.make_room()
    async with client(live.url, live.token(room, "alice")) as alice, client(live.url, live.token(room, "bob")) as bob:
        answer = await alice.join("Alice")
        assert answer["type"] == "answer"
        assert "ice-lite" in answer["sdp"]
        listed = await alice.notice("peer-list")
        assert listed["peers"] == {}
        assert listed["room"]["recording"]["sfu"]["state"] == "started"
        await bob.join("Bob")
        assert set((await bob.notice("peer-list"))["peers"]) == {alice.peer_id}
        joined = await alice.notice("on-peer-join")
        assert (joined["peer_id"], joined["info"]["name"], joined["realtime"]) == (bob.peer_id, "Bob", True)


async def test_everybody_is_told_how_many_are_here(live: LiveServer) -> None:
    room = await live.make_room()
    async with client(live.url, live.token(room, "alice")) as alice, client(live.url, live.token(room, "bob")) as bob:
        await alice.join()
        await bob.join()
        await alice.notice("session-info", lambda info: info["peer_count"] == 2)
        await bob.leave()
        await until(lambda: _counts(alice) == [1, 2, 1])


async def test_tracks_are_told_when_they_come_change_and_go(live: LiveServer) -> None:
    room = await live.make_room()
    async with client(live.url, live.token(room, "alice")) as alice, client(live.url, live.token(room, "bob")) as bob:
        await alice.join()
        await bob.join()
        mic = await bob.publish("audio")
        added = await alice.notice("on-track-add")
        assert added["peer"]["peer_id"] == bob.peer_id
        assert added["tracks"][mic]["type"] == "audio"
        bob.tracks[mic]["mute"] = True
        await bob.tell("track-update", tracks=bob.tracks)
        assert (await alice.notice("on-track-update"))["tracks"][mic]["mute"] is True
        await bob.unpublish(mic)
        removed = await alice.notice("on-track-remove")
        assert (list(removed["tracks"]), removed["peer"]["peer_id"]) == ([mic], bob.peer_id)


async def test_who_comes_later_sees_the_tracks_that_are_there(live: LiveServer) -> None:
    room = await live.make_room()
    async with client(live.url, live.token(room, "alice")) as alice, client(live.url, live.token(room, "bob")) as bob:
        await alice.join()
        camera = await alice.publish("video")
        await bob.join()
        peers = (await bob.notice("peer-list"))["peers"]
        assert list(peers[alice.peer_id]["tracks"]) == [camera]
        # Bob's first offer of the server comes after his join's reply, and carries Alice's ids.
        offer = await bob.notice("offer")
        assert offer["type"] == "offer"


async def test_a_leave_is_told_and_the_last_one_closes_the_session(live: LiveServer) -> None:
    room = await live.make_room()
    async with client(live.url, live.token(room, "alice")) as alice, client(live.url, live.token(room, "bob")) as bob:
        await alice.join()
        await bob.join()
        await bob.leave()
        assert (await alice.notice("on-peer-leave"))["peer_id"] == bob.peer_id
        assert live.rooms.live_room(room.id) is not None
        await alice.leave()
    await live.emptied(room)
    assert live.events.names() == ["SessionOpened", "PeerJoined", "PeerJoined", "PeerLeft", "PeerLeft", "SessionClosed"]


async def test_a_preview_is_no_participant(live: LiveServer) -> None:
    room = await live.make_room()
    async with client(live.url, live.token(room, "alice")) as alice:
        state = await alice.notice("room-state")
        assert state["peer_count"] == 0
        await alice.tell("track-update", tracks={})
        await alice.leave()
    assert live.events.names() == []


async def test_a_preview_sees_who_is_there_and_that_it_will_be_recorded(live: LiveServer) -> None:
    room = await live.make_room()
    async with client(live.url, live.token(room, "alice")) as alice, client(live.url, live.token(room, "bob")) as bob:
        await alice.join("Alice")
        async with client(live.url, live.token(room, "carol")) as carol:
            state = await carol.notice("room-state")
            assert state["peers"][alice.peer_id]["info"]["name"] == "Alice"
            assert state["room"]["recording"]["sfu"]["state"] == "started"
        assert bob.heard("on-peer-join") == []


async def test_joining_again_with_the_same_socket_keeps_the_seat(live: LiveServer) -> None:
    room = await live.make_room()
    async with client(live.url, live.token(room, "alice")) as alice:
        await alice.join()
        await alice.join()
        assert live.events.names() == ["SessionOpened", "PeerJoined"]


async def test_a_disabled_room_lets_nobody_in_and_its_session_go_on(live: LiveServer) -> None:
    room = await live.make_room()
    async with client(live.url, live.token(room, "alice")) as alice:
        await alice.join()
        await alice.request("end-room", lock=True, reason="over")
        assert (await alice.notice("on-peer-leave-request"))["room_end"] is True
    late = Client(live.url, live.token(room, "bob"))
    assert (await late.init()).status_code == 403
    await live.emptied(room)


async def test_a_viewer_joins_and_may_not_publish(live: LiveServer) -> None:
    room = await live.make_room()
    async with client(live.url, live.token(room, "eve", "viewer")) as eve:
        await eve.join()
        for kind, source in (("audio", "regular"), ("video", "regular"), ("video", "screen")):
            with pytest.raises(Refused, match="403") as refused:
                await eve.publish(kind, source)
            assert "may not publish" in refused.value.message
    assert live.jobs.enqueued == []


async def test_nobody_may_publish_under_another_peers_track_id(live: LiveServer) -> None:
    room = await live.make_room()
    async with client(live.url, live.token(room, "alice")) as alice, client(live.url, live.token(room, "bob")) as bob:
        await alice.join()
        await bob.join()
        mic = await alice.publish("audio")
        bob.tracks = {mic: alice.tracks[mic]}
        with pytest.raises(Refused, match="409"):
            await bob.offer()


@pytest.mark.parametrize("track_id", ["has space", "line\r\na=evil", "", "x" * 200])
async def test_a_track_id_that_would_break_an_sdp_is_refused(live: LiveServer, track_id: str) -> None:
    room = await live.make_room()
    async with client(live.url, live.token(room, "alice")) as alice:
        await alice.join()
        alice.tracks = {
            "x": {"track_id": track_id, "stream_id": "s", "type": "audio", "source": "regular", "mute": False}
        }
        with pytest.raises(Refused, match="400"):
            await alice.offer()


def _counts(client: Client) -> list[int]:
    return [notice["params"]["peer_count"] for notice in client.notices if notice["method"] == "session-info"]
