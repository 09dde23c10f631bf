"""Fixtures that every test sees.

Async tests are marked `@pytest.mark.anyio`; the server runs on asyncio and nothing else, so the tests do too.
Fixtures that only some tests need stand in the conftest.py of their own folder or in tests/kit.
"""

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The one event loop that isotape supports."""
    return "asyncio"
