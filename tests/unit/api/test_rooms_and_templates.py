"""Templates, rooms and room codes: what 100ms clients create and change, with its quirks."""

import pytest

from isotape.db import templates
from isotape.ids import WorkspaceId
from isotape.recording import policy_of
from tests.kit.outside import CREDENTIALS, STRANGER, Outside, add_room

pytestmark = pytest.mark.anyio

FORBIDDEN = {"code": 403, "message": "user does not have required permission"}


async def _template_id(node: Outside, name: str = "lesson") -> str:
    answer = await node.http.post("/templates", json={"name": name, "roles": {"teacher": {}, "student": {}}})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


# -- templates ----------------------------------------------------------------------------------------------------------------------------


async def test_an_empty_role_is_given_every_default(node: Outside) -> None:
    template = (await node.http.get(f"/templates/{await _template_id(node)}")).json()
    teacher = template["roles"]["teacher"]
    assert teacher["publishParams"]["allowed"] == ["audio", "video", "screen"]
    assert teacher["subscribeParams"]["subscribeToRoles"] == ["teacher", "student"]
    assert template["_id"] == template["id"]
    assert template["customer"] == template["customerId"] == CREDENTIALS.workspace_id


async def test_a_template_of_the_same_name_is_overwritten_and_keeps_its_recording(node: Outside) -> None:
    first = await _template_id(node)
    config = {"name": "r", "role": "teacher", "streamRecording": {"enabled": True}}
    await node.http.post(f"/templates/{first}/recordings", json=[config])
    again = (await node.http.post("/templates", json={"name": "lesson", "roles": {"teacher": {"priority": 2}}})).json()
    assert (again["id"], list(again["roles"]), again["roles"]["teacher"]["priority"]) == (first, ["teacher"], 2)
    assert (await node.http.get(f"/templates/{first}/recordings")).json()[0]["streamRecording"] == {"enabled": True}


async def test_an_update_replaces_the_roles(node: Outside) -> None:
    template_id = await _template_id(node)
    changed = (
        await node.http.post(f"/templates/{template_id}", json={"name": "seminar", "roles": {"speaker": {}}})
    ).json()
    assert (changed["name"], list(changed["roles"])) == ("seminar", ["speaker"])
    taken = await node.http.post(f"/templates/{template_id}", json={"name": "default"})
    assert taken.status_code == 409


async def test_stream_recording_is_switched_on_and_off_by_its_own_call(node: Outside) -> None:
    """A disabled one is an object without `enabled`, as 100ms answers; what the sessions read is the same."""
    template_id = await _template_id(node)
    config = {
        "name": "default",
        "role": "teacher",
        "maxDuration": 1800,
        "presignDuration": 3600,
        "thumbnails": {"enabled": False, "width": 1280, "height": 720, "offsets": [2], "fps": 60},
        "compositeRecording": {
            "browserComposite": {"autoStart": False, "autoStopTimeout": 500, "width": 1920, "height": 1080},
            "customComposite": {"enabled": False},
        },
        "trackRecording": {"enabled": False},
        "streamRecording": {"enabled": False, "width": 1920, "height": 1080},
    }
    answer = (await node.http.post(f"/templates/{template_id}/recordings", json=[config])).json()
    assert answer == (await node.http.get(f"/templates/{template_id}/recordings")).json()
    assert answer[0]["streamRecording"] == {"width": 1920, "height": 1080}
    assert (answer[0]["trackRecording"], answer[0]["compositeRecording"]["customComposite"]) == ({}, {})
    assert "enabled" not in answer[0]["thumbnails"]

    config["streamRecording"] = {"enabled": True, "width": 1920, "height": 1080}
    await node.http.post(f"/templates/{template_id}/recordings", json=[config])
    async with node.database.connect() as tx:
        policy = policy_of(await templates.get(tx, WorkspaceId(CREDENTIALS.workspace_id), template_id))
    assert (policy.enabled, policy.width, policy.max_duration_s, policy.presign_duration_s) == (True, 1920, 1800, 3600)


@pytest.mark.parametrize(
    ("configs", "complaint"),
    [
        ([{"name": "a", "role": "teacher"}, {"name": "b", "role": "teacher"}], "only one recordingConfig"),
        ([{"role": "teacher"}], "name is required"),
        ([{"name": "a", "role": "nobody"}], "role nobody is not a role"),
        ([{"name": "a", "role": "teacher", "maxDuration": -1}], "maxDuration"),
        ([{"name": "a", "role": "teacher", "streamRecording": {"enabled": "yes"}}], "streamRecording.enabled"),
        (
            [{"name": "a", "role": "teacher", "streamRecording": {"enabled": True, "width": "wide"}}],
            "streamRecording.width",
        ),
        (
            [{"name": "a", "role": "teacher", "trackRecording": {"enabled": True}}],
            "trackRecording.enabled is not available",
        ),
        ({"name": "a", "role": "teacher"}, "invalid input"),
        (["a"], "invalid input"),
    ],
)
async def test_a_recording_configuration_that_means_nothing_is_refused_whole(
    node: Outside, configs: object, complaint: str
) -> None:
    template_id = await _template_id(node)
    answer = await node.http.post(f"/templates/{template_id}/recordings", json=configs)
    assert answer.status_code == 400
    assert complaint in answer.json()["message"]
    assert (await node.http.get(f"/templates/{template_id}/recordings")).json() == []


