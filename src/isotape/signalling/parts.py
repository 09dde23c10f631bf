"""What signalling/ works with: given once by the composition root."""

from dataclasses import dataclass

from isotape.auth.credentials import Credentials
from isotape.clock import Clock
from isotape.db.engine import Database
from isotape.engine import Engine
from isotape.rooms import Rooms
from isotape.signalling.fanout import Fanout


@dataclass(frozen=True, slots=True)
class SignallingParts:
    """public_url: under which browsers reach this node; empty: as the request itself was addressed."""

    database: Database
    engine: Engine
    rooms: Rooms
    fanout: Fanout
    credentials: Credentials
    clock: Clock
    public_url: str = ""
