"""From encoded frames to RTP packets, as browsers cut them; the way back is what the tests check.

Each packetiser gives the payloads of one frame. `rtp_packet` puts a header in front, with the audio level extension when asked.
"""

import struct
from collections.abc import Callable, Iterator
from itertools import count

ROOM = 1100  # payload bytes a packet, below the 1200 that libwebrtc uses

FU_A, STAP_A = 28, 24


def rtp_packet(
    payload: bytes,
    *,
    payload_type: int,
    sequence: int,
    timestamp: int,
    ssrc: int,
    marker: bool = False,
    level: int | None = None,
    padding: int = 0,
) -> bytes:
    first = 0x80 | (0x10 if level is not None else 0) | (0x20 if padding else 0)
    second = payload_type | (0x80 if marker else 0)
    head = struct.pack(">BBHII", first, second, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc)
    extension = b"" if level is None else struct.pack(">HHBBH", 0xBEDE, 1, 0x10, level, 0)
    tail = bytes(padding - 1) + bytes([padding]) if padding else b""
    return head + extension + payload + tail


def annex_b_units(stream: bytes) -> list[bytes]:
    """NAL units of an Annex B stream."""
    parts = stream.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")
    return [part for part in parts if part]


def h264(frame: bytes) -> list[bytes]:
    """RFC 6184: small units together in a STAP-A, large ones in FU-A."""
    payloads: list[bytes] = []
    small: list[bytes] = []
    for unit in annex_b_units(frame):
        if len(unit) < ROOM // 4:
            small.append(unit)
            continue
        payloads += _aggregate(small)
        small = []
        payloads += _fragments(unit) if len(unit) > ROOM else [unit]
    return payloads + _aggregate(small)


def _aggregate(units: list[bytes]) -> list[bytes]:
    if len(units) < 2:
        return units
    return [bytes([STAP_A | 0x60]) + b"".join(struct.pack(">H", len(unit)) + unit for unit in units)]


def _fragments(unit: bytes) -> list[bytes]:
    pieces = _pieces(unit[1:])
    indicator = unit[0] & 0xE0 | FU_A
    kind = unit[0] & 0x1F
    last = len(pieces) - 1
    return [
        bytes([indicator, kind | (0x80 if at == 0 else 0) | (0x40 if at == last else 0)]) + piece
        for at, piece in enumerate(pieces)
    ]


def vp8(frame: bytes) -> list[bytes]:
    """RFC 7741 with a 15 bit picture id, as libwebrtc sends it."""
    return [
        bytes([0x80 | (0x10 if at == 0 else 0), 0x80, 0x80, 0x01]) + piece for at, piece in enumerate(_pieces(frame))
    ]


def vp9(frame: bytes) -> list[bytes]:
    """RFC 9628, flexible mode off, one spatial layer."""
    pieces = _pieces(frame)
    last = len(pieces) - 1
    return [
        bytes([0x80 | (0x08 if at == 0 else 0) | (0x04 if at == last else 0), 0x80, 0x01]) + piece
        for at, piece in enumerate(pieces)
    ]


def av1(temporal_unit: bytes) -> list[bytes]:
    """AOMedia's payload format: delimiters left out, size fields dropped, each OBU with a length in front (W = 0)."""
    payloads = []
    for obu in av1_units(temporal_unit):
        pieces = _pieces(obu)
        last = len(pieces) - 1
        for at, piece in enumerate(pieces):
            header = (0x80 if at > 0 else 0) | (0x40 if at < last else 0)
            payloads.append(bytes([header]) + _leb128(len(piece)) + piece)
    return payloads


def av1_units(temporal_unit: bytes) -> Iterator[bytes]:
    """OBUs without size field; temporal delimiters are left out."""
    at = 0
    while at < len(temporal_unit):
        header = temporal_unit[at]
        begin = at + (2 if header & 4 else 1)
        size, length = _read_leb128(temporal_unit, begin)
        end = begin + length + size
        if header >> 3 & 15 != 2:
            yield bytes([header & ~2]) + temporal_unit[at + 1 : begin] + temporal_unit[begin + length : end]
        at = end


def opus(packet: bytes) -> list[bytes]:
    return [packet]


PACKETISERS: dict[str, Callable[[bytes], list[bytes]]] = {
    "H264": h264,
    "VP8": vp8,
    "VP9": vp9,
    "AV1": av1,
    "opus": opus,
}


def _pieces(data: bytes) -> list[bytes]:
    return [data[at : at + ROOM] for at in range(0, len(data), ROOM)]


def _leb128(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _read_leb128(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for length in count():
        value |= (data[at + length] & 0x7F) << 7 * length
        if not data[at + length] & 0x80:
            return value, length + 1
    raise AssertionError("count never ends")
