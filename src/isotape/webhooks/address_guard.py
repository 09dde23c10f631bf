"""Where a webhook may go: a URL is resolved once, every address is checked, and the connection goes to a checked address.

Without this, whoever can set an endpoint could make the server talk to its own network (SSRF): to a database beside it, or to a
cloud's metadata address. A name that answers differently the second time (DNS rebinding) gains nothing, because there is no
second time.

The tables are our own: Python 3.11's `is_global` calls 64:ff9b::7f00:1, ::127.0.0.1, 2002:7f00:1:: and 224.0.0.1 global.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import SplitResult, urlsplit

from isotape.errors import Forbidden, Unavailable

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

# IANA IPv4 special-purpose registry, multicast and the reserved class E.
_DENIED_V4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
# Of IPv6 only global unicast is allowed (RFC 4291 section 2.5.4), less the special-purpose blocks in it: Teredo, ORCHID and their
# neighbours, documentation, 6to4, SRv6.
_GLOBAL_V6 = IPv6Network("2000::/3")
_DENIED_V6 = tuple(IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
# The last 32 bits of these are an IPv4 address, which is what the packet reaches: IPv4-mapped, and NAT64 (RFC 6052).
_EMBEDS_V4 = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))
# The ports that webhooks of strangers may use; an allowed network may be reached on any port.
_PORTS = (443, 8443)
# A name with hundreds of addresses is no webhook endpoint; the first few are enough to get around a dead one.
_MAX_ADDRESSES = 8


@dataclass(frozen=True, slots=True)
class Target:
    """A checked endpoint. Connect to one of `addresses`; `host` is what TLS and the Host header name."""

    scheme: str
    host: str
    port: int
    addresses: tuple[str, ...]


class AddressGuard:
    """Checks endpoints. `allow` lists addresses and networks that may be reached although they are private, and over http."""

    def __init__(self, allow: Iterable[str], resolve: Resolve | None = None) -> None:
        self._allow = tuple(ip_network(text) for text in allow)
        self._resolve = resolve or _resolve

    async def check(self, url: str) -> Target:
        """The endpoint's addresses. Forbidden when it must not be reached; Unavailable when its name does not resolve now."""
        parts = urlsplit(url)
        host, port = _host_and_port(url, parts)
        addresses = [ip_address(text.partition("%")[0]) for text in await self._resolve(host, port)]
        if not addresses:
            raise Unavailable(f"webhook host {host}: has no address")
        inside = all(self._is_allowed(address) for address in addresses)
        if not inside:
            self._check_public(host, addresses)
            if parts.scheme != "https" or port not in _PORTS:
                raise Forbidden(
                    f"webhook {parts.scheme}://{host}:{port}: only https on port 443 or 8443 leaves this node"
                )
        return Target(parts.scheme, host, port, tuple(str(address) for address in addresses[:_MAX_ADDRESSES]))

    def _check_public(self, host: str, addresses: Sequence[Address]) -> None:
        for address in addresses:
            if not self._is_allowed(address) and not is_public(address):
                raise Forbidden(f"webhook host {host}: {address} is not public; name it in ISOTAPE_WEBHOOK_ALLOW")

    def _is_allowed(self, address: Address) -> bool:
        reached = _reached(address)
        return any(reached in network for network in self._allow if network.version == reached.version)


def is_public(address: Address) -> bool:
    """Whether packets to that address reach the public internet and nothing else."""
    reached = _reached(address)
    if isinstance(reached, IPv4Address):
        return not any(reached in network for network in _DENIED_V4)
    return reached in _GLOBAL_V6 and not any(reached in network for network in _DENIED_V6)


def _reached(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, or the address itself."""
    if isinstance(address, IPv6Address) and any(address in network for network in _EMBEDS_V4):
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def _host_and_port(url: str, parts: SplitResult) -> tuple[str, int]:
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Forbidden(f"webhook {parts.scheme}:…: not an http or https URL with a host")
    if parts.username is not None or parts.password is not None:
        raise Forbidden(f"webhook host {parts.hostname}: a URL with a user name is refused")
    try:
        port = parts.port
    except ValueError as error:
        raise Forbidden(f"webhook host {parts.hostname}: not a port") from error
    return _ascii(parts.hostname), port or (443 if parts.scheme == "https" else 80)


def _ascii(host: str) -> str:
    """The name as DNS, TLS and the Host header spell it."""
    try:
        return host if host.isascii() else host.encode("idna").decode()
    except UnicodeError as error:
        raise Forbidden(f"webhook host {host}: not a host name") from error


async def _resolve(host: str, port: int) -> Sequence[str]:
    """The system's resolver, which also reads spellings such as `0x7f.1`."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unavailable(f"webhook host {host}: does not resolve ({error})") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
