"""The two signatures of a webhook, over exactly the bytes that are sent.

`x-100ms-signature` is what receivers written for 100ms check; the three `webhook-*` headers are Standard Webhooks 1.0, which
also binds the id and the time, so that a receiver can refuse a replay. A receiver needs one of them.
"""

import base64
import hashlib
import hmac
from datetime import datetime

from standardwebhooks.webhooks import Webhook

# Standard Webhooks hands secrets around as base64 behind this prefix.
_STANDARD_PREFIX = "whsec_"


class Signer:
    """Signs with the workspace's webhook secret. Behind `whsec_` Standard Webhooks takes base64; 100ms takes the text."""

    def __init__(self, secret: str) -> None:
        self._key = secret.encode()
        self._standard = Webhook(secret if secret.startswith(_STANDARD_PREFIX) else self._key)

    def headers(self, event_id: str, now: datetime, body: bytes) -> dict[str, str]:
        """The headers that prove `body`. The id is the same at every try, the time is that of this try."""
        return {
            "x-100ms-signature": hmac.new(self._key, body, hashlib.sha256).hexdigest(),
            "webhook-id": event_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._standard.sign(event_id, now, body.decode()),
        }


def standard_secret(secret: str) -> str:
    """The secret in the form that Standard Webhooks libraries take."""
    return (
        secret if secret.startswith(_STANDARD_PREFIX) else _STANDARD_PREFIX + base64.b64encode(secret.encode()).decode()
    )
