"""docs/guide/webhooks.md has a heading for every event, names every field and header, and gives the waits between tries as they are."""

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from isotape.events import TYPES
from isotape.ids import EventId, JobId, PeerId, RoomId, SessionId, TemplateId, WorkspaceId
from isotape.model import AssetState, Peer, PeerState, Room, Session, SessionState, StreamRecording
from isotape.rooms.live import LeaveReason
from isotape.webhooks.deliver import RETRY_S
from isotape.webhooks.signature import Signer
from isotape.wire import webhook
from tests.kit.outside import START, an_asset

TEXT = (Path(__file__).parents[3] / "docs/guide/webhooks.md").read_text()
SECTIONS = dict(re.findall(r"^## `([^`]+)`\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))

ROOM = Room(
    RoomId("r"),
    WorkspaceId("w"),
    TemplateId("t"),
    "blue",
    "",
    enabled=True,
    options={},
    created_at=START,
    updated_at=START,
)
SESSION = Session(
    SessionId("s"),
    ROOM.workspace_id,
    ROOM.id,
    ROOM.template_id,
    JobId("j"),
    SessionState.OPEN,
    StreamRecording(),
    START,
)
PEER = Peer(PeerId("p"), SESSION.id, "u", "alice", "host", "", PeerState.JOINED, START)

SUCCESS = webhook.stream_recording_success(an_asset(SESSION), "url")
OPEN = webhook.session_open(ROOM, SESSION)
JOIN = webhook.peer_join(ROOM, SESSION, PEER)
# What each section must name: its fields, less those of the section that it refers to.
FIELDS: Mapping[str, set[str]] = {
    webhook.STREAM_RECORDING_SUCCESS: set(SUCCESS),
    webhook.STREAM_RECORDING_FAILURE: set(webhook.stream_recording_failure(an_asset(SESSION, AssetState.FAILED)))
    - set(SUCCESS),
    webhook.SESSION_OPEN: set(OPEN),
    webhook.SESSION_CLOSE: set(webhook.session_close(ROOM, SESSION)) - set(OPEN),
    webhook.PEER_JOIN: set(JOIN) - set(OPEN),
    webhook.PEER_LEAVE: set(webhook.peer_leave(ROOM, SESSION, PEER, "")) - set(JOIN),
}


def test_the_guide_has_exactly_the_events_of_the_code() -> None:
    assert set(SECTIONS) == set(TYPES.values()) == set(FIELDS)


@pytest.mark.parametrize("event", FIELDS)
def test_a_section_names_every_field_of_its_event(event: str) -> None:
    assert {field for field in FIELDS[event] if f"`{field}`" not in SECTIONS[event]} == set()


def test_the_guide_names_every_part_of_the_envelope_and_every_header() -> None:
    envelope = webhook.Envelope(EventId("e"), "w", "a", "t", "x", START).around({})
    headers = Signer("secret").headers("e", START, b"{}")
    assert {name for name in (*envelope, *headers) if f"`{name}`" not in TEXT} == set()


def test_the_guide_gives_every_reason_to_leave() -> None:
    assert {reason.value for reason in LeaveReason if f"`{reason.value}`" not in TEXT} == set()


def test_the_guide_gives_the_waits_between_tries() -> None:
    paragraph = " ".join(TEXT[TEXT.index("**At least once.**") : TEXT.index("Tries survive")].split())
    said = paragraph[paragraph.index("follow ") :]
    waits: list[int] = []
    for amounts, unit in re.findall(r"((?:\d+(?:, | and )?)+) (s|min|h)\b", said):
        waits += [
            int(timedelta(**{_UNITS[unit]: int(amount)}).total_seconds()) for amount in re.findall(r"\d+", amounts)
        ]
    assert tuple(waits) == RETRY_S


_UNITS = {"s": "seconds", "min": "minutes", "h": "hours"}
