"""What a peer sent is in its file: every packet in the journal, every frame in the container, sound and picture in step."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import av
import pytest

from isotape import journal
from isotape.assets.packets import read
from tests.kit.node import Json, Node, running_node
from tests.kit.packetise import annex_b_units
from tests.kit.publisher import Publisher, Publishing, SentPacket, running_publisher, sending_peer, write_clip
from tests.kit.recorded_call import beeping, flashing, watch

pytestmark = pytest.mark.anyio

_SECONDS = 5.0
_FRAME_S, _PACKET_S = 1 / 30, 0.02
# The picture starts this much later than the sound, as a camera does that opens slowly.
_CAMERA_LATE_MS = 300


@dataclass(frozen=True)
class Clip:
    """A clip on disk and the frames in it."""

    codec: str
    frames: Sequence[bytes]
    path: Path


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with running_node(tmp_path / "node") as running:
        yield running


@pytest.fixture
async def publisher(tmp_path: Path) -> AsyncIterator[Publisher]:
    async with running_publisher(tmp_path) as running:
        yield running


def video_clip(folder: Path, codec: str) -> Clip:
    frames = [frame.data for frame in flashing(codec, _SECONDS)]
    return Clip(codec, frames, write_clip(folder / f"{codec}.clip", codec, frames, _FRAME_S))


def audio_clip(folder: Path) -> Clip:
    packets = beeping(_SECONDS)
    return Clip("opus", packets, write_clip(folder / "opus.clip", "opus", packets, _PACKET_S))


def units(codec: str, data: bytes) -> list[bytes]:
    """What of a frame no container may change: NAL units, or the bytes themselves."""
    return annex_b_units(data) if codec == "H264" else [data]


def units_in_file(codec: str, data: bytes) -> list[bytes]:
    """The same of a frame that a container gave: MP4 puts a length of four bytes in front of each NAL unit."""
    if codec != "H264":
        return [data]
    found, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4])
        found.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return found


def in_file(path: Path, kind: str) -> list[bytes]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0] if kind == "video" else container.streams.audio[0]
        return [bytes(packet) for packet in container.demux(stream) if packet.size]


def in_journal(node: Node, track_id: str) -> list[tuple[int, str]]:
    """Sequence number and payload hash of each packet of one Track, in the order of arrival."""
    found: list[tuple[int, str]] = []
    for folder in journal.find(node.server.settings.journal_root):
        log = read(folder)
        if log.meta["track_id"] != track_id:
            continue
        segments = [Path(name).read_bytes() for name in log.files]
        for packet in log.packets:
            begin = int(packet["offset"])
            payload = segments[packet["file"]][begin : begin + int(packet["length"])]
            found.append((int(packet["sequence"]), hashlib.sha256(payload).hexdigest()))
    return found


def assert_frames_equal(path: Path, video: Clip, audio: Clip) -> None:
    """Every frame of both clips is in the file, unchanged and in order; around the sound there may be silence that fills."""
    pictures = in_file(path, "video")
    late = len(pictures) - len(video.frames)
    assert late in (0, 1), f"{late} pictures more than the clip has"  # one black picture before a late camera
    assert [units_in_file(video.codec, data) for data in pictures[late:]] == [
        units(video.codec, frame) for frame in video.frames
    ]
    sound = in_file(path, "audio")
    assert sound[: len(audio.frames)] == list(audio.frames)


def assert_nothing_lost(sidecar: Json, sent: dict[str, list[SentPacket]]) -> None:
    for track in sidecar["tracks"]:
        count = len(sent[track["kind"]])
        assert (track["packets"]["expected"], track["packets"]["received"]) == (count, count)
        assert track["packets"]["lost"] == 0
        assert not [gap for gap in track["gaps"] if gap["packets"]]


async def test_every_byte_that_two_peers_sent_is_in_their_files(
    node: Node, publisher: Publisher, tmp_path: Path
) -> None:
    room, code = await node.make_room()
    sound, clips = audio_clip(tmp_path), {codec: video_clip(tmp_path, codec) for codec in ("H264", "VP8")}
    async with AsyncExitStack() as stack:
        peers = {
            codec: await stack.enter_async_context(sending_peer(publisher, node.server.url, code, f"peer-{codec}"))
            for codec in clips
        }
        for codec, peer in peers.items():
            await peer.publish(Publishing("video", codec), Publishing("audio", "opus"))
            await peer.start(audio=sound.path, video={"file": str(clips[codec].path), "offset_ms": _CAMERA_LATE_MS})
        for peer in peers.values():
            await peer.finished("audio", "video")
        sent = {codec: {kind: await peer.sent(kind) for kind in peer.published} for codec, peer in peers.items()}
        for peer in peers.values():
            await peer.leave()
    for codec, peer in peers.items():
        for kind, track in peer.published.items():
            left = [(packet.sequence, packet.sha256) for packet in sent[codec][kind]]
            assert in_journal(node, track.track_id) == left

    for codec, asset in zip(clips, await node.assets(room, 2), strict=True):
        assert asset["status"] == "completed"
        path = await node.download(asset, tmp_path)
        assert_frames_equal(path, clips[codec], sound)
        assert_nothing_lost(node.sidecar(asset), sent[codec])
        shown = watch(path)
        offsets = [flash - beep for flash, beep in zip(shown.flashes, shown.beeps, strict=True)]
        assert len(offsets) == 2
        assert offsets == pytest.approx([_CAMERA_LATE_MS / 1000] * 2, abs=0.005)
