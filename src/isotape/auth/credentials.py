"""The access key and the app secret of this server: given by settings, or made once and kept in the data folder.

The secret signs every token, so its file is readable by its owner alone and is never logged.
"""

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from isotape.errors import IsotapeError
from isotape.ids import new_object_id

# HS256 wants a key of at least its output's size (RFC 7518 section 3.2).
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a 100ms SDK is configured with. workspace_id and app_id are the `account_id` and `app_id` of events."""

    access_key: str
    app_secret: str
    workspace_id: str
    app_id: str


def load_or_make(file: Path, access_key: str = "", app_secret: str = "") -> Credentials:
    """Reads `file`, making it first when it is missing; a given key or secret wins over the stored one.

    Raises IsotapeError when the file is there and cannot be understood: a new secret would void every token in use.
    """
    stored = _read(file) if file.exists() else _make(file)
    return Credentials(
        access_key=access_key or stored.access_key,
        app_secret=app_secret or stored.app_secret,
        workspace_id=stored.workspace_id,
        app_id=stored.app_id,
    )


def _read(file: Path) -> Credentials:
    try:
        return Credentials(**json.loads(file.read_text()))
    except (ValueError, TypeError) as error:
        raise IsotapeError(f"credentials {file}: not readable ({error}); restore it or move it away") from error


def _make(file: Path) -> Credentials:
    made = Credentials(secrets.token_hex(12), secrets.token_urlsafe(_SECRET_BYTES), new_object_id(), new_object_id())
    file.parent.mkdir(parents=True, exist_ok=True)
    # Created with its final mode, so that there is no instant at which others could read it.
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as handle:
        json.dump({name: getattr(made, name) for name in made.__dataclass_fields__}, handle, indent=2)
        handle.flush()
        os.fsync(handle.fileno())
    return made
