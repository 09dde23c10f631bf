"""The node that the API's tests speak to."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.kit.outside import Outside, outside


@pytest.fixture
async def node(tmp_path: Path, anyio_backend: str) -> AsyncIterator[Outside]:
    async with outside(tmp_path) as node:
        yield node
