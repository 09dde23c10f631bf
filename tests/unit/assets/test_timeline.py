"""Clocks from sender reports: unwrapping, drift, bends and reports that lie, on arrays alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from isotape.assets.order import Epoch, epochs_of, unwrap
from isotape.assets.packets import PACKET, SenderReport, TrackLog, first_bytes, ntp_to_unix_ns
from isotape.assets.timeline import clocks
from isotape.model import MediaKind

START_NS = 1_790_000_000_000_000_000
WRONG_BY_NS = 86_400_000_000_000  # the sender's clock is a day ahead
DELAY_NS = 30_000_000
MS = 1_000_000
SSRC = 9


def sound(seconds: float, ppm: float = 0.0, seed: int = 1) -> TrackLog:
    """20 ms packets whose device counts ppm too fast, over a network with up to 20 ms of jitter. Timestamps and sequence wrap."""
    count = np.arange(round(seconds * 50))
    packets = np.zeros(len(count), PACKET)
    captured_ns = captured(count * 960, ppm)
    jitter = np.random.default_rng(seed).integers(0, 20 * MS, len(count))
    packets["arrival_ns"] = captured_ns + DELAY_NS + jitter
    packets["timestamp"] = (count * 960 + 0xFFFF_0000).astype(np.uint32)
    packets["sequence"] = (count + 65_000).astype(np.uint16)
    packets["samples"], packets["length"], packets["codec"], packets["ssrc"] = 960, 80, 1, SSRC
    packets = packets[np.argsort(packets["arrival_ns"], kind="stable")]
    return TrackLog("j", MediaKind.AUDIO, "regular", {"kind": "audio"}, ("f",), packets, np.zeros(len(count), np.uint8))


def captured(ticks: np.ndarray, ppm: float = 0.0) -> np.ndarray:
    return START_NS + (ticks / (48_000 * (1 + ppm / 1e6)) * 1e9).astype(np.int64)


def report(tick: int, captured_ns: int, noise_ns: int = 0) -> SenderReport:
    timestamp = (tick + 0xFFFF_0000) % (1 << 32)
    return SenderReport(captured_ns + DELAY_NS, SSRC, captured_ns + WRONG_BY_NS + noise_ns, timestamp)


def reported(log: TrackLog, every_s: float, seconds: float, ppm: float = 0.0, noise_ms: float = 0.0) -> TrackLog:
    ticks = np.arange(2 * 48_000, round(seconds * 48_000), round(every_s * 48_000))
    noise = np.random.default_rng(2).normal(0, noise_ms * MS, len(ticks)).astype(np.int64) if noise_ms else ticks * 0
    moments = captured(ticks, ppm)
    return replace(log, reports=tuple(map(report, ticks.tolist(), moments.tolist(), noise.tolist())))


def only_epoch(log: TrackLog) -> Epoch:
    [epoch], _ = epochs_of(0, log)
    return epoch


def errors_ms(log: TrackLog, ppm: float = 0.0) -> np.ndarray:
    """Session time minus the time of capture, for every packet; constant but for what the clock gets wrong."""
    [timed] = clocks([log], [only_epoch(log)])
    ticks = timed.epoch.ticks
    return (timed.clock.session_ns(ticks) - captured(ticks - ticks[0], ppm)) / MS


def test_sequence_and_timestamps_go_on_where_they_wrap() -> None:
    log = sound(60)
    epoch, counts = epochs_of(0, log)[0][0], epochs_of(0, log)[1]
    assert np.array_equal(np.diff(epoch.ticks), np.full(2_999, 960))
    assert np.array_equal(np.diff(epoch.sequence), np.ones(2_999))
    assert (counts.received, counts.lost) == (3_000, 0)
    assert unwrap(np.array([65_535, 1, 0, 2], np.uint16), np.int16).tolist() == [65_535, 65_537, 65_536, 65_538]


def test_the_session_time_of_a_packet_is_its_capture_plus_the_shortest_way() -> None:
    errors = errors_ms(reported(sound(30), 5, 30))
    assert np.ptp(errors) < 0.01
    assert 30 <= errors.mean() < 31


@pytest.mark.parametrize("ppm", [-80.0, 0.0, 80.0])
def test_a_sound_card_that_drifts_is_followed_for_an_hour(ppm: float) -> None:
    errors = errors_ms(reported(sound(3600, ppm), 5, 3600, ppm, noise_ms=8), ppm)
    # 80 ppm are 288 ms in an hour; what remains is the noise of 720 reports.
    assert np.ptp(errors) < 4


def test_reports_that_lie_do_not_bend_the_clock() -> None:
    log = reported(sound(600), 5, 600, noise_ms=2)
    lies = [
        replace(one, ntp_ns=one.ntp_ns + 150 * MS) if number % 3 == 0 else one for number, one in enumerate(log.reports)
    ]
    assert np.ptp(errors_ms(replace(log, reports=tuple(lies)))) < 4


def test_few_reports_give_the_nominal_rate() -> None:
    log = reported(sound(12), 5, 12, noise_ms=9)
    assert len(log.reports) == 2
    assert np.ptp(errors_ms(log)) < 0.01


def test_without_reports_the_earliest_arrivals_are_the_clock() -> None:
    errors = errors_ms(sound(60))
    assert np.ptp(errors) < 0.01
    assert 30 <= errors.mean() < 31


def test_a_clock_set_anew_begins_a_new_epoch() -> None:
    log = sound(20)
    jumped = log.packets.copy()
    jumped["timestamp"][500:] += 123_456_789
    epochs, counts = epochs_of(0, replace(log, packets=jumped))
    assert [len(epoch.ticks) for epoch in epochs] == [500, 500]
    assert counts.lost == 0


def test_ntp_times_are_unix_times() -> None:
    assert ntp_to_unix_ns(2_208_988_800 << 32 | 1 << 31) == 500_000_000


def test_the_first_byte_of_each_payload_is_read_from_its_own_segment(tmp_path: Path) -> None:
    (tmp_path / "1").write_bytes(bytes(range(10)))
    (tmp_path / "2").write_bytes(bytes(range(100, 110)))
    packets = np.zeros(3, PACKET)
    packets["file"], packets["offset"], packets["length"] = [1, 0, 0], [3, 7, 1], [4, 2, 0]
    assert first_bytes([str(tmp_path / "1"), str(tmp_path / "2")], packets).tolist() == [103, 7, 0]
