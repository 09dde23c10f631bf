"""Offers as a browser makes them, for tests that need an SDP and no media: nothing answers behind their candidates."""

from dataclasses import dataclass, field

_CODECS = {
    "audio": ("111", ["a=rtpmap:111 opus/48000/2", "a=fmtp:111 minptime=10;useinbandfec=1"]),
    "video": (
        "96",
        ["a=rtpmap:96 VP8/90000", "a=rtcp-fb:96 nack", "a=rtcp-fb:96 nack pli", "a=rtcp-fb:96 transport-cc"],
    ),
}


@dataclass(slots=True)
class OfferBook:
    """The publishing connection of one client. m-lines are only ever added; a removed track's becomes inactive."""

    fingerprint: str = ":".join(["AB"] * 32)
    lines: list[tuple[str, str, str, bool]] = field(default_factory=list)
    _version: int = 1

    def add(self, kind: str, stream_id: str, track_id: str) -> None:
        self.lines.append((kind, stream_id, track_id, True))

    def remove(self, track_id: str) -> None:
        self.lines = [(kind, stream, track, on and track != track_id) for kind, stream, track, on in self.lines]

    def sdp(self) -> str:
        """The next offer."""
        self._version += 1
        mids = " ".join(str(number) for number in range(len(self.lines) + 1))
        head = [
            "v=0",
            f"o=- 4611731400430051336 {self._version} IN IP4 127.0.0.1",
            "s=-",
            "t=0 0",
            f"a=group:BUNDLE {mids}",
        ]
        body = [line for number, media in enumerate(self.lines) for line in self._media(number + 1, *media)]
        return "\r\n".join([*head, "a=msid-semantic: WMS", *self._channel(), *body, ""])

    def _transport(self, mid: int) -> list[str]:
        return [
            "c=IN IP4 0.0.0.0",
            "a=ice-ufrag:uf7g",
            "a=ice-pwd:0123456789abcdefghijklmn",
            "a=ice-options:trickle",
            f"a=fingerprint:sha-256 {self.fingerprint}",
            "a=setup:actpass",
            f"a=mid:{mid}",
        ]

    def _channel(self) -> list[str]:
        return [
            "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
            *self._transport(0),
            "a=sctp-port:5000",
            "a=max-message-size:262144",
        ]

    def _media(self, mid: int, kind: str, stream_id: str, track_id: str, on: bool) -> list[str]:
        payload_type, codec = _CODECS[kind]
        ssrc = 1000 + mid
        return [
            f"m={kind} 9 UDP/TLS/RTP/SAVPF {payload_type}",
            *self._transport(mid),
            "a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid",
            "a=sendonly" if on else "a=inactive",
            f"a=msid:{stream_id} {track_id}",
            "a=rtcp-mux",
            "a=rtcp-rsize",
            *codec,
            f"a=ssrc:{ssrc} cname:isotape",
            f"a=ssrc:{ssrc} msid:{stream_id} {track_id}",
        ]
