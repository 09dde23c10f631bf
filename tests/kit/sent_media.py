"""Media that a publisher sends for as long as a test needs it, and the same media read back from journals and files.

Before it: publisher.py. What is compared are RTP sequence numbers with payload hashes: a packet is there unchanged or it is not.
"""

import hashlib
from pathlib import Path

import av

from isotape.assets.packets import read
from tests.kit.publisher import Publishing, SendingPeer, write_clip
from tests.kit.recorded_call import beeping, flashing

Packets = list[tuple[int, str]]

_CLIP_S = 4.0
_FRAME_S, _PACKET_S = 1 / 30, 0.02


class Media:
    """A camera and a microphone as endless clips."""

    def __init__(self, folder: Path) -> None:
        frames = [frame.data for frame in flashing("VP8", _CLIP_S)]
        self.video = write_clip(folder / "camera.clip", "VP8", frames, _FRAME_S)
        self.audio = write_clip(folder / "microphone.clip", "opus", beeping(_CLIP_S), _PACKET_S)

    async def begin(self, peer: SendingPeer) -> None:
        """Publishes both and sends them until the peer is gone."""
        await peer.publish(Publishing("video", "VP8"), Publishing("audio", "opus"))
        await peer.start(video={"file": str(self.video), "loop": True}, audio={"file": str(self.audio), "loop": True})

    async def end(self, peer: SendingPeer) -> dict[str, Packets]:
        """Stops sending; everything that was sent on each."""
        for name in peer.published:
            await peer.publisher.ask("stop", peer=peer.name, track=name)
        return {name: await sent(peer, name) for name in peer.published}


def in_journal(folder: Path) -> Packets:
    """Sequence number and payload hash of each packet, in the order of arrival."""
    log = read(folder)
    segments = [Path(name).read_bytes() for name in log.files]
    found = []
    for packet in log.packets:
        begin = int(packet["offset"])
        payload = segments[packet["file"]][begin : begin + int(packet["length"])]
        found.append((int(packet["sequence"]), hashlib.sha256(payload).hexdigest()))
    return found


def kind_of(folder: Path) -> str:
    """Whether the journal holds the camera (`video`) or the microphone (`audio`)."""
    return str(read(folder).meta["kind"])


async def sent(peer: SendingPeer, name: str) -> Packets:
    """The same of what left the publisher so far."""
    return [(packet.sequence, packet.sha256) for packet in await peer.sent(name)]


def count_pictures(file: Path) -> int:
    """Pictures of the file that a decoder shows."""
    with av.open(str(file)) as container:
        return sum(1 for _ in container.decode(video=0))
