"""Every table and column. Times are stored as whole milliseconds since the Unix epoch and read as aware UTC datetimes."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

from isotape.clock import from_millis, to_millis

# Named constraints, so that a migration can find them on SQLite too.
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcMillis(TypeDecorator[datetime]):
    """A moment: an integer in the database, an aware UTC datetime in Python."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else to_millis(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        return None if value is None else from_millis(value)


def _id(**options: Any) -> Column[str]:
    return Column("id", String(36), primary_key=True, **options)


def _moment(name: str, *, nullable: bool = False) -> Column[datetime]:
    return Column(name, UtcMillis, nullable=nullable)


workspaces = Table(
    "workspaces",
    metadata,
    _id(),
    Column("app_id", String(24), nullable=False),
    Column("name", Text, nullable=False),
    Column("access_key", String(64), nullable=False, unique=True),
    _moment("created_at"),
)

users = Table(
    "users",
    metadata,
    _id(),
    Column("name", String(64), nullable=False, unique=True),
    Column("password_hash", Text, nullable=False),
    _moment("created_at"),
)

# A logged-in browser; `id` is the SHA-256 of the cookie's secret, so that a read of the database opens no door.
logins = Table(
    "logins",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("csrf_token", String(64), nullable=False),
    _moment("created_at"),
    _moment("expires_at"),
)

templates = Table(
    "templates",
    metadata,
    _id(),
    Column("workspace_id", ForeignKey("workspaces.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("roles", JSON, nullable=False),
    Column("settings", JSON, nullable=False),
    Column("destinations", JSON, nullable=False),
    Column("plugins", JSON, nullable=False),
    Column("recordings", JSON, nullable=False),
    _moment("created_at"),
    _moment("updated_at"),
    UniqueConstraint("workspace_id", "name"),
)

rooms = Table(
    "rooms",
    metadata,
    _id(),
    Column("workspace_id", ForeignKey("workspaces.id"), nullable=False),
    Column("template_id", ForeignKey("templates.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False, default=""),
    Column("enabled", Boolean, nullable=False, default=True),
    Column("options", JSON, nullable=False),
    _moment("created_at"),
    _moment("updated_at"),
    UniqueConstraint("workspace_id", "name"),
)

room_codes = Table(
    "room_codes",
    metadata,
    Column("code", String(16), primary_key=True),
    Column("room_id", ForeignKey("rooms.id"), nullable=False),
    Column("role", Text, nullable=False),
    Column("enabled", Boolean, nullable=False, default=True),
    _moment("created_at"),
    _moment("updated_at"),
    UniqueConstraint("room_id", "role"),
)

sessions = Table(
    "sessions",
    metadata,
    _id(),
    Column("workspace_id", ForeignKey("workspaces.id"), nullable=False),
    Column("room_id", ForeignKey("rooms.id"), nullable=False),
    Column("template_id", ForeignKey("templates.id"), nullable=False),
    Column("job_id", String(24), nullable=False),
    Column("state", String(16), nullable=False),
    Column("recording", JSON, nullable=False),
    _moment("created_at"),
    _moment("ended_at", nullable=True),
    _moment("updated_at"),
    Index(None, "workspace_id", "room_id"),
    Index(None, "state"),
)

# Whoever opens a room's second Session loses, and joins the first.
one_open_session = Index(
    "uq_sessions_room_id_open",
    sessions.c.room_id,
    unique=True,
    sqlite_where=sessions.c.state == "open",
    postgresql_where=sessions.c.state == "open",
)

# `token_id` (the jti of the token that joined) and `user_id` bind a client-made peer id to its first owner.
peers = Table(
    "peers",
    metadata,
    Column("session_id", ForeignKey("sessions.id"), primary_key=True),
    Column("id", String(64), primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("metadata", Text, nullable=False, default=""),
    Column("token_id", Text, nullable=False, default=""),
    Column("state", String(16), nullable=False),
    Column("leave_reason", Text, nullable=False, default=""),
    _moment("joined_at"),
    _moment("left_at", nullable=True),
    Index(None, "id"),
)

assets = Table(
    "assets",
    metadata,
    _id(),
    Column("workspace_id", ForeignKey("workspaces.id"), nullable=False),
    Column("room_id", ForeignKey("rooms.id"), nullable=False),
    Column("session_id", ForeignKey("sessions.id"), nullable=False),
    Column("job_id", String(24), nullable=False),
    Column("peer_id", String(64), nullable=False),
    Column("user_id", Text, nullable=False),
    Column("stream_id", Text, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("part", Integer, nullable=False, default=1),
    Column("state", String(16), nullable=False),
    Column("path", Text, nullable=False, default=""),
    Column("size_bytes", BigInteger, nullable=False, default=0),
    Column("duration_ms", BigInteger, nullable=False, default=0),
    Column("sha256", String(64), nullable=False, default=""),
    Column("error", Text, nullable=False, default=""),
    Column("metadata", JSON, nullable=False),
    _moment("created_at"),
    _moment("completed_at", nullable=True),
    _moment("updated_at"),
    Index(None, "session_id"),
    Index(None, "workspace_id", "id"),
    Index(None, "path"),
    Index(None, "state"),
)

journals = Table(
    "journals",
    metadata,
    _id(),
    Column("session_id", ForeignKey("sessions.id"), nullable=False),
    Column("peer_id", String(64), nullable=False),
    Column("asset_id", ForeignKey("assets.id"), nullable=False),
    Column("track_id", Text, nullable=False),
    Column("stream_id", Text, nullable=False),
    Column("kind", String(8), nullable=False),
    Column("source", Text, nullable=False),
    Column("folder", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("packets", BigInteger, nullable=False, default=0),
    Column("size_bytes", BigInteger, nullable=False, default=0),
    _moment("opened_at"),
    _moment("sealed_at", nullable=True),
    Index(None, "asset_id"),
    Index(None, "state"),
)

# A fact that was committed with the change it reports. `body` is the webhook's JSON text, kept to the byte for its signature.
events = Table(
    "events",
    metadata,
    Column("sequence", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("id", String(36), nullable=False, unique=True),
    Column("workspace_id", ForeignKey("workspaces.id"), nullable=False),
    Column("type", String(64), nullable=False),
    Column("room_id", String(24), nullable=False),
    Column("session_id", String(24), nullable=False),
    Column("body", Text, nullable=False),
    _moment("created_at"),
    Index(None, "session_id"),
)

# One event on its way to one endpoint; `attempts` counts tries, the last answer is kept for the dashboard.
deliveries = Table(
    "deliveries",
    metadata,
    _id(),
    Column("event_id", ForeignKey("events.id"), nullable=False),
    Column("url", Text, nullable=False),
    Column("state", String(16), nullable=False),  # pending, delivered, failed
    Column("attempts", Integer, nullable=False, default=0),
    Column("last_status", Integer, nullable=True),
    Column("last_error", Text, nullable=False, default=""),
    _moment("next_attempt_at", nullable=True),
    _moment("delivered_at", nullable=True),
    _moment("created_at"),
    Index(None, "event_id"),
    Index(None, "state"),
)
