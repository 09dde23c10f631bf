"""What a viewer sees and hears in the finished file is what the peer sent, at its time; measured in the decoded file."""

import struct
from pathlib import Path

import pytest

from isotape.model import AssetKind
from tests.kit.journal_writer import GAP
from tests.kit.made_file import MadeFile, make
from tests.kit.recorded_call import FPS, Network, audio, beeping, beeps, flashing, listen, record, video

# Sync from sender reports is within 5 ms; a late or muted track's place within 100 ms is what the guarantees promise.
SYNC_MS = 5.0


def sync_is_right(made: MadeFile, flashes: int) -> None:
    assert len(made.offsets_ms) == flashes
    assert max(map(abs, made.offsets_ms)) <= SYNC_MS


@pytest.mark.parametrize("codec", ["H264", "VP8", "VP9", "AV1"])
def test_flash_and_beep_come_together_whatever_the_network_does(tmp_path: Path, codec: str) -> None:
    sound = record(tmp_path / "a", audio(0, 9), Network(delay_s=0.02, jitter_s=0.005))
    picture = record(tmp_path / "v", video(codec, 0, 9), Network(delay_s=0.09, jitter_s=0.12, seed=7))
    made = make(tmp_path, sound, picture)
    sync_is_right(made, flashes=4)
    assert made.plan.container == ("webm" if codec == "VP8" else "mp4")
    assert abs(made.rendered.duration_ms - 9_000) <= 100
    assert made.track("video")["frames"]["real"] == 9 * FPS
    assert made.track("audio")["gaps"] == made.track("video")["gaps"] == []


def test_reports_that_jitter_by_ten_ms_do_not_move_sound_from_picture(tmp_path: Path) -> None:
    sound = record(tmp_path / "a", audio(0, 31, report_noise_s=0.010))
    picture = record(tmp_path / "v", video("H264", 0, 31, report_noise_s=0.002), Network(seed=5))
    sync_is_right(make(tmp_path, sound, picture), flashes=15)


def test_the_few_reports_of_a_short_call_are_enough(tmp_path: Path) -> None:
    sound = record(tmp_path / "a", audio(0, 15, report_noise_s=0.010))
    picture = record(tmp_path / "v", video("H264", 0, 15), Network(seed=5))
    sync_is_right(make(tmp_path, sound, picture), flashes=7)


def test_an_audio_clock_that_runs_wrong_keeps_its_picture(tmp_path: Path) -> None:
    sound = record(tmp_path / "a", audio(0, 61, ppm=300, report_noise_s=0.003))
    picture = record(tmp_path / "v", video("H264", 0, 61), Network(seed=5))
    made = make(tmp_path, sound, picture)
    # The peer's sound card counts 300 samples too many in a million: the beep of its 60 s was made 18 ms before the flash of true 60 s.
    # No sample is moved, so each flash stands as far behind its beep as it was made behind it.
    true_ms = [-300e-6 * flash * 1000 for flash in made.shown.flashes]
    errors = [offset - true for offset, true in zip(made.offsets_ms, true_ms, strict=True)]
    assert len(errors) == 30
    assert max(map(abs, errors)) <= SYNC_MS


@pytest.mark.parametrize("report_every_s", [0, 5])
def test_sound_that_stood_still_keeps_its_pictures_and_the_stillness_is_a_gap(
    tmp_path: Path, report_every_s: float
) -> None:
    sound = record(tmp_path / "a", audio(0, 11, stall=(5.0, 0.3), report_every_s=report_every_s, report_noise_s=0.008))
    picture = record(tmp_path / "v", video("H264", 0, 11.3), Network(seed=5))
    made = make(tmp_path, sound, picture)
    # The beeps of 2 and 4 s were made before the stall and those of 6, 8 and 10 s of the sound's time 300 ms after their flashes.
    assert made.offsets_ms[:2] == pytest.approx([0, 0], abs=SYNC_MS)
    assert made.offsets_ms[2:] == pytest.approx([300] * 3, abs=3 * SYNC_MS)
    [gap] = made.gaps("audio", "paused")
    assert gap["from_ms"] == pytest.approx(5_000, abs=60)
    assert gap["to_ms"] - gap["from_ms"] == pytest.approx(300, abs=20)
    assert "stood still" in gap["note"]


