"""Datagrams that no honest peer sends, from a stranger's address or in the name of another one's.

Each kind is what an attacker of a media port tries: noise, STUN that proves nothing, DTLS that would end the connection if anybody believed
it, RTP and RTCP without a valid tag.
"""

import asyncio
import random
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

_LOOPBACK = socket.inet_aton("127.0.0.1")
# RFC 8489: binding request, magic cookie, USERNAME, MESSAGE-INTEGRITY.
_STUN_BINDING, _STUN_COOKIE, _STUN_USERNAME, _STUN_INTEGRITY = 0x0001, 0x2112A442, 0x0006, 0x0008
# RFC 6347: alert, handshake; DTLS 1.2.
_DTLS_ALERT, _DTLS_HANDSHAKE, _DTLS_12 = 21, 22, b"\xfe\xfd"
# RFC 3550: goodbye.
_RTCP_BYE = 203
# So many, then a breath: the test is about what they say, not about how fast a socket overflows.
_AT_ONCE, _BREATH_S = 40, 0.02


def hostile(seed: int, count: int, ssrcs: list[int]) -> Iterator[bytes]:
    """`count` datagrams of every kind in turn; `ssrcs` are those of the peer under attack."""
    dice = random.Random(seed)
    kinds = (_noise, _huge, _stun, _alert, _client_hello, _rtp, _bye)
    for number in range(count):
        yield kinds[number % len(kinds)](dice, dice.choice(ssrcs))


def _noise(dice: random.Random, _ssrc: int) -> bytes:
    return dice.randbytes(dice.choice((0, 1, 11, 12, 13, 60, 1200, 1500)))


def _huge(dice: random.Random, _ssrc: int) -> bytes:
    return bytes([dice.choice((0, 20, 22, 128, 255))]) + dice.randbytes(dice.choice((1501, 9000, 60_000)))


def _stun(dice: random.Random, _ssrc: int) -> bytes:
    name = dice.randbytes(8).hex().encode()
    attributes = struct.pack("!HH", _STUN_USERNAME, len(name)) + name
    attributes += struct.pack("!HH", _STUN_INTEGRITY, 20) + dice.randbytes(20)
    return struct.pack("!HHI", _STUN_BINDING, len(attributes), _STUN_COOKIE) + dice.randbytes(12) + attributes


def _alert(dice: random.Random, _ssrc: int) -> bytes:
    # close_notify, or a fatal handshake failure: both end a connection when they are genuine.
    return _dtls_record(_DTLS_ALERT, dice.choice((b"\x01\x00", b"\x02\x28")), dice)


def _client_hello(dice: random.Random, _ssrc: int) -> bytes:
    """The race of 2023: a hello that only offers the NULL cipher."""
    body = _DTLS_12 + dice.randbytes(32) + b"\x00\x00" + b"\x00\x02\x00\x00" + b"\x01\x00"
    header = b"\x01" + len(body).to_bytes(3) + b"\x00\x00" + bytes(3) + len(body).to_bytes(3)
    return _dtls_record(_DTLS_HANDSHAKE, header + body, dice)


def _dtls_record(kind: int, body: bytes, dice: random.Random) -> bytes:
    return bytes([kind]) + _DTLS_12 + b"\x00\x00" + dice.randbytes(6) + len(body).to_bytes(2) + body


def _rtp(dice: random.Random, ssrc: int) -> bytes:
    first = 0x80 | dice.choice((0, 0x10, 0x20, 0x0F))
    header = struct.pack(
        "!BBHII", first, dice.choice((96, 111, 127)), dice.randrange(1 << 16), dice.randrange(1 << 32), ssrc
    )
    return header + dice.randbytes(dice.randrange(1000))


def _bye(dice: random.Random, ssrc: int) -> bytes:
    return struct.pack("!BBHI", 0x81, _RTCP_BYE, 1, ssrc) + dice.randbytes(14)


async def send_from_a_stranger(port: int, datagrams: Iterator[bytes]) -> None:
    """From an address that the server has never seen."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for number, datagram in enumerate(datagrams):
            stranger.sendto(datagram, ("127.0.0.1", port))
            if number % _AT_ONCE == 0:
                await asyncio.sleep(_BREATH_S)


async def send_in_the_name_of(ports: list[int], port: int, datagrams: Iterator[bytes]) -> None:
    """With the peer's own address as the sender's. PermissionError where a test may not open a raw socket."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as forger:
        for number, datagram in enumerate(datagrams):
            forger.sendto(_packet(ports[number % len(ports)], port, datagram), ("127.0.0.1", 0))
            if number % _AT_ONCE == 0:
                await asyncio.sleep(_BREATH_S)


def _packet(source: int, target: int, datagram: bytes) -> bytes:
    """IPv4 and UDP headers; the kernel fills in IP's checksum, and UDP's may be 0."""
    udp = struct.pack("!HHHH", source, target, 8 + len(datagram), 0) + datagram
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, socket.IPPROTO_UDP, 0)
    return header + _LOOPBACK + _LOOPBACK + udp


def udp_ports(pid: int) -> list[int]:
    """The UDP ports that a process holds."""
    links = (str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir())
    sockets = {link.removeprefix("socket:[").removesuffix("]") for link in links if link.startswith("socket:[")}
    rows = [line.split() for line in Path("/proc/net/udp").read_text().splitlines()[1:]]
    return [int(row[1].partition(":")[2], 16) for row in rows if row[9] in sockets]
