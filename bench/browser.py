"""How much of what it may send Chromium sends us: the rate of a 720p camera on a clean link, second by second, from the journal.

A publisher's own congestion control decides, by the feedback that we give it. A camera that never reaches its rate, or goes up and down, is
a worse recording than the network had to give.
"""

import asyncio
import re
from pathlib import Path

import httpx2
import numpy as np
from playwright.async_api import Browser

from bench.figures import Table
from bench.node import BenchNode, running_isotape
from bench.release import Release
from isotape import journal
from isotape.assets.packets import Array, read
from isotape.model import MediaKind
from tests.kit.browsers import chromium

_WANTED_KBPS = 2_300
_ASKED_KBPS = 2_500
_RISE_S, _STEADY_S = 8, 60
_WINDOW_S = 5
# Pictures that no encoder can compress away: tiles of noise at other places in each picture.
_NOISY_CAMERA = """(() => {
  const tile = Object.assign(document.createElement("canvas"), { width: 256, height: 256 });
  const noise = new ImageData(256, 256);
  for (let at = 0; at < noise.data.length; at += 1) noise.data[at] = at % 4 === 3 ? 255 : Math.random() * 256;
  tile.getContext("2d").putImageData(noise, 0, 0);
  navigator.mediaDevices.getUserMedia = async (wanted) => {
    const tracks = [];
    const audio = new AudioContext();
    if (wanted.audio) tracks.push(audio.createMediaStreamDestination().stream.getAudioTracks()[0]);
    if (wanted.video) {
      const canvas = Object.assign(document.createElement("canvas"), { width: 1280, height: 720 });
      const pen = canvas.getContext("2d", { alpha: false });
      setInterval(() => {
        for (let x = 0; x < 6; x += 1) for (let y = 0; y < 4; y += 1)
          pen.drawImage(tile, x * 240 - Math.random() * 40, y * 240 - Math.random() * 40);
      }, 33);
      tracks.push(canvas.captureStream(30).getVideoTracks()[0]);
    }
    return new MediaStream(tracks);
  };
})()"""


async def measure(release: Release, folder: Path, quick: bool) -> Table:
    calls = 1 if quick else 3
    table = Table(
        "What Chromium sends of a camera of 2.5 Mbit/s",
        [
            "codec",
            "2.3 Mbit/s after, s",
            f"mean of the next {_STEADY_S} s, Mbit/s",
            "lowest 5 s, Mbit/s",
            "key frames asked for",
        ],
        notes=[
            f"1280 x 720 of noise at 30 pictures/s, one call after another, {_RISE_S + _STEADY_S} s each; loopback.",
            "Bytes of video payload in the journal. The rate is reached when a second holds 2.3 Mbit.",
            f"Goals: 2.3 Mbit/s within {_RISE_S} s, no see-saw for {_STEADY_S} s, at most one key frame asked for in a minute.",
        ],
    )
    async with (
        running_isotape(release, folder / "node", ISOTAPE_VIDEO_CODECS="VP8,H264") as node,
        chromium() as browser,
    ):
        for number in range(calls):
            rate_kbps, asked = await _call(node, browser)
            table.add(*_row(rate_kbps, asked, f"VP8, {number + 1}"))
    return table


async def _call(node: BenchNode, browser: Browser) -> tuple[Array, int]:
    """The video's kbit of each second, and the key frames that we asked for."""
    known = set(journal.find(node.data_dir / "journals"))
    before = await _asked(node)
    _, code = await node.make_room(await _template(node))
    page = await (await browser.new_context()).new_page()
    await page.add_init_script(_NOISY_CAMERA)
    await page.goto(f"{node.url}/join/{code}?auto=1&name=camera")
    await page.wait_for_selector("body[data-state=joined]", timeout=60_000)
    await asyncio.sleep(_RISE_S + _STEADY_S)
    asked = await _asked(node) - before
    await page.locator("#bar [data-act=leave]").first.click()
    await page.wait_for_selector("body[data-state=left]", timeout=60_000)
    await page.context.close()
    logs = [read(found) for found in journal.find(node.data_dir / "journals") if found not in known]
    (video,) = [log for log in logs if log.kind is MediaKind.VIDEO]
    second = (video.packets["arrival_ns"] - video.packets["arrival_ns"].min()) // 1_000_000_000
    rates: Array = np.bincount(second, weights=video.packets["length"].astype(float)) * 8 / 1000
    return rates, asked


def _row(rate_kbps: Array, asked: int, name: str) -> list[str]:
    reached = np.flatnonzero(rate_kbps >= _WANTED_KBPS)
    steady = rate_kbps[_RISE_S : _RISE_S + _STEADY_S]
    lowest = np.convolve(steady, np.ones(_WINDOW_S) / _WINDOW_S, "valid").min()
    after = str(int(reached[0]) + 1) if len(reached) else "never"
    return [name, after, f"{steady.mean() / 1000:.2f}", f"{lowest / 1000:.2f}", str(asked)]


async def _template(node: BenchNode) -> str:
    camera = {"bitRate": _ASKED_KBPS, "codec": "vp8", "frameRate": 30, "width": 1280, "height": 720}
    publish = {"allowed": ["audio", "video"], "audio": {"bitRate": 64, "codec": "opus"}, "video": camera}
    role = {"name": "host", "publishParams": publish, "subscribeParams": {"subscribeToRoles": ["host"]}}
    template = await node.post("/templates", {"roles": {"host": role}})
    config = {"name": "bench", "role": "host", "streamRecording": {"enabled": True}}
    await node.post(f"/templates/{template['id']}/recordings", [config])
    return str(template["id"])


async def _asked(node: BenchNode) -> int:
    async with httpx2.AsyncClient(trust_env=False) as client:
        text = (await client.get(f"{node.url}/metrics")).raise_for_status().text
    (count,) = re.findall(r"^isotape_\w*key_frames_asked\w* (\d+)", text, re.MULTILINE)
    return int(float(count))
