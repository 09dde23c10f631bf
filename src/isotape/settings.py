"""Every knob of isotape, with its unit, its default and the reason for it.

Read once at start from `ISOTAPE_*` in the environment; the composition root passes values on, nothing else reads the environment.
"""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

VIDEO_CODECS = ("H264", "VP9", "AV1", "VP8")


class Settings(BaseSettings):
    """The settings of one node. `ISOTAPE_DATA_DIR` sets `data_dir`, and so on."""

    model_config = SettingsConfigDict(env_prefix="ISOTAPE_", extra="ignore", frozen=True)

    host: str = Field("127.0.0.1", description="Address of the HTTP listener. Loopback until you choose otherwise.")
    port: int = Field(8080, ge=0, le=65535, description="Port of the HTTP listener; 0 takes a free one.")
    public_url: str = Field("", description="URL under which browsers reach this node; empty: http://host:port.")
    data_dir: Path = Field(Path("isotape-data"), description="Folder of journals, assets, database and credentials.")

    access_key: str = Field("", description="App access key; empty: made at first start, kept in credentials.json.")
    app_secret: SecretStr = Field(SecretStr(""), description="App secret (HS256 key); empty: made at first start.")

    rtc_ip: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Addresses announced to browsers for media; empty: `host`, which must then be real."
    )
    rtc_port: int = Field(0, ge=0, le=65535, description="Port of all media, UDP and TCP; 0 takes a free one.")
    rtc_tcp: bool = Field(True, description="Whether media may come over TCP, where a network lets no UDP through.")
    video_codecs: Annotated[tuple[str, ...], NoDecode] = Field(
        VIDEO_CODECS, description="Order of preference in the SDP answer. H264 first: most assets are then MP4."
    )

    database_url: str = Field("", description="SQLAlchemy URL; empty: SQLite in the data folder.")
    storage_url: str = Field("", description="Where assets are kept; empty: file:// of the data folder's assets/.")

    webhook_url: str = Field("", description="Endpoint of all events of the workspace; empty: none.")
    webhook_secret: SecretStr = Field(SecretStr(""), description="Key of x-100ms-signature; empty: the app secret.")
    webhook_allow: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Private addresses or networks (CIDR) that webhooks may reach, comma separated."
    )

    journal_sync_ms: int = Field(
        250, ge=10, le=5_000, description="Group sync of all journals; bounds what a power cut takes."
    )
    peer_grace_s: float = Field(60.0, ge=0, description="How long a lost peer may come back; the SDK tries for 60 s.")
    journal_retention_h: float = Field(24.0, ge=0, description="Journals stay this long after their asset is verified.")
    drain_s: float = Field(
        20.0, ge=0, description="How long a stop waits for jobs before handing them to the next start."
    )
    log_format: str = Field("text", pattern="^(text|json)$", description="Shape of log lines on stderr.")

    @field_validator("rtc_ip", "video_codecs", "webhook_allow", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """Comma-separated text, as an environment variable holds it, becomes a tuple."""
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("video_codecs")
    @classmethod
    def _known_codecs(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [codec for codec in value if codec not in VIDEO_CODECS]
        if unknown or not value:
            raise ValueError(f"video codecs {unknown or 'missing'}: choose from {', '.join(VIDEO_CODECS)}")
        return value

    @field_validator("rtc_ip")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for address in value:
            ip_address(address)
        return value

    @model_validator(mode="after")
    def _announceable(self) -> Self:
        if not self.rtc_ip and self.host in ("0.0.0.0", "::"):  # noqa: S104  compared, not bound
            raise ValueError(f"host {self.host} is no address that browsers can send media to: set ISOTAPE_RTC_IP")
        return self

    @property
    def journal_root(self) -> Path:
        return self.data_dir / "journals"

    @property
    def resolved_database_url(self) -> str:
        return self.database_url or f"sqlite+aiosqlite:///{self.data_dir / 'isotape.db'}"

    @property
    def rtc_bind(self) -> str:
        """The media socket listens where HTTP does; an IPv6 address stands in brackets."""
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def rtc_announce(self) -> tuple[str, ...]:
        """The addresses that browsers send media to, without brackets."""
        return self.rtc_ip or (self.host,)

    @property
    def storage_folder(self) -> Path:
        """The folder of a file:// storage URL."""
        return Path(self.resolved_storage_url.removeprefix("file://"))

    @property
    def resolved_storage_url(self) -> str:
        return self.storage_url or f"file://{(self.data_dir / 'assets').absolute()}"
