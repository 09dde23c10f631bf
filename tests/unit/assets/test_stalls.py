"""Sound devices that stood still, and networks that only look like it, on arrays alone."""

from dataclasses import replace

import numpy as np
import pytest

from isotape.assets.order import Epoch, epochs_of
from isotape.assets.packets import PACKET, SenderReport, TrackLog
from isotape.assets.stalls import heal
from isotape.assets.timeline import clocks
from isotape.model import MediaKind

START_NS = 1_790_000_000_000_000_000
MS = 1_000_000
DELAY_NS = 30 * MS
SSRC = {MediaKind.AUDIO: 9, MediaKind.VIDEO: 10}
RATE = {MediaKind.AUDIO: 48_000, MediaKind.VIDEO: 90_000}
PACE_NS = {MediaKind.AUDIO: 20 * MS, MediaKind.VIDEO: 33_333_333}


def track(
    kind: MediaKind,
    seconds: float,
    *,
    stalls: dict[float, float] | None = None,
    slow: tuple[float, float, float] = (0, 0, 0),
    reports_s: float = 0.0,
    jitter_ms: int = 15,
) -> TrackLog:
    """A Track. `stalls` says after how many seconds of media the device stood still for how many ms; `slow` that the network took so many
    ms longer from a moment to another; reports come every `reports_s`."""
    number = np.arange(round(seconds * 1e9 / PACE_NS[kind]))
    media_ns = number * PACE_NS[kind]
    captured_ns = (
        START_NS
        + media_ns
        + sum(
            (np.where(media_ns >= at_s * 1e9, ms * MS, 0) for at_s, ms in (stalls or {}).items()),
            np.zeros(len(number), int),
        )
    )
    packets = np.zeros(len(number), PACKET)
    queue_ns = np.where((media_ns >= slow[0] * 1e9) & (media_ns < slow[1] * 1e9), int(slow[2] * MS), 0)
    jitter = np.random.default_rng(int(kind is MediaKind.AUDIO)).integers(0, jitter_ms * MS, len(number))
    packets["arrival_ns"] = captured_ns + DELAY_NS + queue_ns + jitter
    packets["timestamp"] = (media_ns * RATE[kind] // 1_000_000_000).astype(np.uint32)
    packets["sequence"] = number.astype(np.uint16)
    packets["samples"], packets["length"], packets["codec"], packets["ssrc"] = 960, 80, 1, SSRC[kind]
    every = max(round(reports_s * 1e9 / PACE_NS[kind]), 1)
    reporting = number[every // 2 :: every] if reports_s else number[:0]
    reports = [
        SenderReport(
            int(packets["arrival_ns"][row]) + MS, SSRC[kind], int(captured_ns[row]), int(packets["timestamp"][row])
        )
        for row in reporting
    ]
    return TrackLog(
        "j", kind, "regular", {"kind": kind.value}, ("f",), packets, np.zeros(len(number), np.uint8), tuple(reports)
    )


def only_epoch(log: TrackLog) -> Epoch:
    [epoch], _ = epochs_of(0, log)
    return epoch


def stood_ms(sound: TrackLog, *others: TrackLog) -> list[tuple[int, float]]:
    """The stalls that are found: packet and ms."""
    healed = heal(sound, only_epoch(sound), [only_epoch(other) for other in others])
    return [(stall.packet, stall.ns / MS) for stall in healed.stalls]


@pytest.mark.parametrize("ms", [40, 150, 700, 3000])
def test_a_stall_is_found_where_it_was_when_another_track_says_the_network_was_well(ms: float) -> None:
    sound = track(MediaKind.AUDIO, 20, stalls={10: ms})
    [(packet, found_ms)] = stood_ms(sound, track(MediaKind.VIDEO, 20 + ms / 1000))
    assert packet == pytest.approx(500, abs=2)
    assert found_ms == pytest.approx(ms, abs=5)


def test_a_stall_before_the_first_picture_is_found_too() -> None:
    pictures = track(MediaKind.VIDEO, 8)
    pictures.packets["arrival_ns"][:] += 2000 * MS
    [(packet, found_ms)] = stood_ms(track(MediaKind.AUDIO, 10, stalls={1.0: 300}), pictures)
    assert (packet, found_ms) == (pytest.approx(50, abs=2), pytest.approx(300, abs=5))


def test_reports_on_both_sides_prove_a_stall_of_sound_alone() -> None:
    [(packet, found_ms)] = stood_ms(track(MediaKind.AUDIO, 20, stalls={10: 150}, reports_s=5))
    assert (packet, found_ms) == (pytest.approx(500, abs=2), pytest.approx(150, abs=5))


def test_several_stalls_are_each_found() -> None:
    sound = track(MediaKind.AUDIO, 20, stalls={4: 60, 8: 90, 8.6: 200, 15: 45})
    found = stood_ms(sound, track(MediaKind.VIDEO, 20.4))
    assert sum(ms for _, ms in found) == pytest.approx(395, abs=20)
    assert [packet for packet, _ in found] == pytest.approx([200, 400, 430, 750], abs=8)


def test_a_network_that_slows_down_is_no_stall() -> None:
    slow = (8, 14, 300)
    assert stood_ms(track(MediaKind.AUDIO, 20, slow=slow), track(MediaKind.VIDEO, 20, slow=slow)) == []
    assert stood_ms(track(MediaKind.AUDIO, 20, slow=slow, reports_s=2)) == []
    for_good = (8, 99, 300)
    assert stood_ms(track(MediaKind.AUDIO, 30, slow=for_good), track(MediaKind.VIDEO, 30, slow=for_good)) == []
    assert stood_ms(track(MediaKind.AUDIO, 30, slow=for_good, reports_s=2)) == []


def test_a_network_alone_proves_nothing_and_a_drifting_sound_card_does_not_stand_still() -> None:
    assert stood_ms(track(MediaKind.AUDIO, 20, slow=(8, 99, 300))) == []
    drifting = track(MediaKind.AUDIO, 600)
    drifting.packets["arrival_ns"][:] += (np.arange(30_000) * 20 * MS * 100e-6).astype(int)
    assert stood_ms(drifting, track(MediaKind.VIDEO, 600)) == []


def test_a_report_from_before_the_first_packet_proves_nothing() -> None:
    slow = (8, 14, 300)
    sound = track(MediaKind.AUDIO, 20, slow=slow, reports_s=5)
    early = SenderReport(START_NS - 800 * MS, SSRC[MediaKind.AUDIO], START_NS - 900 * MS, 0x7000_0000)
    assert stood_ms(replace(sound, reports=(early, *sound.reports))) == []


def test_a_late_burst_at_the_end_is_no_stall() -> None:
    sound = track(MediaKind.AUDIO, 20)
    sound.packets["arrival_ns"][-12:] += 80 * MS
    assert stood_ms(sound, track(MediaKind.VIDEO, 20)) == []


def test_the_clock_of_a_healed_epoch_is_right_on_both_sides() -> None:
    sound = track(MediaKind.AUDIO, 20, stalls={10: 400}, reports_s=5)
    [timed] = clocks([sound], [heal(sound, only_epoch(sound), [only_epoch(track(MediaKind.VIDEO, 20.4))])])
    captured = np.arange(1000) * 20 * MS + np.where(np.arange(1000) >= 500, 400 * MS, 0)
    errors_ms = (timed.clock.session_ns(timed.epoch.ticks) - START_NS - captured - DELAY_NS) / MS
    assert np.abs(np.delete(errors_ms, np.arange(498, 503))).max() < 8


def test_sound_that_never_stood_still_is_as_it_was() -> None:
    sound = track(MediaKind.AUDIO, 20, reports_s=5)
    epoch = only_epoch(sound)
    healed = heal(sound, epoch, [only_epoch(track(MediaKind.VIDEO, 20))])
    assert healed.stalls == ()
    assert np.array_equal(healed.ticks, epoch.ticks)
    assert heal(replace(sound, reports=()), epoch, []).stalls == ()