def test_without_any_sender_report_the_arrivals_hold_sound_and_picture_together(tmp_path: Path) -> None:
    sound = record(tmp_path / "a", audio(0, 9, report_every_s=0))
    picture = record(tmp_path / "v", video("H264", 0, 9, report_every_s=0), Network(seed=3))
    made = make(tmp_path, sound, picture)
    assert max(map(abs, made.offsets_ms)) <= SYNC_MS
    assert made.track("video")["clock"][0]["sender_reports"] == 0


def test_ten_seconds_without_sound_are_filled_so_that_readers_without_timestamps_hear_it_on_time(
    tmp_path: Path,
) -> None:
    made = make(
        tmp_path, record(tmp_path / "a", audio(0, 21, without=(5, 15))), record(tmp_path / "v", video("H264", 0, 21))
    )
    wave, _ = listen(made.path)
    # 6.5 ms of priming are cut by the reader; the beeps of 6..14 s were never sent.
    assert [round(beep, 2) for beep in beeps(wave)] == [2.0, 4.0, 16.0, 18.0, 20.0]
    sync_is_right(made, flashes=5)
    assert abs(made.rendered.duration_ms - 21_000) <= 100
    [pause] = made.gaps("audio", "paused")
    assert (pause["from_ms"], pause["to_ms"], pause["packets"]) == (5_000, 15_000, 0)
    [filler] = made.fillers("audio", "paused")
    assert filler["packets"] == 500


def test_a_mute_is_a_stated_gap_and_takes_nothing_away(tmp_path: Path) -> None:
    mutes = [(3.0, True), (7.0, False)]
    sound = record(tmp_path / "a", audio(0, 11, mutes=mutes))
    picture = record(tmp_path / "v", video("H264", 0, 11, mutes=mutes))
    made = make(tmp_path, sound, picture)
    for kind in ("audio", "video"):
        [gap] = made.gaps(kind, "muted")
        assert abs(gap["from_ms"] - 3_000) < 100
        assert abs(gap["to_ms"] - 7_000) < 100
    assert made.track("video")["frames"]["real"] == 11 * FPS
    assert made.plan.kind is AssetKind.REGULAR


@pytest.mark.parametrize(("unmuted_s", "pauses"), [(7.0, 0), (4.0, 1)])
def test_a_muted_camera_that_sends_nothing_is_muted_and_not_paused_besides(
    tmp_path: Path, unmuted_s: float, pauses: int
) -> None:
    source = video("H264", 0, 9, mutes=[(3.0, True), (unmuted_s, False)])
    source.sent = [piece for piece in source.sent if not 3 <= piece.at_s < 7]
    made = make(tmp_path, record(tmp_path / "a", audio(0, 9)), record(tmp_path / "v", source))
    assert len(made.gaps("video", "muted")) == 1
    assert len(made.gaps("video", "paused")) == pauses


@pytest.mark.parametrize("codec", ["H264", "VP8", "VP9", "AV1"])
def test_a_camera_that_comes_five_seconds_late_is_black_until_then(tmp_path: Path, codec: str) -> None:
    made = make(tmp_path, record(tmp_path / "a", audio(0, 11)), record(tmp_path / "v", video(codec, 5, 6)))
    sync_is_right(made, flashes=3)
    assert len(made.shown.beeps) == 5
    [black] = made.fillers("video", "placeholder")
    assert abs(black["duration_ms"] - 5_000) < SYNC_MS
    assert made.track("video")["frames"]["real"] == 6 * FPS
    first, second = made.shown.pictures[:2]
    assert first.time_s == 0
    assert first.brightness < 20
    assert abs(second.time_s - 5.0) * 1000 < SYNC_MS


def test_a_microphone_that_comes_late_is_silent_until_then(tmp_path: Path) -> None:
    made = make(tmp_path, record(tmp_path / "a", audio(3, 8)), record(tmp_path / "v", video("VP9", 0, 11)))
    wave, _ = listen(made.path)
    assert [round(beep, 2) for beep in beeps(wave)] == [4.0, 6.0, 8.0, 10.0]
    sync_is_right(made, flashes=4)
    [silence] = made.fillers("audio", "late_start")
    assert abs(silence["duration_ms"] - 3_000) < SYNC_MS
    assert made.track("audio")["gaps"] == []