async def test_a_role_is_made_renamed_and_deleted(node: Outside) -> None:
    path = f"/templates/{await _template_id(node)}/roles"
    made = (await node.http.post(f"{path}/guest", json={"publishParams": {"allowed": ["audio"]}})).json()
    assert (made["name"], made["publishParams"]["allowed"]) == ("guest", ["audio"])
    assert (await node.http.post(f"{path}/guest", json={"name": "listener"})).json()["name"] == "listener"
    assert (await node.http.get(f"{path}/guest")).status_code == 404
    assert (await node.http.post(f"{path}/listener", json={"name": "teacher"})).status_code == 400
    assert [(await node.http.delete(f"{path}/listener")).status_code for _ in range(2)] == [204, 404]


@pytest.mark.parametrize(
    ("said", "allowed"),
    [
        ({"allowed": [], "audio": {"bitRate": 32}}, []),
        ({"allowed": []}, []),
        ({"audio": {"bitRate": 32}}, ["audio"]),
        ({}, ["audio", "video", "screen"]),
    ],
)
async def test_a_role_may_publish_what_its_body_says(node: Outside, said: object, allowed: list[str]) -> None:
    path = f"/templates/{await _template_id(node)}/roles/viewer"
    made = (await node.http.post(path, json={"publishParams": said})).json()
    assert made["publishParams"]["allowed"] == allowed
    # What was read and is written again means the same.
    assert (await node.http.post(path, json=made)).json()["publishParams"]["allowed"] == allowed


@pytest.mark.parametrize(
    "body",
    [
        {"name": "a/b"},
        {"name": 7},
        {"roles": ["host"]},
        {"roles": {"host": {"publishParams": {"audio": {"bitRate": "x"}}}}},
    ],
)
async def test_a_malformed_template_is_refused(node: Outside, body: object) -> None:
    assert (await node.http.post("/templates", json=body)).status_code == 400


async def test_a_strangers_template_is_not_found(node: Outside) -> None:
    async with node.database.connect() as tx:
        foreign = await templates.find_named(tx, WorkspaceId(STRANGER.workspace_id), "default")
    assert foreign is not None
    for method, path in (
        ("GET", ""),
        ("POST", ""),
        ("GET", "/recordings"),
        ("GET", "/roles/host"),
        ("DELETE", "/roles/host"),
    ):
        answer = await node.http.request(
            method, f"/templates/{foreign.id}{path}", json={} if method == "POST" else None
        )
        assert (answer.status_code, answer.json()["message"]) == (404, "template not found")
    assert (await node.http.post("/rooms", json={"template_id": foreign.id})).json()[
        "message"
    ] == "Error: template not found"


async def test_nobodys_bucket_keys_are_kept(node: Outside) -> None:
    upload = {"type": "s3", "location": "b", "credentials": {"key": "AKIA", "secretKey": "very secret"}}
    template = await node.http.post("/templates", json={"name": "s", "settings": {"recording": {"upload": upload}}})
    room = await node.http.post("/rooms", json={"name": "s", "recording_info": {"upload_info": upload}})
    assert template.json()["settings"]["recording"]["upload"] == {"type": "s3", "location": "b"}
    assert room.json()["recording_info"]["upload_info"] == {"type": "s3", "location": "b"}


# -- rooms --------------------------------------------------------------------------------------------------------------------------------


async def test_a_room_takes_the_default_template_and_a_name_of_its_own(node: Outside) -> None:
    room = (await node.http.post("/rooms", json={})).json()
    assert (room["template"], room["enabled"], len(room["name"])) == ("default", True, 36)
    assert (room["customer_id"], room["app_id"]) == (CREDENTIALS.workspace_id, CREDENTIALS.app_id)
    assert (await node.http.get(f"/rooms/{room['id']}")).json() == room


async def test_creating_a_room_again_changes_the_room_that_is_there(node: Outside) -> None:
    first = (await node.http.post("/rooms", json={"name": "Blue", "description": "one", "size": 10})).json()
    again = (await node.http.post("/rooms", json={"name": "blue", "description": "two"})).json()
    assert (again["id"], again["description"], again["size"]) == (first["id"], "two", 10)
    assert len((await node.http.get("/rooms")).json()["data"]) == 1


