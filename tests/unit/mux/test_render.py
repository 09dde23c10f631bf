"""A file shows exactly the pictures and plays exactly the packets that the sender encoded, in the container of its codec."""

import hashlib
import json
import re
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from isotape import _core
from tests.kit import media
from tests.kit.media import FRAME_TICKS, PACKET_SAMPLES
from tests.kit.packetise import annex_b_units, av1_units
from tests.kit.plan_rows import Track, audio_track, merge, plan, prepend_literal, video_track, write_journal

SIZES = {"H264": (1280, 720), "VP8": (640, 360), "VP9": (640, 360), "AV1": (640, 360)}
PAIRS = [("H264", "mp4"), ("VP9", "mp4"), ("AV1", "mp4"), ("VP8", "webm"), ("VP9", "webm"), ("AV1", "webm")]
FRAMES = 75


def render(path: Path, container: str, video: Track | None, audio: Track | None) -> dict[str, object]:
    files, video_rows, audio_rows, literals = merge(video, audio)
    report = json.loads(_core.render(str(path), container, files, video_rows, audio_rows, literals))  # type: ignore[arg-type]
    assert isinstance(report, dict)
    return report


def encoded(codec: str) -> tuple[media.Frame, ...]:
    return media.video(codec, *SIZES[codec], FRAMES)


def make(tmp_path: Path, codec: str, container: str) -> tuple[Path, dict[str, object]]:
    video = video_track(tmp_path / "video", codec, encoded(codec))
    audio = audio_track(tmp_path / "audio", media.tone(2.5))
    path = tmp_path / f"out.{container}"
    return path, render(path, container, video, audio)


def units(codec: str, data: bytes) -> list[bytes]:
    """A frame without its framing, which differs between encoder and file."""
    if codec == "H264":
        found, at = [], 0
        while at < len(data):
            length = int.from_bytes(data[at : at + 4], "big")
            found.append(data[at + 4 : at + 4 + length])
            at += 4 + length
        return found
    return list(av1_units(data)) if codec == "AV1" else [data]


