"""The ledger of losses adds up to the counts and names each packet that never came, in the sidecar of a finished file."""

from pathlib import Path

from isotape.assets.packets import read
from tests.kit.journal_writer import GAP
from tests.kit.made_file import make
from tests.kit.recorded_call import EPOCH_NS, FIRST_SEQUENCE, Network, audio, record, video


def named(losses: list[dict[str, int]]) -> set[int]:
    """Every sequence number that the losses name."""
    return {(loss["first"] + step) % 65_536 for loss in losses for step in range(loss["packets"])}


def test_every_missing_packet_is_named_once_across_the_wrap(tmp_path: Path) -> None:
    gone = {7, 8, 9, 300, 535, 536, 537, 799}
    assert FIRST_SEQUENCE + 537 > 65_535 > FIRST_SEQUENCE + 7, "the runs stand on both sides of the wrap"
    made = make(tmp_path, record(tmp_path / "a", audio(0, 20), Network(lose=gone.__contains__)))
    track = made.track("audio")
    assert named(track["losses"]) == {(FIRST_SEQUENCE + number) % 65_536 for number in gone}
    assert sum(loss["packets"] for loss in track["losses"]) == track["packets"]["lost"] == len(gone)
    first = track["losses"][0]
    # Packets 6 and 10 stand around the first run: 80 ms of session time, 120 ms after the start.
    assert first["session_ns"][1] - first["session_ns"][0] == 80_000_000
    assert abs(first["session_ns"][0] - (EPOCH_NS + 120_000_000 + 40_000_000)) < 16_000_000
    assert {loss["cause"] for loss in track["losses"]} == {"lost"}


def test_what_the_recorder_dropped_is_named_as_its_own(tmp_path: Path) -> None:
    gone = set(range(100, 110))
    note = (2.1, GAP, {"cause": "server", "packets": 10})
    made = make(tmp_path, record(tmp_path / "a", audio(0, 5, notes=[note]), Network(lose=gone.__contains__)))
    [loss] = made.track("audio")["losses"]
    assert (loss["packets"], loss["cause"]) == (10, "server")


def test_what_the_recorder_dropped_at_the_end_is_counted_by_its_note(tmp_path: Path) -> None:
    notes = [(4.0, GAP, {"cause": "server", "packets": 10}), (5.5, GAP, {"cause": "server", "packets": 25})]
    lose = set(range(190, 200)) | set(range(225, 250))
    made = make(tmp_path, record(tmp_path / "a", audio(0, 5, notes=notes), Network(lose=lose.__contains__)))
    track = made.track("audio")
    assert track["packets"]["lost"] == 35
    assert [(loss["packets"], loss["cause"]) for loss in track["losses"]] == [(10, "server"), (25, "server")]
    assert track["losses"][1]["first"] == (FIRST_SEQUENCE + 225) % 65_536
    assert [gap["packets"] for gap in made.gaps("audio", "server")] == [10, 25]


def test_pictures_and_their_losses_are_counted_in_packets(tmp_path: Path) -> None:
    gone = {20, 21, 50}
    made = make(tmp_path, record(tmp_path / "v", video("H264", 0, 5), Network(lose=gone.__contains__)))
    track = made.track("video")
    assert named(track["losses"]) == {(FIRST_SEQUENCE + number) % 65_536 for number in gone}
    assert track["packets"]["lost"] == 3


def test_a_clock_with_a_stall_is_told_point_by_point(tmp_path: Path) -> None:
    folder = record(tmp_path / "a", audio(0, 11, stall=(5.0, 0.3), report_every_s=1))
    made = make(tmp_path, folder)
    [clock] = made.track("audio")["clock"]
    points = clock["points"]
    packets = read(folder).packets
    assert points[0][0] == clock["timestamp"] == int(packets["timestamp"][0])
    assert len(points) == 4
    (before, behind) = points[1:3]
    assert (behind[0] - before[0]) % (1 << 32) == 960, "RTP time goes on by one packet"
    assert abs((behind[1] - before[1]) / 1e6 - 320) < 5, "while the session goes on by the stall too"
    assert abs(behind[2] - before[2] - 320) < 5
