"""A real Chromium for every test here; the test is skipped only where there is none."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--auto-accept-this-tab-capture",
    "--autoplay-policy=no-user-gesture-required",
]


@pytest.fixture
def chromium_path() -> str:
    """Debian's Chromium; there is no other."""
    if CHROMIUM is None:
        pytest.skip("chromium is missing")
    return CHROMIUM


@pytest.fixture
def browser(chromium_path: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium_path, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Where pages leave their pictures: PICTURES=1 renews those of the guide, else nothing in the checkout changes."""
    folder = Path(__file__).parents[2] / "docs" / "images" if os.environ.get("PICTURES") else tmp_path / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
