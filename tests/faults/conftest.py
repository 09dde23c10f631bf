"""A node in a process of its own and a publisher that sends known media to it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.kit.publisher import Publisher, running_publisher


@pytest.fixture
async def publisher(tmp_path: Path) -> AsyncIterator[Publisher]:
    async with running_publisher(tmp_path) as running:
        yield running