def test_a_camera_that_was_never_on_makes_an_audio_asset(tmp_path: Path) -> None:
    black = video("H264", 0, 6, mutes=[(-0.1, True)])
    made = make(tmp_path, record(tmp_path / "a", audio(0, 6)), record(tmp_path / "v", black))
    assert made.plan.kind is AssetKind.AUDIO
    assert [track["kind"] for track in made.sidecar["tracks"]] == ["audio"]
    assert made.rendered.video_frames == 0


def test_a_camera_that_was_on_for_a_moment_is_a_picture(tmp_path: Path) -> None:
    seldom = video("H264", 0, 6, mutes=[(-0.1, True), (4.0, False), (5.0, True)])
    made = make(tmp_path, record(tmp_path / "a", audio(0, 6)), record(tmp_path / "v", seldom))
    assert made.plan.kind is AssetKind.REGULAR
    assert made.track("video")["frames"]["real"] == 6 * FPS


def test_a_crash_of_the_server_is_a_gap_and_what_follows_is_on_time(tmp_path: Path) -> None:
    restart = [(5.0, GAP, {"cause": "restart", "packets": 0})]
    # The new connection has new SSRCs and timestamps, and starts with a key frame.
    made = make(
        tmp_path,
        record(tmp_path / "a1", audio(0, 5, notes=restart, seal="recovered")),
        record(tmp_path / "v1", video("H264", 0, 5, notes=restart, seal="recovered")),
        record(tmp_path / "a2", audio(9, 6, ssrc=3333, first_timestamp=77)),
        record(tmp_path / "v2", video("H264", 9, 6, ssrc=4444, first_timestamp=99), Network(seed=4)),
    )
    wave, _ = listen(made.path)
    assert [round(beep, 2) for beep in beeps(wave)] == [2.0, 4.0, 10.0, 12.0, 14.0]
    sync_is_right(made, flashes=5)
    assert abs(made.rendered.duration_ms - 15_000) <= 100
    for kind in ("audio", "video"):
        [gap] = made.gaps(kind, "restart")
        assert abs(gap["from_ms"] - 5_000) < 100
        assert abs(gap["to_ms"] - 9_000) < 100


def test_a_stereo_share_has_two_channels(tmp_path: Path) -> None:
    made = make(tmp_path, record(tmp_path / "a", audio(0, 5, channels=2, without=(1, 1.5))), kind=AssetKind.SCREEN)
    assert made.track("audio")["channels"] == 2
    assert made.plan.kind is AssetKind.SCREEN
    assert [round(beep, 2) for beep in made.shown.beeps] == [2.0, 4.0]


def test_a_share_without_sound_has_no_audio_track_and_lasts_until_it_was_stopped(tmp_path: Path) -> None:
    share = video("VP9", 0, 3)
    # The screen stands still after three seconds: no more pictures, but the sender still reports.
    reports = [(at_s, 3, sender_report(share.ssrc, at_s)) for at_s in (4.0, 5.0, 6.0)]
    made = make(tmp_path, record(tmp_path / "v", share, raw=reports), kind=AssetKind.SCREEN)
    assert made.rendered.audio_packets == 0
    assert abs(made.rendered.duration_ms - 6_000) <= 100
    assert made.track("video")["gaps"] == []


def sender_report(ssrc: int, at_s: float) -> bytes:
    return struct.pack("<IQIII", ssrc, 0, round(at_s * 90_000) - 0x10000 & 0xFFFF_FFFF, 0, 0)


def test_the_bytes_of_the_sound_are_those_that_were_sent(tmp_path: Path) -> None:
    made = make(tmp_path, record(tmp_path / "a", audio(0, 5)), record(tmp_path / "v", video("H264", 0, 5)))
    content = made.path.read_bytes()
    packets = beeping(5)
    at = content.find(packets[0] + packets[1])
    assert at > 0
    assert sum(content.find(packet, at) >= 0 for packet in packets) == len(packets)
    assert len(flashing("H264", 5)) == made.track("video")["frames"]["real"]
