"""What is lost, doubled or out of order is counted to the packet and harms nothing else; checked on real packets of real frames."""

from pathlib import Path

import numpy as np
import pytest

from tests.kit.journal_writer import GAP
from tests.kit.made_file import make
from tests.kit.packetise import PACKETISERS
from tests.kit.recorded_call import FPS, Network, audio, beeps, flashing, listen, record, video


def every(number: int) -> Network:
    """Loses each n-th packet, the first ones excepted."""
    return Network(lose=lambda packet: packet % number == number - 1)


def test_one_percent_of_lost_sound_is_counted_and_concealed_in_place(tmp_path: Path) -> None:
    made = make(tmp_path, record(tmp_path / "a", audio(0, 20), every(100)))
    packets = made.track("audio")["packets"]
    # 1000 packets were sent; the very last one is lost too, which no sequence number tells.
    assert packets == {"expected": 999, "received": 990, "recovered": 0, "lost": 9, "duplicates": 0, "late": 0}
    gaps = made.gaps("audio", "lost")
    assert [(gap["from_ms"], gap["to_ms"], gap["packets"]) for gap in gaps] == [
        (1980 + 2000 * n, 2000 + 2000 * n, 1) for n in range(9)
    ]
    assert [filler["packets"] for filler in made.fillers("audio", "concealed")] == [1] * 9
    wave, _ = listen(made.path)
    assert [round(beep, 2) for beep in beeps(wave)] == [2.0 + 2 * n for n in range(9)]
    # A concealed packet goes on from the sound before it instead of clicking.
    assert np.abs(np.diff(wave)).max() < 0.15


def test_a_long_loss_of_sound_becomes_silence(tmp_path: Path) -> None:
    made = make(tmp_path, record(tmp_path / "a", audio(0, 9), Network(lose=lambda packet: 105 <= packet < 155)))
    [gap] = made.gaps("audio", "lost")
    assert (gap["from_ms"], gap["to_ms"], gap["packets"]) == (2_100, 3_100, 50)
    wave, _ = listen(made.path)
    assert np.abs(wave[round(2.2 * 48_000) : round(3.05 * 48_000)]).max() < 1e-3
    assert [round(beep, 2) for beep in beeps(wave)] == [2.0, 4.0, 6.0, 8.0]


def test_what_the_recorder_dropped_is_its_own_gap(tmp_path: Path) -> None:
    overflow = [(5.2, GAP, {"cause": "server", "packets": 10})]
    sound = audio(0, 9, notes=overflow)
    made = make(tmp_path, record(tmp_path / "a", sound, Network(lose=lambda packet: 250 <= packet < 260)))
    [gap] = made.gaps("audio", "server")
    assert gap["packets"] == 10
    assert made.gaps("audio", "lost") == []


def test_dtx_is_silence_and_no_gap(tmp_path: Path) -> None:
    made = make(tmp_path, record(tmp_path / "a", audio(0, 5, without=(2.5, 2.9))))
    assert made.track("audio")["gaps"] == []
    [filler] = made.fillers("audio", "dtx")
    assert (filler["at_ms"], filler["duration_ms"]) == (2_500, 400)
    assert [round(beep, 2) for beep in made.shown.beeps] == [2.0, 4.0]


@pytest.mark.parametrize("codec", ["H264", "VP8", "VP9", "AV1"])
def test_a_frame_with_a_hole_is_left_out_and_the_others_stay(tmp_path: Path, codec: str) -> None:
    source = video(codec, 0, 6)
    whole = make(whole_folder(tmp_path), record(tmp_path / "w", source))
    made = make(tmp_path, record(tmp_path / "v", source, Network(lose=lambda packet: packet == 40)))
    packets = made.track("video")["packets"]
    assert packets["lost"] == 1
    assert packets["expected"] == packets["received"] + 1 == whole.track("video")["packets"]["expected"]
    frames = made.track("video")["frames"]
    assert frames["real"] == 6 * FPS - 1
    [gap] = made.gaps("video", "lost")
    assert gap["packets"] == 1
    assert gap["to_ms"] - gap["from_ms"] < 100


def test_a_key_frame_that_lacks_only_its_parameter_sets_is_not_whole(tmp_path: Path) -> None:
    frames = flashing("H264", 6)
    parameter_sets = sum(len(PACKETISERS["H264"](frame.data)) for frame in frames[:60])
    assert frames[60].key
    made = make(
        tmp_path, record(tmp_path / "v", video("H264", 0, 6), Network(lose=lambda packet: packet == parameter_sets))
    )
    frames_stated = made.track("video")["frames"]
    assert (frames_stated["real"], frames_stated["incomplete"]) == (6 * FPS - 1, 1)


