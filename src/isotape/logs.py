"""Log lines on stderr: structlog with room, session, peer and track ids as fields; secrets never.

A line is written once, by the layer that decides. `redact` takes tokens out of anything that could carry a URL or a header.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

_TOKEN = re.compile(r"(?i)(token=|bearer\s+|signature=|authorization[\"']?:\s*[\"']?)[^\s&\"']+")


def redact(text: str) -> str:
    """`text` with the values of tokens, bearer headers and signatures replaced."""
    return _TOKEN.sub(r"\1[redacted]", text)


def _redact_fields(_logger: Any, _method: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: redact(value) if isinstance(value, str) else value for key, value in fields.items()}


def configure(log_format: str) -> None:
    """Sets the shape of all log lines of this process: `text` for people, `json` for machines."""
    renderer: Any = (
        structlog.processors.JSONRenderer() if log_format == "json" else structlog.dev.ConsoleRenderer(colors=False)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _redact_fields,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )


def logger(**fields: Any) -> Any:
    """A logger that puts `fields` on every line."""
    return structlog.get_logger(**fields)
