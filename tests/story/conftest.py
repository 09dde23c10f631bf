"""A running live side for each story."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.kit.server import LiveServer, live_server


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[LiveServer]:
    async with live_server(tmp_path) as server:
        yield server
