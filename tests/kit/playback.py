"""Plays a file in Chromium from start to end, and listens: at which media time does each 3 kHz beep sound?"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import Browser, Page, Route

# The page asks the element's clock each time the analyser hears the beep begin; 4096 samples are 85 ms of smear, so 512 are used.
_PLAY = """async () => {
  const media = document.querySelector("video");
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
  await media.play();
  await new Promise((done, fail) => { media.onended = done; media.onerror = () => fail(new Error(media.error.message)); });
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
    """Plays `file` in real time; raises with Chromium's own message when it cannot."""
    async with _page_with(browser, file) as page:
        result = await page.evaluate(_PLAY)
    return Played(result["ended"], result["length"], result["beeps"], result["width"], result["pictures"])


@asynccontextmanager
async def _page_with(browser: Browser, file: Path) -> AsyncIterator[Page]:
    context = await browser.new_context()
    page = await context.new_page()

    async def answer(route: Route) -> None:
        if route.request.url.endswith("/page"):
            await route.fulfill(content_type="text/html", body=f'<video src="/{file.name}"></video>')
        else:
            await route.fulfill(path=file)

    await page.route("http://player.test/**", answer)
    await page.goto("http://player.test/page")
    try:
        yield page
    finally:
        await context.close()
