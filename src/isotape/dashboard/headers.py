"""The security headers of our pages: which hosts a page may talk to, and that nobody may frame it. Pure.

The join page's `connect-src` is also what keeps the client SDK's telemetry, which carries room tokens, off the wire.
"""

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

# What may stand in a Host header and therefore in a policy; anything else could end the directive and start another.
_HOST = re.compile(r"[A-Za-z0-9.\-\[\]:]{1,255}\Z")

_COMMON = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
# Pico draws the arrows of its form fields as data: pictures.
_POLICY = "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"


def dashboard_headers() -> Mapping[str, str]:
    return {
        **_COMMON,
        "Content-Security-Policy": _POLICY,
        "Permissions-Policy": "camera=(), microphone=(), display-capture=()",
    }


def join_headers(host: str, public_url: str) -> Mapping[str, str]:
    """The policy of the join page: sockets to this node only, under the name the browser used or the public one."""
    hosts = [name for name in dict.fromkeys((host, urlsplit(public_url).netloc)) if _HOST.match(name)]
    sockets = " ".join(f"ws://{name} wss://{name}" for name in hosts)
    policy = f"{_POLICY}; connect-src 'self' {sockets}; worker-src 'self' blob:; media-src 'self' blob:"
    return {
        **_COMMON,
        "Content-Security-Policy": policy,
        "Permissions-Policy": "camera=(self), microphone=(self), display-capture=(self), autoplay=(self)",
    }
