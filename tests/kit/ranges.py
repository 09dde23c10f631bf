"""A folder over HTTP with byte ranges, as the signed URLs of the API serve files. Browsers seek by them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_KINDS = {".mp4": "video/mp4", ".webm": "video/webm"}


class RangeHandler(SimpleHTTPRequestHandler):
    """Serves a folder, with single byte ranges."""

    def do_GET(self) -> None:
        """Answers 206 to a range, and 200 with an empty page to anything that is no file."""
        path = Path(self.translate_path(self.path))
        data = path.read_bytes() if path.is_file() else b"<!doctype html><body>"
        first, last = 0, len(data) - 1
        wanted = self.headers.get("Range", "")
        if wanted:
            begin, _, end = wanted.removeprefix("bytes=").partition("-")
            first, last = int(begin), min(int(end or last), last)
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Type", _KINDS.get(path.suffix, "text/html"))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.send_header("Content-Length", str(last + 1 - first))
        self.end_headers()
        try:
            self.wfile.write(data[first : last + 1])
        except ConnectionError:
            self.close_connection = True  # the player has enough

    def log_message(self, *_: object) -> None:
        """Nothing; a test says what failed."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The URL of a server of that folder."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(RangeHandler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
