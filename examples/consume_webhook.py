"""A receiver of isotape's webhooks, with nothing but the standard library: checks both signatures and prints what was recorded.

    WEBHOOK_SECRET=secret python3 consume_webhook.py 9000
    ISOTAPE_WEBHOOK_URL=http://127.0.0.1:9000/ ISOTAPE_WEBHOOK_SECRET=secret ISOTAPE_WEBHOOK_ALLOW=127.0.0.1 isotape serve

One signature would do; a receiver that was written for 100ms checks the first.
"""

import base64
import hashlib
import hmac
import json
import os
import sys
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer

MAX_BODY_BYTES = 1 << 20
# A captured request must not count for ever.
MAX_AGE_S = 300

seen: set[str] = set()


def is_signed(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether both signatures belong to these bytes. `headers` finds names in any capitals."""
    key = secret.encode()
    expected = hmac.new(key, body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, headers.get("x-100ms-signature", "")):
        return False

    event_id, sent_at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not sent_at.isdecimal() or abs(time.time() - int(sent_at)) > MAX_AGE_S:
        return False
    if secret.startswith("whsec_"):
        key = base64.b64decode(secret.removeprefix("whsec_") + "==")
    digest = hmac.new(key, f"{event_id}.{sent_at}.".encode() + body, hashlib.sha256).digest()
    expected = "v1," + base64.b64encode(digest).decode()
    # More than one signature stands here while a secret is being changed.
    return any(hmac.compare_digest(expected, given) for given in headers.get("webhook-signature", "").split())


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        length = int(self.headers.get("content-length", "0"))
        if length > MAX_BODY_BYTES:
            self.send_error(413)
            return
        body = self.rfile.read(length)
        if not is_signed(os.environ["WEBHOOK_SECRET"], self.headers, body):
            self.send_error(401)
            return
        event = json.loads(body)
        # Told at least once: the id says whether this is a repeat.
        if event["id"] not in seen:
            seen.add(event["id"])
            consume(event)
        # Acknowledged only now: had we died before, the event would come again.
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        """Nothing a request: the query of a URL may hold secrets."""


def consume(event: dict) -> None:
    data = event["data"]
    print(event["type"], data.get("stream_type", ""), data.get("recording_presigned_url", ""), flush=True)


if __name__ == "__main__":
    server = HTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver)
    print(f"listening on {server.server_port}", flush=True)
    server.serve_forever()
