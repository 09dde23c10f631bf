"""The clock: UTC wall time for rows and the wire, monotonic time for waiting.

Everything that needs the time takes a `Clock`, so that a test can drive it. RTP and NTP times live in assets/timeline.py.
"""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> datetime:
        """Aware UTC time."""

    def monotonic(self) -> float:
        """Seconds that never run backwards; only differences mean anything."""


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


def to_millis(moment: datetime) -> int:
    """Milliseconds since the Unix epoch, as the client protocol and the database want them."""
    return round(moment.timestamp() * 1000)


def from_millis(millis: int) -> datetime:
    """Aware UTC time of milliseconds since the Unix epoch."""
    return datetime.fromtimestamp(millis / 1000, UTC)


def rfc3339(moment: datetime) -> str:
    """`2024-02-29T04:51:16.041Z`: milliseconds with trailing zeros trimmed, as 100ms prints stored objects."""
    text = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f"{moment.microsecond // 1000:03d}".rstrip("0")
    return f"{text}.{fraction}Z" if fraction else f"{text}Z"
