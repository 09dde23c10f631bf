"""`isotape doctor`: what a server needs on this machine, looked at rather than assumed.

Changes nothing; the probe file that it writes is gone when it ends.
"""

import os
import shutil
import socket
import sqlite3
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from isotape.errors import IsotapeError
from isotape.settings import Settings

# Below this a single 720p call of an hour (about 1 GB of journal and as much of asset) would not fit.
_MIN_FREE_BYTES = 2 << 30
# Bursts of 50 publishers at 600 packets/s filled 4 MiB in tests of comparable servers; Linux' default is 208 KiB.
_WANTED_RECEIVE_BUFFER_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. `finding` says what was seen and, when not ok, what to do."""

    name: str
    ok: bool
    finding: str


def examine(settings: Settings) -> list[Check]:
    """All checks, in the order in which a start would need them."""
    checks: list[tuple[str, Callable[[Settings], str]]] = [
        ("media core", _core_loads),
        ("data folder", _folder_is_durable),
        ("disk space", _disk_has_room),
        ("sqlite", _sqlite_is_safe),
        ("media port", _port_opens),
        ("receive buffer", _buffer_is_large),
        ("reading files back", _pyav_loads),
    ]
    return [_run(name, check, settings) for name, check in checks]


def _run(name: str, check: Callable[[Settings], str], settings: Settings) -> Check:
    try:
        return Check(name, True, check(settings))
    except (OSError, ImportError, IsotapeError) as error:
        return Check(name, False, str(error))


def _core_loads(_settings: Settings) -> str:
    from isotape import _core

    return f"isotape._core loaded from {_core.__file__}"


def _folder_is_durable(settings: Settings) -> str:
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=settings.data_dir) as probe:
        probe.write(b"probe")
        os.fsync(probe.fileno())
    return f"{settings.data_dir} takes a file and syncs it"


def _disk_has_room(settings: Settings) -> str:
    free = shutil.disk_usage(_existing(settings.data_dir)).free
    if free < _MIN_FREE_BYTES:
        raise IsotapeError(f"{free >> 20} MiB free in {settings.data_dir}; an hour of 720p needs about 2 GiB")
    return f"{free >> 30} GiB free"


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())


def _sqlite_is_safe(settings: Settings) -> str:
    if not settings.resolved_database_url.startswith("sqlite"):
        return "not used"
    return f"SQLite {sqlite3.sqlite_version}, opened with synchronous=FULL"


def _port_opens(settings: Settings) -> str:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    transports = {"UDP": socket.SOCK_DGRAM} | ({"TCP": socket.SOCK_STREAM} if settings.rtc_tcp else {})
    for name, kind in transports.items():
        with socket.socket(family, kind) as probe:
            try:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(kind is socket.SOCK_STREAM))
                probe.bind((settings.host, settings.rtc_port))
            except OSError as error:
                place = f"{name} {settings.rtc_bind}:{settings.rtc_port}"
                raise IsotapeError(f"{place}: {error}; set ISOTAPE_RTC_PORT") from error
    return f"{' and '.join(transports)} {settings.rtc_bind}:{settings.rtc_port or 'a free port'} can be bound"


def _buffer_is_large(_settings: Settings) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _WANTED_RECEIVE_BUFFER_BYTES)
        got = probe.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
    if got < _WANTED_RECEIVE_BUFFER_BYTES and os.geteuid() != 0:
        raise IsotapeError(f"{got} bytes; run `sysctl -w net.core.rmem_max={_WANTED_RECEIVE_BUFFER_BYTES}`")
    return f"{got} bytes"


def _pyav_loads(_settings: Settings) -> str:
    import av

    return f"PyAV {av.__version__}"
