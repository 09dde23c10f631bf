"""Simulcast: the file follows the highest layer that was alive, changes only at key frames, and stands still nowhere."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.kit.made_file import MadeFile, make
from tests.kit.recorded_call import FPS, Network, Sent, Source, audio, flashing, record

SIZES = {"f": (320, 180), "h": (160, 90), "q": (80, 48)}


def layer(rid: str, spans: Sequence[tuple[float, float]], codec: str = "VP8", key_every: int = FPS) -> Source:
    """A layer that is sent from start to end (s) of each span; each span must begin with a key frame."""
    width, height = SIZES[rid]
    frames = flashing(codec, max(end for _, end in spans), width, height, key_every)
    sent = [
        Sent(number / FPS, frames[number].data)
        for start, end in spans
        for number in range(round(start * FPS), round(end * FPS))
    ]
    assert all(frames[round(start * FPS)].key for start, _ in spans)
    return Source("video", codec, sent, ssrc=3000 + width, first_timestamp=width * 1_000_000)


def made_of(folder: Path, *layers: Source) -> MadeFile:
    sound = record(folder / "a", audio(0, 12))
    return make(folder, sound, record(folder / "v", layers[0], Network(seed=4), layers=layers[1:]))


def sizes(made: MadeFile) -> list[tuple[int, float]]:
    """Width and whole second from which on it is shown."""
    return [(one["width"], round(one["at_ms"] / 1000, 1)) for one in made.track("video")["resolutions"]]


def longest_stand_s(made: MadeFile) -> float:
    return float(np.diff([picture.time_s for picture in made.shown.pictures]).max())


@pytest.mark.parametrize("codec", ["VP8", "H264"])
def test_the_file_falls_back_to_the_layer_below_and_rises_again(tmp_path: Path, codec: str) -> None:
    made = made_of(
        tmp_path, layer("q", [(0, 12)], codec), layer("h", [(0, 12)], codec), layer("f", [(0, 4.6), (8, 12)], codec)
    )
    # The layer below has a key frame each second: half a second after the end of the upper one is soon enough.
    assert sizes(made) == [(320, 0.0), (160, 5.0), (320, 8.0)]
    assert longest_stand_s(made) < 0.6
    assert len(made.offsets_ms) == 5
    assert max(map(abs, made.offsets_ms)) <= 40
    assert [one["ssrc"] for one in made.track("video")["layers"]] == [3320, 3160, 3320]
    # All that the sender sent is counted, shown or not.
    assert made.track("video")["packets"]["lost"] == 0
    assert made.track("video")["gaps"] == []


def test_a_lower_layer_with_rare_key_frames_is_taken_from_its_last_one_on(tmp_path: Path) -> None:
    made = made_of(tmp_path, layer("h", [(0, 12)], key_every=3 * FPS), layer("f", [(0, 7)]))
    # Its key frames are at 6 and 9 s: a smaller picture from 6 s on, and none missing.
    assert sizes(made) == [(320, 0.0), (160, 6.0)]
    assert longest_stand_s(made) < 0.1
    assert len(made.shown.pictures) == 12 * FPS


def test_a_layer_that_only_flickers_is_not_followed(tmp_path: Path) -> None:
    made = made_of(tmp_path, layer("h", [(0, 12)]), layer("f", [(4, 4.5), (8, 12)]))
    assert sizes(made) == [(160, 0.0), (320, 8.0)]


def test_a_hole_of_all_layers_stays_a_gap(tmp_path: Path) -> None:
    made = made_of(tmp_path, layer("h", [(0, 4), (9, 12)]), layer("f", [(0, 4), (9, 12)]))
    assert sizes(made) == [(320, 0.0)]
    [gap] = made.gaps("video", "paused")
    assert (gap["from_ms"], gap["to_ms"]) == (pytest.approx(4_000, abs=100), pytest.approx(9_000, abs=100))


def test_one_layer_after_another_is_an_ssrc_change(tmp_path: Path) -> None:
    made = made_of(tmp_path, layer("h", [(0, 6)]), layer("f", [(6, 12)]))
    assert sizes(made) == [(160, 0.0), (320, 6.0)]
    assert len(made.shown.pictures) == 12 * FPS
    assert made.track("video")["gaps"] == []
