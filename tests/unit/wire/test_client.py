"""What clients are sent: the parts that an SDK breaks on when they are missing."""

from typing import Any

import pytest

from isotape.ids import PeerId, SessionId, TemplateId, WorkspaceId
from isotape.model import Peer, PeerState, Template
from isotape.wire import client as wire
from tests.kit.moments import NOON


def policy(roles: dict[str, Any], role: str = "host", picture: tuple[int, int] | None = None) -> dict[str, Any]:
    template = Template(TemplateId("t"), WorkspaceId("w"), "name", roles, {}, {}, {}, (), NOON, NOON)
    return wire.policy(template, role, picture)


def test_every_allowed_kind_has_its_object_whatever_the_template_left_out() -> None:
    sent = policy({"host": {"publishParams": {"allowed": ["audio", "video", "screen"], "video": {"bitRate": 900}}}})
    params = sent["known_roles"]["host"]["publishParams"]
    assert params["audio"]["codec"] == "opus"
    assert (params["video"]["bitRate"], params["video"]["width"]) == (900, 320)
    # A screen without bitRate is sent uncapped.
    assert "bitRate" not in params["screen"]


def test_an_empty_role_is_complete_and_may_publish_nothing() -> None:
    role = policy({"host": {}})["known_roles"]["host"]
    assert role["publishParams"] == {"allowed": []}
    assert role["subscribeParams"]["subscribeToRoles"] == []
    assert not any(role["permissions"].values())


def test_a_recorded_session_asks_publishers_for_its_picture_size() -> None:
    roles = {"host": {"publishParams": {"allowed": ["video"], "video": {"width": 320, "height": 180}}}}
    video = policy(roles, picture=(1280, 720))["known_roles"]["host"]["publishParams"]["video"]
    assert (video["width"], video["height"]) == (1280, 720)


@pytest.mark.parametrize(
    "permission", ["browserRecording", "rtmpStreaming", "hlsStreaming", "changeRole", "pollRead", "pollWrite"]
)
def test_no_template_promises_a_client_what_the_server_refuses(permission: str) -> None:
    sent = policy({"host": {"permissions": {permission: True, "mute": True}}})
    assert sent["known_roles"]["host"]["permissions"][permission] is False
    assert sent["known_roles"]["host"]["permissions"]["mute"] is True


def test_the_policy_knows_every_role_that_a_peer_may_have() -> None:
    assert set(policy({"host": {}, "guest": {}, "__internal_recorder": {}})["known_roles"]) == {
        "host",
        "guest",
        "__internal_recorder",
    }


def test_a_peer_is_always_marked_realtime_or_an_update_would_remove_it() -> None:
    peer = Peer(PeerId("p"), SessionId("s"), "u", "Name", "host", "", PeerState.JOINED, NOON)
    entry = wire.peer_entry(wire.Present(peer, {"b", "a"}))
    assert entry["realtime"] is True
    assert entry["groups"] == ["a", "b"]
    assert entry["tracks"] == {}


def test_the_loudest_speaker_comes_first() -> None:
    told = wire.speakers([("quiet", "t1", 5), ("loud", "t2", 80)])
    assert [one["peer_id"] for one in told["speaker-list"]] == ["loud", "quiet"]


def test_a_failed_recording_says_so_with_an_error() -> None:
    update = wire.recording_update(wire.RecordingMark("failed", NOON))
    assert (update["type"], update["state"], update["error"]["code"]) == ("sfu", "failed", 500)
