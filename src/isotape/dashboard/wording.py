"""How numbers and moments are written on a page: 1:02:03, 12.4 MB, a UTC time that the browser shows in its own zone. Pure."""

from datetime import UTC, datetime

from markupsafe import Markup

_MB = 1_000_000
NOTHING = "\N{EN DASH}"


def duration(ms: float | None) -> str:
    """`1:02:03` from an hour on, `2:03` below it."""
    if ms is None:
        return NOTHING
    seconds = round(ms / 1000)
    hours, minutes, rest = seconds // 3600, seconds // 60 % 60, seconds % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def seconds(ms: float) -> str:
    """`12.345 s`: for gaps, where a tenth of a second matters."""
    return f"{ms / 1000:.3f} s" if ms < 10_000 else f"{ms / 1000:.1f} s"


def size(size_bytes: int) -> str:
    """Megabytes, since that is what people compare; kilobytes where megabytes would read 0.0."""
    if size_bytes < _MB / 10:
        return f"{size_bytes / 1000:.1f} kB"
    return f"{size_bytes / _MB:,.1f} MB"


def count(number: int, one: str, many: str | None = None) -> str:
    """`1 peer`, `3 peers`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def moment(at: datetime | None, style: str = "full") -> Markup:
    """A `<time>` that reads in UTC without a script; the script writes the viewer's zone and leaves UTC to the tooltip.

    style: full (date and time), clock (time of day) or since (a running duration).
    """
    if at is None:
        return Markup("\N{EN DASH}")
    utc = at.astimezone(UTC)
    shown = f"{utc:%H:%M:%S}" if style == "clock" else f"{utc:%Y-%m-%d %H:%M}"
    return Markup('<time datetime="{}" data-style="{}" title="{} UTC">{} UTC</time>').format(
        f"{utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond // 1000:03}Z", style, f"{utc:%Y-%m-%d %H:%M:%S}", shown
    )


def shorten(text: str, length: int = 8) -> str:
    """The start of an id or a hash, which is enough to tell two apart on one page."""
    return text if len(text) <= length else f"{text[:length]}…"
