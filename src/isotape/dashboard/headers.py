"""The security headers of our pages: which hosts a page may talk to, and that nobody may frame it. Pure.

The `connect-src` of the join pages is also what keeps the client SDK's telemetry, which carries room tokens, off the wire.
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
_DEVICES = "camera=(self), microphone=(self), display-capture=(self), autoplay=(self)"
# The style elements that the locked Prebuilt UI adds by itself, by the hash that Chromium names when it refuses them: an empty one that its
# library fills by script, what keeps the page still behind a dialog, and the emoji picker's two.
_PREBUILT_STYLES = (
    "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='",
    "'sha256-nzTgYzXYDNe6BAHiiI7NNlfK8n/auuOAhh2t92YvuXo='",
    "'sha256-+A14ONesVdzkn6nr37Osn+rUqNz4oFGZFDbLXrlae04='",
    "'sha256-+lj04bSFuh8mcy7aLpf0z5C5b7izcwt61QYv/lgVMRg='",
)


def dashboard_headers() -> Mapping[str, str]:
    return {
        **_COMMON,
        "Content-Security-Policy": _POLICY,
        "Permissions-Policy": "camera=(), microphone=(), display-capture=()",
    }


def join_headers(host: str, public_url: str) -> Mapping[str, str]:
    """The policy of the join page: sockets to this node only, under the name the browser used or the public one."""
    return {
        **_COMMON,
        "Content-Security-Policy": _call_policy(host, public_url),
        "Permissions-Policy": _DEVICES,
    }


def prebuilt_headers(host: str, public_url: str) -> Mapping[str, str]:
    """The policy of the Prebuilt page: that of the join page, and the inline styles of its UI."""
    policy = f"{_call_policy(host, public_url)}; style-src 'self' {' '.join(_PREBUILT_STYLES)}"
    return {**_COMMON, "Content-Security-Policy": policy, "Permissions-Policy": _DEVICES}


def _call_policy(host: str, public_url: str) -> str:
    hosts = [name for name in dict.fromkeys((host, urlsplit(public_url).netloc)) if _HOST.match(name)]
    sockets = " ".join(f"ws://{name} wss://{name}" for name in hosts)
    return f"{_POLICY}; connect-src 'self' {sockets}; worker-src 'self' blob:; media-src 'self' blob:"
