"""Plays a file in a browser from start to end, and listens: at which media time does each 3 kHz beep sound?"""

from dataclasses import dataclass
from pathlib import Path

from tests.kit.caller import Browser
from tests.kit.ranges import served

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
