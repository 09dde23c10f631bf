"""A peer as its journals show it: pictures that flash and sound that beeps at the same moments of one clock, sent over a chosen network.

The journals are written by tests.kit.journal_writer. What reaches them, when, and what is lost is up to the test; the truth (when each
flash and beep was captured) is known, so that a finished file can be measured.
"""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache, partial
from pathlib import Path

import av
import numpy as np

from tests.kit.journal_writer import CODECS, MUTE, JournalWriter
from tests.kit.media import ENCODERS, OPTIONS, PACKET_SAMPLES, Frame, own_priority
from tests.kit.packetise import PACKETISERS, rtp_packet

EPOCH_NS = 1_790_000_000_000_000_000  # the session's clock at the peer's time 0
SENDER_OFF_NS = 7_654_321_000_000  # how far the peer's own clock is wrong
NTP_TO_UNIX_S = 2_208_988_800
FLASH_EVERY_S = 2.0
FPS = 30
BEEP_S = 0.1
FIRST_SEQUENCE = 65_500  # wraps soon

Entry = tuple[int, Callable[..., None]]


@cache
def flashing(codec: str, seconds: float, width: int = 320, height: int = 180, key_every: int = 30) -> tuple[Frame, ...]:
    """Grey pictures with three white ones every 2 s, from 2 s on."""
    encoder = av.CodecContext.create(ENCODERS[codec], "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, FPS), Fraction(FPS)
    encoder.gop_size, encoder.max_b_frames = key_every, 0
    encoder.options = OPTIONS[codec]
    # Several threads of libvpx wait for each other without sleeping: on a busy machine that takes minutes.
    encoder.thread_count = 1
    packets = []
    with own_priority():
        for number in range(round(seconds * FPS)):
            picture = av.VideoFrame.from_ndarray(_picture(number, width, height), format="yuv420p")
            picture.pts = number
            packets += encoder.encode(picture)
        packets += encoder.encode(None)
    return tuple(Frame(bytes(packet), packet.is_keyframe) for packet in packets if packet.size)


def _picture(number: int, width: int, height: int) -> np.ndarray:
    white = number >= FPS * FLASH_EVERY_S and number % (FPS * FLASH_EVERY_S) < 3
    planes = np.full((height * 3 // 2, width), 128, np.uint8)
    planes[:height] = 230 if white else 70
    planes[: height // 4] += (np.arange(width) % 16 + number % 8).astype(np.uint8)
    return planes


@cache
def beeping(seconds: float, channels: int = 1) -> tuple[bytes, ...]:
    """Opus of 20 ms: silence with 100 ms of 1 kHz every 2 s, from 2 s on. The encoder's delay is taken off, so beeps are on time."""
    encoder = av.CodecContext.create("libopus", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    layout = "mono" if channels == 1 else "stereo"
    encoder.sample_rate, encoder.layout, encoder.format = 48_000, layout, "s16"
    encoder.bit_rate, encoder.time_base = 48_000, Fraction(1, 48_000)
    packets = []
    for number in range(round(seconds * 50)):
        time = (np.arange(PACKET_SAMPLES) + number * PACKET_SAMPLES) / 48_000
        on = (time >= FLASH_EVERY_S) & (time % FLASH_EVERY_S < BEEP_S)
        wave = np.repeat((np.sin(2 * np.pi * 1000 * time) * 12_000 * on).astype(np.int16), channels)
        frame = av.AudioFrame.from_ndarray(wave[None, :], format="s16", layout=layout)
        frame.sample_rate, frame.pts = 48_000, number * PACKET_SAMPLES
        packets += encoder.encode(frame)
    return tuple(bytes(packet) for packet in packets)


@dataclass
class Network:
    """What happens between peer and journal. `lose` is asked with the number of each packet."""

    delay_s: float = 0.04
    jitter_s: float = 0.015
    lose: Callable[[int], bool] = lambda _number: False
    seed: int = 1
    order: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.order = random.Random(self.seed)

    def arrival_ns(self, sent_s: float) -> int:
        return EPOCH_NS + round((sent_s + self.delay_s + self.order.random() * self.jitter_s) * 1e9)


@dataclass
class Sent:
    """One piece of media of the peer and its time (s) on the media's own clock."""

    at_s: float
    data: bytes


@dataclass
class Source:
    """One Track over one connection. Its clock counts ppm too many ticks a second: media of time t was captured at t / (1 + ppm).

    `stall` is a media time and for how many seconds the device stood still before it: no ticks count them.
    """

    kind: str
    codec: str
    sent: Sequence[Sent]
    ssrc: int = 1111
    first_timestamp: int = 0xFFFF_0000  # wraps soon
    ppm: float = 0.0
    stall: tuple[float, float] = (math.inf, 0.0)
    report_every_s: float = 1.0
    report_noise_s: float = 0.0
    mutes: Sequence[tuple[float, bool]] = ()
    notes: Sequence[tuple[float, int, dict[str, object]]] = ()
    meta: dict[str, object] = field(default_factory=dict)
    seal: str | None = "leave"

    @property
    def rate(self) -> int:
        return 48_000 if self.kind == "audio" else 90_000

    def timestamp(self, media_s: float) -> int:
        return self.first_timestamp + round(media_s * self.rate)

    def captured_s(self, media_s: float) -> float:
        """The peer's time at which the media was captured."""
        return media_s / (1 + self.ppm / 1e6) + (self.stall[1] if media_s >= self.stall[0] else 0.0)


def video(
    codec: str, start_s: float, seconds: float, frames: tuple[Frame, ...] | None = None, **more: object
) -> Source:
    """The camera from `start_s` on; picture n of the encoded ones is the peer's time n / 30, its first a key frame."""
    frames = frames or flashing(codec, start_s + seconds)
    first = round(start_s * FPS)
    while not frames[first].key:
        first -= 1
    sent = [Sent(number / FPS, frames[number].data) for number in range(first, round((start_s + seconds) * FPS))]
    return Source("video", codec, sent, **{"ssrc": 2222, **more})  # type: ignore[arg-type]


def audio(
    start_s: float, seconds: float, *, without: tuple[float, float] = (0, 0), channels: int = 1, **more: object
) -> Source:
    """The microphone from `start_s` on; nothing is sent in `without` (a mute that stops the packets, or DTX)."""
    packets = beeping(start_s + seconds, channels)
    sent = [
        Sent(number / 50, packet)
        for number, packet in enumerate(packets)
        if number / 50 >= start_s and not without[0] <= number / 50 < without[1]
    ]
    return Source("audio", "opus", sent, **more)  # type: ignore[arg-type]


def record(
    folder: Path,
    source: Source,
    network: Network | None = None,
    *,
    twice: float = 0.0,
    repaired: frozenset[int] = frozenset(),
    raw: Sequence[tuple[float, int, bytes]] = (),
    layers: Sequence[Source] = (),
) -> Path:
    """Writes the journal of a Source.

    `layers` are further SSRCs of the same Track, `twice` is the share of packets that arrive again, `repaired` are the numbers of those
    that came by retransmission, `raw` are more records (time, type, payload).
    """
    network = network or Network()
    meta = {
        "kind": source.kind,
        "source": "regular",
        "track_id": f"{source.kind}-track",
        "session_started_ms": EPOCH_NS // 1_000_000,
    }
    writer = JournalWriter(folder, {**meta, **source.meta})
    entries = [
        *((_at(at_s), partial(writer.note, MUTE, content={"muted": muted})) for at_s, muted in source.mutes),
        *_packets(writer, source, network, twice, repaired),
        *_reports(writer, source, network),
        *(entry for layer in layers for entry in _packets(writer, layer, network, twice, repaired)),
        *(entry for layer in layers for entry in _reports(writer, layer, network)),
        *((_at(at_s), partial(writer.note, kind, content=content)) for at_s, kind, content in source.notes),
        *((_at(at_s), partial(writer.append, kind, payload=payload)) for at_s, kind, payload in raw),
    ]
    entries.sort(key=lambda entry: entry[0])
    clock = {"codec": source.codec, "clock_rate": source.rate, "channels": 2, "fmtp": ""}
    writer.note(CODECS, entries[0][0] if entries else EPOCH_NS, {"96": clock})
    for arrival_ns, write in entries:
        write(arrival_ns=arrival_ns)
    if source.seal is None:
        writer.flush()
    else:
        writer.seal(source.seal)
    return folder


def _at(at_s: float) -> int:
    return EPOCH_NS + round(at_s * 1e9)


def _packets(
    writer: JournalWriter, source: Source, network: Network, twice: float, repaired: frozenset[int]
) -> Iterator[Entry]:
    """What of the media arrives, in the order of sending."""
    number = 0
    for piece in source.sent:
        payloads = PACKETISERS[source.codec](piece.data)
        for at, payload in enumerate(payloads):
            packet = rtp_packet(
                payload,
                payload_type=96,
                sequence=FIRST_SEQUENCE + number,
                timestamp=source.timestamp(piece.at_s),
                ssrc=source.ssrc,
                marker=at + 1 == len(payloads) and source.kind == "video",
            )
            copies = 0 if network.lose(number) else 2 if network.order.random() < twice else 1
            for _ in range(copies):
                arrival_ns = network.arrival_ns(source.captured_s(piece.at_s))
                yield arrival_ns, partial(writer.rtp, packet=packet, repaired=number in repaired)
            number += 1


def _reports(writer: JournalWriter, source: Source, network: Network) -> Iterator[Entry]:
    """Sender reports from half a second after the first packet to the last one."""
    if not source.report_every_s or not source.sent:
        return
    at_s = source.sent[0].at_s + 0.5
    while at_s <= source.sent[-1].at_s:
        noise = network.order.uniform(-1, 1) * source.report_noise_s
        unix_ns = EPOCH_NS + SENDER_OFF_NS + round((source.captured_s(at_s) + noise) * 1e9)
        ntp = (unix_ns // 1_000_000_000 + NTP_TO_UNIX_S) << 32 | ((unix_ns % 1_000_000_000 << 32) // 1_000_000_000)
        report = partial(
            writer.sender_report, ssrc=source.ssrc, ntp=ntp, rtp_timestamp=source.timestamp(at_s) & 0xFFFF_FFFF
        )
        yield network.arrival_ns(source.captured_s(at_s)), report
        at_s += source.report_every_s


@dataclass(frozen=True)
class Picture:
    """A decoded picture: when it is shown (s, file time), how bright its lower half is (0..255), and its size."""

    time_s: float
    brightness: float
    size: tuple[int, int]


@dataclass(frozen=True)
class Shown:
    """What a player shows and lets hear: all pictures, the start of each beep (s, file time), and the length of the sound."""

    pictures: list[Picture]
    beeps: list[float]
    sound_s: float

    @property
    def flashes(self) -> list[float]:
        """The start of each flash."""
        white = [picture.brightness > 150 for picture in self.pictures]
        return [
            one.time_s
            for number, one in enumerate(self.pictures)
            if white[number] and not (number and white[number - 1])
        ]


def watch(path: Path) -> Shown:
    """Decodes a file, by its timestamps."""
    pictures: list[Picture] = []
    with av.open(str(path)) as container:
        for frame in _decoded(container) if container.streams.video else ():
            brightness = float(frame.to_ndarray(format="gray")[frame.height // 2 :].mean())
            pictures.append(Picture(float(frame.time or 0.0), brightness, (frame.width, frame.height)))
    wave, starts = listen(path)
    return Shown(pictures, beeps(wave, starts), len(wave) / 48_000)


def _decoded(container: av.container.InputContainer) -> Iterator[av.VideoFrame]:
    """All pictures; one that lacks its reference is skipped, as players do."""
    for packet in container.demux(video=0):
        with suppress(av.error.InvalidDataError):
            yield from packet.decode()


def listen(path: Path) -> tuple[np.ndarray, float]:
    """All samples one after another, as a reader that ignores timestamps gets them; and the time of the first."""
    pieces: list[np.ndarray] = []
    first: float | None = None
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return np.zeros(0), 0.0
        for frame in container.decode(audio=0):
            first = float(frame.time or 0.0) if first is None else first
            pieces.append(frame.to_ndarray()[0].astype(np.float32))
    return np.concatenate(pieces), first or 0.0


def beeps(wave: np.ndarray, start_s: float = 0.0) -> list[float]:
    """Start of each beep, to about 1 ms."""
    loud = np.abs(wave) > 0.1
    starts = np.flatnonzero(loud & ~np.concatenate(([False], loud[:-1])))
    found: list[float] = []
    for start in starts.tolist():
        moment = start_s + start / 48_000
        if not found or moment - found[-1] > BEEP_S * 2:
            found.append(moment)
    return found