def ffmpeg_complaints(path: Path) -> str:
    command = ["ffmpeg", "-hide_banner", "-nostdin", "-v", "warning", "-i", str(path), "-f", "null", "-"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stderr


@pytest.mark.parametrize(("codec", "container"), PAIRS)
def test_pictures_and_packets_are_those_of_the_sender(tmp_path: Path, codec: str, container: str) -> None:
    path, report = make(tmp_path, codec, container)
    frames = encoded(codec)
    shown = media.decode_file(str(path))
    expected = media.decode(codec, frames)
    assert len(shown) == len(expected) == FRAMES
    assert all(np.array_equal(one, other) for one, other in zip(shown, expected, strict=True))
    with av.open(str(path)) as file:
        packets = [packet for packet in file.demux(video=0) if packet.size]
        keys = [packet.is_keyframe for packet in packets]
        found = [units(codec, bytes(packet)) for packet in packets]
    sent = [annex_b_units(frame.data) if codec == "H264" else units(codec, frame.data) for frame in frames]
    assert found == sent
    assert keys == [frame.key for frame in frames]
    with av.open(str(path)) as file:
        assert tuple(bytes(packet) for packet in file.demux(audio=0) if packet.size) == media.tone(2.5)
    assert (report["video_frames"], report["audio_packets"]) == (FRAMES, 125)
    assert (report["width"], report["height"]) == SIZES[codec]
    assert report["key_frames"] == sum(keys)
    assert report["skipped_samples"] == []


@pytest.mark.parametrize(("codec", "container"), PAIRS)
def test_ffmpeg_reads_the_file_without_a_complaint(tmp_path: Path, codec: str, container: str) -> None:
    path, _ = make(tmp_path, codec, container)
    assert ffmpeg_complaints(path) == ""


@pytest.mark.parametrize(("codec", "container"), PAIRS)
def test_both_tracks_start_at_zero_and_last_as_planned(tmp_path: Path, codec: str, container: str) -> None:
    path, report = make(tmp_path, codec, container)
    tick = 0.0005 if container == "webm" else 0  # WebM counts milliseconds
    with av.open(str(path)) as file:
        assert file.duration == 2_500_000
        times = [float(frame.time) for frame in file.decode(video=0) if frame.time is not None]
        assert times == pytest.approx([number / 30 for number in range(FRAMES)], abs=tick or 1e-9)
    with av.open(str(path)) as file:
        sound = [frame for frame in file.decode(audio=0) if frame.samples]
        assert sound[0].time == pytest.approx(0, abs=tick)
        total = sum(frame.samples for frame in sound)
    assert total == 125 * PACKET_SAMPLES - 312
    assert report["duration_ms"] == 2500


@pytest.mark.parametrize(("codec", "container"), PAIRS)
def test_a_seek_lands_on_a_key_frame_and_shows_the_right_pictures(tmp_path: Path, codec: str, container: str) -> None:
    path, _ = make(tmp_path, codec, container)
    expected = media.decode(codec, encoded(codec))
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        stream.thread_type = "NONE"
        assert stream.time_base is not None
        file.seek(round(1.5 / stream.time_base), stream=stream)
        first = next(file.decode(video=0))
    assert first.time == pytest.approx(1, abs=0.0005)
    assert np.array_equal(first.to_ndarray(), expected[30])


def test_the_report_says_what_lies_on_disk(tmp_path: Path) -> None:
    path, report = make(tmp_path, "H264", "mp4")
    data = path.read_bytes()
    assert report["sha256"] == hashlib.sha256(data).hexdigest()
    assert report["size_bytes"] == len(data)
    assert (report["first_key_pts"], report["last_key_pts"]) == (0, 60 * FRAME_TICKS)
    assert data[4:8] == b"ftyp"
    assert data.index(b"moov") < data.index(b"mdat"), "a player may begin before the whole file has arrived"
    assert b"avc1" in data
    assert b"avc3" not in data


def test_seek_entries_of_webm_point_at_the_elements_they_name(tmp_path: Path) -> None:
    data = make(tmp_path, "VP8", "webm")[0].read_bytes()
    segment = data.index(b"\x18\x53\x80\x67") + 12
    cluster = b"\x1f\x43\xb6\x75"
    head = data[: data.index(cluster)]
    seeks = re.findall(rb"\x53\xab\x84(.{4})\x53\xac\x88(.{8})", head, re.DOTALL)
    assert len(seeks) == 3
    for name, at in seeks:
        assert data[segment + int.from_bytes(at) :].startswith(name)
    cues = re.findall(rb"\xb3\x88(.{8}).{2,6}\xf1\x88(.{8})", head, re.DOTALL)
    assert [int.from_bytes(time) for time, _ in cues] == [0, 1000, 2000]
    assert all(data[segment + int.from_bytes(at) :].startswith(cluster) for _, at in cues)


def test_the_same_plan_gives_the_same_bytes_and_never_overwrites(tmp_path: Path) -> None:
    video = video_track(tmp_path / "video", "VP8", encoded("VP8"))
    first = render(tmp_path / "one.webm", "webm", video, None)
    assert render(tmp_path / "two.webm", "webm", video, None)["sha256"] == first["sha256"]
    with pytest.raises(FileExistsError, match=r"one\.webm"):
        render(tmp_path / "one.webm", "webm", video, None)
    assert (tmp_path / "one.webm").stat().st_size == first["size_bytes"]


@pytest.mark.parametrize("container", ["mp4", "webm"])
def test_sound_alone_makes_a_file(tmp_path: Path, container: str) -> None:
    audio = audio_track(tmp_path / "audio", media.tone(12))
    path = tmp_path / f"out.{container}"
    report = render(path, container, None, audio)
    assert ffmpeg_complaints(path) == ""
    assert report["duration_ms"] == round(12_000 - 6.5)
    with av.open(str(path)) as file:
        assert tuple(bytes(packet) for packet in file.demux(audio=0) if packet.size) == media.tone(12)
        assert file.streams.audio[0].codec_context.layout.name == "mono"


@pytest.mark.parametrize("codec", ["H264", "VP9", "AV1", "VP8"])
def test_a_picture_size_that_changes_stays_exact(tmp_path: Path, codec: str) -> None:
    parts = [media.video(codec, 640, 360, 20), media.video(codec, 320, 180, 20), media.video(codec, 360, 640, 20)]
    frames = parts[0] + parts[1] + parts[2]
    container = "webm" if codec == "VP8" else "mp4"
    path = tmp_path / f"out.{container}"
    report = render(path, container, video_track(tmp_path / "video", codec, frames), None)
    shown = media.decode_file(str(path))
    expected = [picture for part in parts for picture in media.decode(codec, part)]
    assert [picture.shape for picture in shown] == [picture.shape for picture in expected]
    assert all(np.array_equal(one, other) for one, other in zip(shown, expected, strict=True))
    assert report["width"] * report["height"] == 640 * 360  # type: ignore[operator]
    assert (b"avc3" in path.read_bytes()) == (codec == "H264")


def test_a_black_key_frame_is_black_and_the_real_pictures_after_it_are_exact(tmp_path: Path) -> None:
    frames = encoded("H264")
    black = _core.black_key_frame("H264", frames[0].data)
    assert black is not None
    video = prepend_literal(video_track(tmp_path / "video", "H264", frames), black, 5 * 90_000)
    path = tmp_path / "out.mp4"
    report = render(path, "mp4", video, audio_track(tmp_path / "audio", media.tone(7.5)))
    assert ffmpeg_complaints(path) == ""
    shown = media.decode_file(str(path))
    luma, chroma = shown[0][:720], shown[0][720:]
    assert np.all(luma == 16)
    assert np.all(chroma == 128)
    expected = media.decode("H264", frames)
    assert all(np.array_equal(one, other) for one, other in zip(shown[1:], expected, strict=True))
    assert report["duration_ms"] == 7500
    with av.open(str(path)) as file:
        assert [frame.pts for frame in file.decode(video=0)][:2] == [0, 5 * 90_000]


@pytest.mark.parametrize("profile", ["baseline", "main", "high"])
@pytest.mark.parametrize("size", [(16, 16), (16, 64), (64, 16), (642, 362)])
def test_black_fits_streams_of_any_profile_and_size(profile: str, size: tuple[int, int]) -> None:
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = *size, "yuv420p"
    encoder.time_base = Fraction(1, 30)
    encoder.options = {"profile": profile, "preset": "medium", "tune": "zerolatency"}
    packets = encoder.encode(av.VideoFrame(*size, "yuv420p")) + encoder.encode(None)
    black = _core.black_key_frame("H264", bytes(packets[0]))
    assert black is not None
    (picture,) = media.decode("H264", [media.Frame(black, key=True)])
    assert picture.shape == (size[1] * 3 // 2, size[0])
    assert np.all(picture[: size[1]] == 16)
    assert np.all(picture[size[1] :] == 128)


def test_black_is_not_drawn_where_it_would_not_fit() -> None:
    assert _core.black_key_frame("VP8", b"") is None
    assert _core.black_key_frame("H264", b"no parameter set here") is None
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = 64, 64, "yuv444p"
    encoder.time_base = Fraction(1, 30)
    packets = encoder.encode(av.VideoFrame(64, 64, "yuv444p")) + encoder.encode(None)
    assert _core.black_key_frame("H264", bytes(packets[0])) is None


def test_audio_fillers_are_exact_silence(tmp_path: Path) -> None:
    audio = audio_track(tmp_path / "audio", media.tone(1))
    for _ in range(100):
        audio = prepend_literal(audio, b"\xf8\xff\xfe", PACKET_SAMPLES)
    path = tmp_path / "out.mp4"
    render(path, "mp4", None, audio)
    assert ffmpeg_complaints(path) == ""
    with av.open(str(path)) as file:
        sound = np.concatenate([frame.to_ndarray()[0] for frame in file.decode(audio=0)])
    begin = 2 * 48_000 - 312
    assert len(sound) == 3 * 48_000 - 312
    assert not np.any(sound[:begin])
    assert np.any(np.abs(sound[begin : begin + 4800]) > 0.05)


def test_a_broken_picture_is_left_out_and_named(tmp_path: Path) -> None:
    frames = encoded("H264")
    video = video_track(tmp_path / "video", "H264", frames)
    assert video.samples["count"][10] > 1
    video.samples["count"][10] -= 1  # its last packet is lost
    path = tmp_path / "out.mp4"
    report = render(path, "mp4", video, None)
    assert report["skipped_samples"] == [10]
    assert report["video_frames"] == FRAMES - 1
    with av.open(str(path)) as file:
        times = [packet.pts for packet in file.demux(video=0) if packet.size]
    assert times == [number * FRAME_TICKS for number in range(FRAMES) if number != 10]


def test_broken_sound_becomes_silence_of_the_same_length(tmp_path: Path) -> None:
    audio = audio_track(tmp_path / "audio", media.tone(1))
    audio.packets["length"][7] = 0
    path = tmp_path / "out.mp4"
    report = render(path, "mp4", None, audio)
    assert report["silenced_samples"] == [7]
    with av.open(str(path)) as file:
        packets = [bytes(packet) for packet in file.demux(audio=0) if packet.size]
    assert packets[7] == b"\xf8\xff\xfe"
    assert packets[:7] + packets[8:] == [*media.tone(1)[:7], *media.tone(1)[8:]]


@pytest.mark.parametrize("samples", [120, 240, 480, 1440, 1920, 2880, 5760])
def test_silence_of_any_packet_duration_is_silent_in_players(tmp_path: Path, samples: int) -> None:
    packets = tuple(bytes([31 << 3 | 3, samples // 960]) + bytes(20) for _ in range(10))
    audio = audio_track(tmp_path / "audio", packets)
    audio.packets["length"] = 0
    audio.samples["duration"] = samples
    audio.samples["pts"] = np.arange(10) * samples
    path = tmp_path / "out.mp4"
    report = render(path, "mp4", None, audio)
    assert report["silenced_samples"] == list(range(10))
    assert ffmpeg_complaints(path) == ""
    with av.open(str(path)) as file:
        sound = np.concatenate([frame.to_ndarray()[0] for frame in file.decode(audio=0)])
    assert len(sound) == 10 * samples - 312
    assert not np.any(sound)


def test_many_segments_are_read_as_one(tmp_path: Path) -> None:
    frames = [frame.data for frame in encoded("VP8")]
    folder = write_journal(tmp_path / "video", "VP8", frames, FRAME_TICKS, segment_bytes=20_000)
    video = plan(folder, "VP8", FRAME_TICKS)
    assert len(video.files) > 5
    path = tmp_path / "out.webm"
    render(path, "webm", video, None)
    with av.open(str(path)) as file:
        assert [bytes(packet) for packet in file.demux(video=0) if packet.size] == frames


def test_a_plan_that_contradicts_itself_makes_no_file(tmp_path: Path) -> None:
    audio = audio_track(tmp_path / "audio", media.tone(1))
    path = tmp_path / "out.mp4"
    audio.samples["pts"][9] += 1
    with pytest.raises(ValueError, match="plan of audio: sample 9: pts 8641 where 8640 is due"):
        render(path, "mp4", None, audio)
    audio.samples["pts"][9] -= 1
    audio.packets["offset"][3] = 1 << 40
    with pytest.raises(OSError, match=r"00000001\.seg: \d+ bytes at 1099511627776"):
        render(path, "mp4", None, audio)
    audio.packets["file"][3] = 9
    with pytest.raises(ValueError, match="file 9 of 1"):
        render(path, "mp4", None, audio)
    assert not path.exists()


def test_a_container_refuses_what_players_would_not_play(tmp_path: Path) -> None:
    for codec, container in (("VP8", "mp4"), ("H264", "webm")):
        video = video_track(tmp_path / codec, codec, media.video(codec, 320, 180, 3))
        path = tmp_path / f"out.{container}"
        with pytest.raises(ValueError, match=codec):
            render(path, container, video, None)
        assert not path.exists()
    with pytest.raises(ValueError, match=r"unknown container .avi"):
        render(tmp_path / "out.avi", "avi", None, None)


def test_one_frame_can_be_fetched_alone(tmp_path: Path) -> None:
    frames = encoded("H264")
    video = video_track(tmp_path / "video", "H264", frames)
    first = video.packets[: video.samples["count"][0]]
    found = _core.depacketise("H264", video.files, first.tobytes())
    assert annex_b_units(found) == annex_b_units(frames[0].data)
    with pytest.raises(ValueError, match="the last packet of the frame is missing"):
        _core.depacketise("H264", video.files, first[:-1].tobytes())
