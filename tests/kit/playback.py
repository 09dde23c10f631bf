"""Plays a file in a browser from start to end, and listens: at which media time does each 3 kHz beep sound?"""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kit import stamps
from tests.kit.caller import Browser
from tests.kit.ranges import served

# The element tells its time in steps, and a busy page asks late.
_HEARD_S = 0.12
# Pictures at the very end that a player may count after it says that it has ended.
_UNSHOWN = 2
# The page asks the element's clock each time the analyser hears the beep begin; 4096 samples are 85 ms of smear, so 512 are used.
_PLAY = """async (name) => {
  const media = Object.assign(document.createElement("video"), { src: `/${name}` });
  document.body.append(media);
  const audio = new AudioContext({ sampleRate: 48000 });
  const ear = new AnalyserNode(audio, { fftSize: 512, smoothingTimeConstant: 0 });
  audio.createMediaElementSource(media).connect(ear).connect(audio.destination);
  const bins = new Float32Array(ear.frequencyBinCount);
  const beeps = [];
  let quiet = true;
  const listen = () => {
    ear.getFloatFrequencyData(bins);
    const loud = bins[Math.round(3000 / (48000 / 512))] > -35;
    if (loud && quiet) beeps.push(media.currentTime);
    quiet = !loud;
  };
  const timer = setInterval(listen, 5);
  await audio.resume();
  const over = new Promise((done, fail) => { media.onended = done; media.onerror = () => fail(new Error(media.error.message)); });
  await media.play();
  await over;
  clearInterval(timer);
  return { ended: media.ended, length: media.duration, beeps, width: media.videoWidth,
           pictures: media.getVideoPlaybackQuality().totalVideoFrames };
}"""


@dataclass(frozen=True, slots=True)
class Played:
    """What one playing of a file showed. beeps_s are media times; pictures counts what was decoded."""

    ended: bool
    length_s: float
    beeps_s: list[float]
    width: int
    pictures: int


async def play(browser: Browser, file: Path) -> Played:
    """Plays `file` in real time; raises with the browser's own message when it cannot."""
    with served(file.parent) as url:
        page = await browser.new_page()
        try:
            await page.goto(f"{url}/")
            result = await page.evaluate(_PLAY, file.name)
        finally:
            await page.close()
    return Played(result["ended"], result["length"], result["beeps"], result["width"], result["pictures"])


async def plays(browser: Browser, file: Path, length_s: float, *, has_pictures: bool = True) -> None:
    """The browser plays the file to its end, shows its pictures and hears each beep where the decoder found it."""
    expected = stamps.beeps(stamps.sound(file))
    played = await play(browser, file)
    assert played.ended
    assert played.length_s == pytest.approx(length_s, abs=1)
    assert len(played.beeps_s) == len(expected) >= 2
    assert played.beeps_s == pytest.approx(expected, abs=_HEARD_S)
    assert (played.width > 0) == has_pictures
    if has_pictures:
        shown = stamps.pictures(file)
        assert played.width == [stamp for stamp in shown if stamp][-1].width
        assert played.pictures >= len(shown) - _UNSHOWN
