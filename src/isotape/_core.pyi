"""What the Rust module offers: the engine, and the way from a journal to a file. Checked by stubtest.

Arrays cross as bytes of packed NumPy rows; the dtypes stand in `crates/mux` and in `isotape.assets`.
"""

from typing import final

__all__ = ["Engine", "JournalIndex", "black_key_frame", "depacketise", "index_journal", "recover_journal", "render"]

@final
class Engine:
    """The media engine: one port (UDP, and TCP unless turned off) and two threads, from construction to `close`.

    Commands and events are JSON objects (crates/worker/src/command.rs, docs of each variant). A command is answered by an event
    `{"event": "reply", "request": N, "ok": {...}}` or with `"error": {"code": int, "message": str}`.
    """

    def __new__(cls, config_json: str) -> Engine:
        """ValueError for a wrong config, OSError when the socket cannot be had."""

    @property
    def port(self) -> int:
        """The UDP port of the media socket."""

    def fileno(self) -> int:
        """A descriptor that is readable while events wait."""

    def poll(self) -> list[str]:
        """Takes all waiting events, each a JSON object."""

    def command(self, json: str) -> None:
        """Queues a command. ValueError when it is malformed, RuntimeError when the queue is full or the engine closed."""

    def metrics(self) -> dict[str, int]:
        """Counters and gauges by name; the shard's are up to 0.2 s old."""

    def close(self) -> None:
        """Stops both threads; what was received is durable on return. Journals that were not sealed are left to recovery."""

@final
class JournalIndex:
    """Everything that a journal holds, without the media."""

    @property
    def files(self) -> list[str]: ...
    @property
    def header(self) -> str: ...
    @property
    def packets(self) -> bytes: ...
    @property
    def notes(self) -> list[tuple[int, str, str]]: ...
    @property
    def sealed(self) -> bool: ...
    @property
    def torn_bytes(self) -> int: ...

def index_journal(folder: str) -> JournalIndex:
    """Reads a journal folder."""

def recover_journal(folder: str) -> str:
    """Cuts the torn tail off a journal and seals it; gives JSON {"torn_bytes", "records", "sealed_before"}."""

def render(
    out_path: str,
    container: str,
    files: list[str],
    video: tuple[str, bytes, bytes] | None,
    audio: tuple[int, bytes, bytes] | None,
    literals: bytes,
) -> str:
    """Makes a new file from a plan; gives the report as JSON."""

def black_key_frame(codec: str, key_frame: bytes) -> bytes | None:
    """A black key frame that fits the stream of `key_frame`; None when none can be drawn."""

def depacketise(codec: str, files: list[str], packets: bytes) -> bytes:
    """One frame's bytes (H264 as Annex B)."""
