"""The packet index says of each packet what the planner needs, and nothing that was written is missing from it."""

import json
from pathlib import Path

import numpy as np
import pytest

from isotape import _core
from tests.kit import media
from tests.kit.journal_writer import CODECS, GAP, MUTE, SSRC, JournalWriter
from tests.kit.media import FRAME_TICKS
from tests.kit.packetise import rtp_packet
from tests.kit.plan_rows import (
    ENDS_FRAME,
    INDEX,
    KEY,
    MARKER,
    REPAIRED,
    STARTS_FRAME,
    UNPARSABLE,
    index,
    write_journal,
)

OPUS = {"111": {"codec": "opus", "clock_rate": 48_000, "channels": 2, "fmtp": ""}}
LEVELS = {"extensions": {"1": "urn:ietf:params:rtp-hdrext:ssrc-audio-level"}}


def sound(sequence: int, payload: bytes = b"\x78rest", level: int | None = None, padding: int = 0) -> bytes:
    return rtp_packet(
        payload, payload_type=111, sequence=sequence, timestamp=960 * sequence, ssrc=5, level=level, padding=padding
    )


@pytest.mark.parametrize("codec", ["H264", "VP8", "VP9", "AV1"])
def test_frames_keys_and_sizes_are_seen(tmp_path: Path, codec: str) -> None:
    frames = media.video(codec, 640, 360, 40)
    folder = write_journal(tmp_path / "j", codec, [frame.data for frame in frames], FRAME_TICKS)
    found, rows = index(folder)
    assert found.sealed
    assert found.torn_bytes == 0
    number = {"VP8": 2, "VP9": 3, "H264": 4, "AV1": 5}[codec]
    assert np.all(rows["codec"] == number)
    assert not np.any(rows["flags"] & UNPARSABLE)
    first = np.flatnonzero(np.diff(rows["timestamp"].astype(np.int64), prepend=-1))
    assert len(first) == len(frames)
    assert np.all(rows["flags"][first] & STARTS_FRAME)
    assert np.count_nonzero(rows["flags"] & MARKER) == len(frames)
    keys = np.bitwise_or.reduceat(rows["flags"], first) & KEY != 0
    assert keys.tolist() == [frame.key for frame in frames]
    sizes = rows[rows["width"] > 0]
    assert len(sizes) == sum(frame.key for frame in frames)
    assert np.all(sizes["width"] == 640)
    assert np.all(sizes["height"] == 360)


def test_rows_point_at_the_payload_and_carry_the_level(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path / "j", {"track": "mic"})
    writer.note(CODECS, 1, OPUS | LEVELS)
    writer.rtp(10, sound(1, level=37 | 0x80))
    writer.rtp(20, sound(2, b"\xfc\xff\xfe", padding=4), repaired=True)
    writer.rtp(30, sound(3, b"", padding=200))
    writer.rtp(40, sound(4, b"\xfb\x00"))
    writer.seal()
    found, rows = index(tmp_path / "j")
    assert json.loads(found.header)["meta"] == {"track": "mic"}
    data = Path(found.files[0]).read_bytes()
    payloads = [data[row["offset"] : row["offset"] + row["length"]] for row in rows]
    assert payloads == [b"\x78rest", b"\xfc\xff\xfe", b"", b"\xfb\x00"]
    assert rows["arrival_ns"].tolist() == [10, 20, 30, 40]
    assert rows["sequence"].tolist() == [1, 2, 3, 4]
    assert rows["timestamp"].tolist() == [960, 1920, 2880, 3840]
    assert rows["level"].tolist() == [37, 255, 255, 255]
    assert rows["samples"].tolist() == [960, 960, 0, 0]
    whole = STARTS_FRAME | KEY | ENDS_FRAME
    assert rows["flags"].tolist() == [whole, whole | REPAIRED, 0, UNPARSABLE]
    assert np.all(rows["ssrc"] == 5)


def test_a_payload_type_means_what_the_last_codecs_record_says(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path / "j")
    writer.rtp(1, sound(1))
    writer.note(CODECS, 2, OPUS)
    writer.rtp(3, sound(2))
    writer.note(CODECS, 4, {"111": {"codec": "PCMU"}})
    writer.rtp(5, sound(3))
    writer.seal()
    _, rows = index(tmp_path / "j")
    assert rows["codec"].tolist() == [0, 1, 0]


def test_notes_tell_all_that_is_not_media(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path / "j")
    writer.note(SSRC, 5, {"from": None, "to": 7})
    writer.sender_report(6, 7, 0x1234567890ABCDEF, 90_000)
    writer.note(MUTE, 7, {"muted": True})
    writer.note(GAP, 8, {"cause": "server", "packets": 3})
    writer.append(99, 9, b"{}")  # a type of a later release
    writer.seal("moved")
    found, _ = index(tmp_path / "j")
    notes = [(at, kind, json.loads(text)) for at, kind, text in found.notes if kind != "header"]
    report = {"ssrc": 7, "ntp": 0x1234567890ABCDEF, "rtp_timestamp": 90_000, "packet_count": 0, "octet_count": 0}
    assert notes == [
        (5, "ssrc", {"from": None, "to": 7}),
        (6, "sender_report", report),
        (7, "mute", {"muted": True}),
        (8, "gap", {"cause": "server", "packets": 3}),
        (9, "seal", {"reason": "moved", "packets": 0}),
    ]


def test_a_torn_tail_is_counted_and_recovery_seals_the_rest(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path / "j")
    writer.note(CODECS, 1, OPUS)
    for number in range(10):
        writer.rtp(10 + number, sound(number))
    writer.flush()
    writer.path.write_bytes(writer.path.read_bytes()[:-3])
    found, rows = index(tmp_path / "j")
    assert not found.sealed
    assert len(rows) == 9
    assert found.torn_bytes == 20 + 12 + 5 - 3
    recovery = json.loads(_core.recover_journal(str(tmp_path / "j")))
    assert recovery["torn_bytes"] == found.torn_bytes
    assert not recovery["sealed_before"]
    found, rows = index(tmp_path / "j")
    assert found.sealed
    assert len(rows) == 9
    assert [kind for _, kind, _ in found.notes][-2:] == ["gap", "seal"]


def test_a_flipped_bit_costs_one_packet_and_is_named(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path / "j")
    writer.note(CODECS, 1, OPUS)
    for number in range(10):
        writer.rtp(10 + number, sound(number))
    writer.seal()
    data = bytearray(writer.path.read_bytes())
    _, rows = index(tmp_path / "j")
    data[rows["offset"][4]] ^= 1
    writer.path.write_bytes(data)
    found, rows = index(tmp_path / "j")
    assert rows["sequence"].tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    (damage,) = [(at, json.loads(text)) for at, kind, text in found.notes if kind == "gap"]
    assert damage[0] == 13
    assert (damage[1]["cause"], damage[1]["bytes"]) == ("corrupt", 20 + 12 + 5)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=f"journal {tmp_path}/none"):
        _core.index_journal(f"{tmp_path}/none")


def test_the_row_is_as_long_as_the_planner_believes() -> None:
    assert INDEX.itemsize == 44
