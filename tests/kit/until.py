"""Waiting for a condition, with a bound."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

# A bound, not a pace: nothing takes that long unless it is broken.
_PATIENCE_S = 10.0
_LOOK_EVERY_S = 0.01


async def until(is_so: Callable[[], Any], patience_s: float = _PATIENCE_S) -> Any:
    """Returns the first truthy result of `is_so` (a function or a coroutine function); fails after the patience."""
    async with asyncio.timeout(patience_s):
        while True:
            result = is_so()
            if inspect.isawaitable(result):
                result = await result
            if result:
                return result
            await asyncio.sleep(_LOOK_EVERY_S)