async def test_a_room_is_found_by_name_template_state_and_time(node: Outside) -> None:
    template_id = await _template_id(node)
    blue = (await node.http.post("/rooms", json={"name": "blue", "template_id": template_id})).json()
    red = (await node.http.post("/rooms", json={"name": "red"})).json()
    await node.http.post(f"/rooms/{red['id']}", json={"enabled": False})
    for query, expected in (
        ("name=BLUE", [blue]),
        (f"template_id={template_id}", [blue]),
        ("enabled=false", [red]),
        ("after=2024-02-29T04:51:16.041Z", [red, blue]),
        ("before=2024-02-29T04:51:16.040Z", []),
        ("limit=1", [red]),
        (f"start={red['id']}", [blue]),
    ):
        answer = (await node.http.get(f"/rooms?{query}")).json()
        assert [room["id"] for room in answer["data"]] == [room["id"] for room in expected], query


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"template": "default"}, "Invalid body param: template. Use template_id"),
        ({"template_id": "65f000000000000000000001"}, "Error: template not found"),
        ({"max_duration_seconds": 119}, "Invalid body param: max_duration_seconds less than 120 seconds"),
        ({"max_duration_seconds": 43_201}, "Invalid body param: max_duration_seconds greater than 43200 seconds"),
        ({"name": "a/b"}, "Invalid body param: name takes letters, digits, and . - : _"),
        ({"size": -1}, "invalid input"),
        ([], "invalid input"),
    ],
)
async def test_a_room_that_cannot_be_is_refused_in_100ms_words(node: Outside, body: object, message: str) -> None:
    answer = await node.http.post("/rooms", json=body)
    assert (answer.status_code, answer.json()["message"]) == (400, message)


async def test_a_strangers_room_and_no_room_look_the_same(node: Outside) -> None:
    async with node.database.begin() as tx:
        foreign = await add_room(tx, workspace=STRANGER.workspace_id)
    for room_id in (foreign.id, "65f000000000000000000001"):
        for method, path in (
            ("GET", f"/rooms/{room_id}"),
            ("POST", f"/rooms/{room_id}"),
            ("POST", f"/recordings/room/{room_id}/start"),
            ("POST", f"/recordings/room/{room_id}/stop"),
            ("GET", f"/active-rooms/{room_id}"),
            ("GET", f"/active-rooms/{room_id}/peers"),
        ):
            answer = await node.http.request(method, path, json={} if method == "POST" else None)
            assert (answer.status_code, answer.json()) == (403, FORBIDDEN), path
        for method in ("GET", "POST"):
            codes = await node.http.request(method, f"/room-codes/room/{room_id}")
            assert (codes.status_code, codes.json()["message"]) == (404, "room not found")


# -- room codes ---------------------------------------------------------------------------------------------------------------------------


async def test_every_role_has_one_code_that_stays(node: Outside) -> None:
    room = (await node.http.post("/rooms", json={})).json()
    made = (await node.http.post(f"/room-codes/room/{room['id']}")).json()["data"]
    assert [code["role"] for code in made] == ["host", "guest"]
    assert all(len(code["code"]) == 12 and code["enabled"] for code in made)
    one = (await node.http.post(f"/room-codes/room/{room['id']}/role/host")).json()
    listed = (await node.http.get(f"/room-codes/room/{room['id']}")).json()
    assert one == made[0]
    assert {code["code"] for code in listed["data"]} == {code["code"] for code in made}
    assert listed["last"] == ""


async def test_a_code_is_closed_and_opened(node: Outside) -> None:
    room = (await node.http.post("/rooms", json={})).json()
    code = (await node.http.post(f"/room-codes/room/{room['id']}/role/guest")).json()["code"]
    closed = (await node.http.post("/room-codes/code", json={"code": code, "enabled": False})).json()
    assert (closed["code"], closed["enabled"]) == (code, False)
    still_open = (await node.http.get(f"/room-codes/room/{room['id']}?enabled=true")).json()["data"]
    assert still_open == []
    assert (await node.http.post("/room-codes/code", json={"code": "aaa-bbbb-ccc", "enabled": True})).status_code == 404


async def test_codes_need_a_known_role_and_an_open_room(node: Outside) -> None:
    room = (await node.http.post("/rooms", json={})).json()
    assert (await node.http.post(f"/room-codes/room/{room['id']}/role/nobody")).json()["message"] == "role not found"
    await node.http.post(f"/rooms/{room['id']}", json={"enabled": False})
    answer = await node.http.post(f"/room-codes/room/{room['id']}")
    assert (answer.status_code, answer.json()["message"]) == (403, "room is disabled")
