"""Chromium plays what the renderer made: from start to end, every picture, and after a seek the right one.

The files come from an HTTP server that knows ranges, as the signed URLs of the API do.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, sync_playwright

from isotape import _core
from tests.kit import media
from tests.kit.plan_rows import Track, audio_track, merge, prepend_literal, video_track
from tests.kit.ranges import served

pytestmark = pytest.mark.browser

FRAMES = 75
SECONDS = 2.5
SIZE = (640, 360)
PAIRS = [("H264", "mp4"), ("VP9", "mp4"), ("AV1", "mp4"), ("VP8", "webm"), ("VP9", "webm"), ("AV1", "webm")]

PLAY_TO_END = """async (name) => {
    const video = document.createElement('video');
    video.src = name; video.muted = true; document.body.replaceChildren(video);
    const failed = new Promise((_, no) => { video.onerror = () => no(new Error(video.error.message)); });
    await Promise.race([failed, new Promise(yes => { video.onended = yes; video.play(); })]);
    const quality = video.getVideoPlaybackQuality();
    return {duration: video.duration, at: video.currentTime, width: video.videoWidth, height: video.videoHeight,
            frames: quality.totalVideoFrames, broken: quality.corruptedVideoFrames};
}"""

PICTURE_AT = """async ([name, seconds]) => {
    const video = document.createElement('video');
    video.src = name; video.muted = true; document.body.replaceChildren(video);
    await new Promise(yes => { video.onloadeddata = yes; });
    await new Promise(yes => { video.onseeked = yes; video.currentTime = seconds; });
    const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
    const brush = canvas.getContext('2d');
    brush.drawImage(video, 0, 0);
    const pixels = brush.getImageData(0, 0, canvas.width, canvas.height).data;
    return Array.from(pixels.filter((_, index) => index % 4 === 1));
}"""

SOUND = """async (name) => {
    const bytes = await (await fetch(name)).arrayBuffer();
    const sound = await new OfflineAudioContext(1, 1, 48000).decodeAudioData(bytes);
    return {seconds: sound.duration, loud: sound.getChannelData(0).findIndex(value => Math.abs(value) > 0.05) / 48000};
}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def page(folder: Path) -> Iterator[Page]:
    with served(folder) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"{url}/")
        yield page
        browser.close()


def make(folder: Path, name: str, video: Track | None, audio: Track | None) -> str:
    files, video_rows, audio_rows, literals = merge(video, audio)
    _core.render(str(folder / name), name.rpartition(".")[2], files, video_rows, audio_rows, literals)  # type: ignore[arg-type]
    return name


def luma_error(shown: list[int], expected: np.ndarray) -> float:
    """Mean difference of green, stretched to studio range, from luma: small for the same picture, large for another."""
    green = np.array(shown, float).reshape(SIZE[1], SIZE[0])
    luma = expected[: SIZE[1]].astype(float)
    return float(np.abs(np.corrcoef(green.ravel(), luma.ravel())[0, 1] - 1))


@pytest.mark.parametrize(("codec", "container"), PAIRS)
def test_a_file_plays_to_its_end_and_seeks(
    page: Page, folder: Path, tmp_path: Path, codec: str, container: str
) -> None:
    frames = media.video(codec, *SIZE, FRAMES)
    video = video_track(tmp_path / "video", codec, frames)
    name = make(folder, f"{codec}.{container}", video, audio_track(tmp_path / "audio", media.tone(SECONDS)))
    found = page.evaluate(PLAY_TO_END, name)
    assert found["duration"] == pytest.approx(SECONDS, abs=0.01)
    assert found["at"] == pytest.approx(SECONDS, abs=0.01)
    assert (found["width"], found["height"]) == SIZE
    assert (found["frames"], found["broken"]) == (FRAMES, 0)
    expected = media.decode(codec, frames)
    shown = page.evaluate(PICTURE_AT, [name, 45.5 / 30])
    errors = [luma_error(shown, picture) for picture in expected]
    assert int(np.argmin(errors)) == 45


def test_a_late_camera_shows_black_first_and_sound_stays_in_place(page: Page, folder: Path, tmp_path: Path) -> None:
    frames = media.video("H264", *SIZE, FRAMES)
    black = _core.black_key_frame("H264", frames[0].data)
    assert black is not None
    video = prepend_literal(video_track(tmp_path / "video", "H264", frames), black, 2 * media.VIDEO_CLOCK)
    audio = audio_track(tmp_path / "audio", media.tone(3.5))
    for _ in range(50):
        audio = prepend_literal(audio, b"\xf8\xff\xfe", media.PACKET_SAMPLES)
    name = make(folder, "late.mp4", video, audio)
    found = page.evaluate(PLAY_TO_END, name)
    assert found["at"] == pytest.approx(4.5, abs=0.01)
    assert (found["frames"], found["broken"]) == (FRAMES + 1, 0)
    assert max(page.evaluate(PICTURE_AT, [name, 1.9])) == 0
    shown = page.evaluate(PICTURE_AT, [name, 2 + 45.5 / 30])
    errors = [luma_error(shown, picture) for picture in media.decode("H264", frames)]
    assert int(np.argmin(errors)) == 45
    sound = page.evaluate(SOUND, name)
    assert sound["loud"] == pytest.approx(1 - 312 / 48_000, abs=0.02)


@pytest.mark.parametrize("codec", ["H264", "VP8"])
def test_a_size_that_changes_plays_through(page: Page, folder: Path, tmp_path: Path, codec: str) -> None:
    frames = media.video(codec, 640, 360, 20) + media.video(codec, 320, 180, 20) + media.video(codec, 360, 640, 20)
    name = f"sizes.{'webm' if codec == 'VP8' else 'mp4'}"
    found = page.evaluate(PLAY_TO_END, make(folder, name, video_track(tmp_path / "video", codec, frames), None))
    assert (found["width"], found["height"]) == (360, 640), "the last size is shown last"
    assert (found["frames"], found["broken"]) == (60, 0)
    assert found["at"] == pytest.approx(2, abs=0.01)


@pytest.mark.parametrize("container", ["mp4", "webm"])
def test_sound_alone_plays(page: Page, folder: Path, tmp_path: Path, container: str) -> None:
    name = make(folder, f"sound.{container}", None, audio_track(tmp_path / "audio", media.tone(2)))
    assert page.evaluate(PLAY_TO_END, name)["at"] == pytest.approx(2, abs=0.02)
