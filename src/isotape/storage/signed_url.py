"""Signed URLs of files on this node: whoever holds one may download that one file until it expires.

Before it: LocalStorage.sign. After it: api/files.py, which checks what `sign` wrote. The key is derived from the app secret, so
a leaked URL key could not sign tokens; the signature covers method, file and expiry, and is compared in constant time.
"""

import hashlib
import hmac
from datetime import timedelta
from urllib.parse import quote, urlencode

from isotape.clock import Clock
from isotape.errors import Forbidden

# Named in the derivation: a changed scheme gets a changed name, and every old URL dies with it.
_PURPOSE = b"isotape signed file url 1"
_REFUSAL = "signed url: not valid or expired; ask for a new one"


class UrlSigner:
    """Makes and checks the URLs of one node. `public_url` is the node as browsers reach it."""

    def __init__(self, app_secret: str, public_url: str, clock: Clock) -> None:
        self._key = hmac.new(app_secret.encode(), _PURPOSE, hashlib.sha256).digest()
        self._public_url = public_url.rstrip("/")
        self._clock = clock

    def sign(self, key: str, valid_for: timedelta) -> str:
        """The URL that downloads the file of that storage key until `valid_for` is over."""
        expires = int((self._clock.now() + valid_for).timestamp())
        query = urlencode({"expires": expires, "signature": self._signature(key, str(expires))})
        return f"{self._public_url}/files/{quote(key)}?{query}"

    def check(self, key: str, expires: str, signature: str) -> None:
        """Raises Forbidden, with one message for every reason, unless the URL was made here and still holds."""
        expected = self._signature(key, expires)
        genuine = hmac.compare_digest(expected.encode(), signature.encode("utf-8", "surrogateescape"))
        # A genuine signature means that `expires` is ours and so a number.
        if not genuine or int(expires) <= self._clock.now().timestamp():
            raise Forbidden(_REFUSAL)

    def _signature(self, key: str, expires: str) -> str:
        message = f"GET\n{key}\n{expires}".encode("utf-8", "surrogateescape")
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()
