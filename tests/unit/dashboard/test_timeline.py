"""The picture of a session: bars where things happened, at any length of session."""

from datetime import UTC, datetime, timedelta

import pytest

from isotape.dashboard.sidecar import StatedGap
from isotape.dashboard.timeline import Span, as_received, draw
from isotape.ids import AssetId, JobId, JournalId, PeerId, RoomId, SessionId, StreamId, TrackId, WorkspaceId
from isotape.model import Asset, AssetKind, AssetState, Journal, JournalState, MediaKind, Peer, PeerState, Track

START = datetime(2026, 11, 24, 12, tzinfo=UTC)
SESSION = SessionId("s")


def _at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def _peer(until: datetime | None = None) -> Peer:
    return Peer(PeerId("p"), SESSION, "u", "Ada", "host", "", PeerState.LEFT, START, until)


def _journal(kind: MediaKind, source: str, since: float, until: float | None) -> Journal:
    track = Track(TrackId("t"), StreamId("st"), kind, source)
    sealed = None if until is None else _at(until)
    return Journal(
        JournalId("j"), SESSION, PeerId("p"), AssetId("a"), track, "f", JournalState.SEALED, _at(since), sealed
    )


def test_a_bar_stands_where_the_track_was_sent() -> None:
    journals = [_journal(MediaKind.VIDEO, "screen", 25, 50), _journal(MediaKind.AUDIO, "regular", 0, 100)]
    lane = draw(Span(START, _at(100)), [_peer(_at(100))], journals, {}).lanes[0]
    assert [row.label for row in lane.rows] == ["mic", "screen"]
    bar = lane.rows[1].bars[0]
    assert (bar.left, bar.width, bar.look) == (25.0, 25.0, "screen")


def test_a_track_that_is_still_sent_reaches_the_present() -> None:
    lane = draw(Span(START, _at(10)), [_peer()], [_journal(MediaKind.VIDEO, "regular", 5, None)], {}).lanes[0]
    assert (lane.rows[0].bars[0].left, lane.rows[0].bars[0].width) == (50.0, 50.0)
    assert lane.present.width == 100.0


def test_a_reconnect_is_two_bars_of_one_row_and_a_gap_is_drawn_on_its_kind_only() -> None:
    journals = [_journal(MediaKind.VIDEO, "regular", 0, 40), _journal(MediaKind.VIDEO, "regular", 60, 100)]
    journals.append(_journal(MediaKind.AUDIO, "regular", 0, 100))
    gap = StatedGap("video", "restart", 40_000, 20_000, _at(40), _at(60))
    camera, mic = draw(Span(START, _at(100)), [_peer(_at(100))], journals, {"a": [gap]}).lanes[0].rows
    assert [bar.look for bar in camera.bars] == ["camera", "camera", "gap"]
    assert camera.bars[2].title == "video: restart, 20.000 s"
    assert [bar.look for bar in mic.bars] == ["mic"]


def test_a_source_that_a_client_made_up_has_its_own_row() -> None:
    lane = draw(Span(START, _at(10)), [_peer()], [_journal(MediaKind.VIDEO, "whiteboard", 0, 5)], {}).lanes[0]
    assert (lane.rows[0].label, lane.rows[0].bars[0].look) == ("whiteboard video", "other")


@pytest.mark.parametrize("seconds", [0, 1, 9, 61, 2520, 4 * 3600, 30 * 3600])
def test_the_axis_has_a_few_round_marks_at_any_length(seconds: int) -> None:
    marks = draw(Span(START, _at(seconds)), [], [], {}).marks
    assert 1 <= len(marks) <= 5
    assert marks[0].at_ms == 0
    assert all(0 <= mark.left <= 100 for mark in marks)


def test_a_peer_that_vanished_is_drawn_to_the_end_of_its_file_not_of_its_grace() -> None:
    asset = Asset(
        id=AssetId("a"),
        workspace_id=WorkspaceId("w"),
        room_id=RoomId("r"),
        session_id=SESSION,
        job_id=JobId("b"),
        peer_id=PeerId("p"),
        user_id="u",
        stream_id=StreamId("st"),
        kind=AssetKind.REGULAR,
        state=AssetState.COMPLETED,
        created_at=START,
        duration_ms=17_000,
        metadata={"started_at": "2026-11-24T12:00:01Z"},
    )
    (cut,) = as_received([_journal(MediaKind.VIDEO, "regular", 1, 91)], [asset])
    assert cut.sealed_at == _at(18)
    unfinished = as_received([_journal(MediaKind.VIDEO, "regular", 1, 91)], [])
    assert unfinished[0].sealed_at == _at(91)