def test_whole_pictures_lost_ahead_of_a_part_of_one_are_in_its_gap(tmp_path: Path) -> None:
    frames = flashing("H264", 6)
    sizes = [len(PACKETISERS["H264"](frame.data)) for frame in frames]
    part = next(number for number in range(31, 60) if sizes[number] > 1 and set(sizes[number - 3 : number]) == {1})
    first = sum(sizes[: part - 3])
    gone = {first, first + 1, first + 2, first + 3}
    made = make(tmp_path, record(tmp_path / "v", video("H264", 0, 6), Network(lose=gone.__contains__)))
    [gap] = made.gaps("video", "lost")
    assert gap["packets"] == 4
    assert gap["from_ms"] == pytest.approx((part - 4) * 1000 / FPS, abs=5)
    assert gap["to_ms"] == pytest.approx((part + 1) * 1000 / FPS, abs=5)


def test_an_outage_of_seconds_is_stated_once(tmp_path: Path) -> None:
    frames = flashing("H264", 9)
    sizes = [len(PACKETISERS["H264"](frame.data)) for frame in frames]
    gone = range(sum(sizes[:60]), sum(sizes[:150]))
    made = make(tmp_path, record(tmp_path / "v", video("H264", 0, 9), Network(lose=gone.__contains__)))
    [gap] = made.track("video")["gaps"]
    assert (gap["cause"], gap["packets"]) == ("lost", len(gone))
    assert gap["from_ms"] == pytest.approx(59_000 / FPS, abs=5)
    assert gap["to_ms"] == pytest.approx(150_000 / FPS, abs=5)


def whole_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "whole"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("codec", ["H264", "VP8", "VP9", "AV1"])
def test_what_comes_before_the_first_key_frame_is_stated_and_left_out(tmp_path: Path, codec: str) -> None:
    # The first packet of the first key frame is lost: no picture can be shown until the next one, a second later.
    made = make(
        tmp_path,
        record(tmp_path / "a", audio(0, 6)),
        record(tmp_path / "v", video(codec, 0, 6), Network(lose=lambda packet: packet == 0)),
    )
    frames = made.track("video")["frames"]
    assert frames["before_key"] + frames["incomplete"] in (FPS - 1, FPS)
    assert frames["real"] == 5 * FPS
    [gap] = made.gaps("video", "lost")
    assert gap["note"] == "before the first key frame"
    assert abs(gap["to_ms"] - 1_000) < 5
    assert made.fillers("video", "placeholder")
    assert max(map(abs, made.offsets_ms)) <= 5


def test_order_and_doubles_change_nothing_but_the_counts(tmp_path: Path) -> None:
    plain, wild = Network(jitter_s=0), Network(jitter_s=0.4, seed=9)
    (tmp_path / "p").mkdir()
    source, sound = video("H264", 0, 6), audio(0, 6)
    calm = make(tmp_path / "p", record(tmp_path / "v1", source, plain), record(tmp_path / "a1", sound, plain))
    made = make(
        tmp_path, record(tmp_path / "v2", source, wild, twice=0.2), record(tmp_path / "a2", sound, wild, twice=0.2)
    )
    for kind in ("audio", "video"):
        counts = made.track(kind)["packets"]
        assert counts["received"] == calm.track(kind)["packets"]["received"]
        assert counts["lost"] == 0
        assert counts["duplicates"] > 0
        assert counts["late"] > 0
    assert [picture.brightness for picture in made.shown.pictures] == [one.brightness for one in calm.shown.pictures]
    assert np.array_equal(listen(made.path)[0], listen(calm.path)[0])


def test_a_repaired_packet_is_counted_as_recovered_and_its_frame_is_whole(tmp_path: Path) -> None:
    made = make(tmp_path, record(tmp_path / "v", video("VP8", 0, 3), repaired=frozenset({5, 6, 7})))
    packets = made.track("video")["packets"]
    assert packets["recovered"] == 3
    assert packets["expected"] == packets["received"] + 3
    assert made.track("video")["frames"]["real"] == 3 * FPS


def test_a_new_size_within_the_track_is_listed_where_it_begins(tmp_path: Path) -> None:
    small = video("H264", 3, 3, ssrc=2222)
    large = video("H264", 0, 3, ssrc=2222)
    pieces = flashing("H264", 6, 160, 90)
    for piece in small.sent:
        piece.data = pieces[round(piece.at_s * FPS)].data
    large.sent = [*large.sent, *small.sent]
    made = make(tmp_path, record(tmp_path / "v", large))
    sizes = [(round(one["at_ms"], -2), one["width"], one["height"]) for one in made.track("video")["resolutions"]]
    assert sizes == [(0, 320, 180), (3_000, 160, 90)]
    assert {picture.size for picture in made.shown.pictures} == {(320, 180), (160, 90)}


def test_a_codec_change_keeps_the_longer_part_and_states_the_other(tmp_path: Path) -> None:
    made = make(
        tmp_path,
        record(tmp_path / "a", audio(0, 9)),
        record(tmp_path / "v1", video("VP8", 0, 3)),
        record(tmp_path / "v2", video("H264", 3, 6, ssrc=5555)),
    )
    assert made.track("video")["codec"] == "H264"
    assert made.plan.container == "mp4"
    [gap] = made.gaps("video", "server")
    assert gap["note"] == "sent as VP8, not in this file"
    assert gap["frames"] == 3 * FPS
