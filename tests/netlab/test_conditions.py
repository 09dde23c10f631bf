"""The emulated path does to datagrams what its conditions say, and the same again with the same seed."""

from itertools import pairwise

import pytest

from tests.kit.netlab.conditions import Conditions, Fate, Path

_MS = 1_000_000
_EVERY_NS = 3 * _MS
_MANY = 20_000


def carried(conditions: Conditions, count: int = _MANY, seed: int = 7, size: int = 1000) -> list[list[int] | Fate]:
    """One datagram each 3 ms; arrivals as delays (ns) since it was sent."""
    path = Path(conditions, seed)
    fates = [path.carry(number * _EVERY_NS, size) for number in range(count)]
    return [
        fate if isinstance(fate, Fate) else [due - number * _EVERY_NS for due in fate]
        for number, fate in enumerate(fates)
    ]


def delays(fates: list[list[int] | Fate]) -> list[float]:
    """In ms, of the first copies of what arrived."""
    return [fate[0] / _MS for fate in fates if not isinstance(fate, Fate)]


def order(fates: list[list[int] | Fate]) -> list[int]:
    """Numbers of the datagrams in order of arrival."""
    due = [
        (number * _EVERY_NS + one, number)
        for number, fate in enumerate(fates)
        if not isinstance(fate, Fate)
        for one in fate
    ]
    return [number for _, number in sorted(due, key=lambda one: one[0])]


def bursts(fates: list[list[int] | Fate]) -> list[int]:
    """Lengths of the runs of lost datagrams."""
    text = "".join("x" if fate is Fate.LOST else " " for fate in fates)
    return [len(run) for run in text.split()]


def test_a_clean_path_only_takes_its_time() -> None:
    assert carried(Conditions(delay_ms=40), 100) == [[40 * _MS]] * 100


@pytest.mark.parametrize("percent", [1, 5, 20, 100])
def test_losses_come_at_their_rate_and_alone(percent: float) -> None:
    fates = carried(Conditions(loss_percent=percent))
    share = sum(fate is Fate.LOST for fate in fates) / _MANY
    assert share == pytest.approx(percent / 100, rel=0.15)
    if percent < 100:
        assert sum(bursts(fates)) / len(bursts(fates)) == pytest.approx(1 / (1 - percent / 100), rel=0.1)


def test_bursts_have_their_mean_length_and_the_same_rate() -> None:
    fates = carried(Conditions(loss_percent=5, mean_burst=20), 10 * _MANY)
    runs = bursts(fates)
    assert sum(runs) / len(runs) == pytest.approx(20, rel=0.15)
    assert sum(runs) / (10 * _MANY) == pytest.approx(0.05, rel=0.2)


def test_jitter_keeps_the_order_unless_datagrams_may_overtake() -> None:
    calm = carried(Conditions(delay_ms=10, jitter_ms=30))
    wild = carried(Conditions(delay_ms=10, jitter_ms=30, overtaking=True))
    assert order(calm) == sorted(order(calm))
    assert order(wild) != sorted(order(wild))
    for fates in (calm, wild):
        assert 10 <= min(delays(fates)) < 13
        assert 37 < max(delays(fates)) <= 40


def test_held_back_datagrams_come_behind_their_successors() -> None:
    fates = carried(Conditions(delay_ms=10, held_back_percent=5, held_back_ms=20))
    late = sum(after < before for before, after in pairwise(order(fates)))
    assert set(delays(fates)) == {10, 30}
    assert late / _MANY == pytest.approx(0.05, rel=0.15)


def test_doubled_datagrams_come_twice() -> None:
    fates = carried(Conditions(duplicate_percent=10))
    assert sum(not isinstance(fate, Fate) and len(fate) == 2 for fate in fates) / _MANY == pytest.approx(0.1, rel=0.15)


def test_a_slow_link_queues_up_to_its_bound_and_no_further() -> None:
    # 1,000 bytes each 3 ms are 2,667 kbit/s; the link has 2,000.
    fates = carried(Conditions(rate_kbps=2000, queue_ms=100))
    given = delays(fates)
    assert 95 < max(given) <= 104
    assert len(given) / _MANY == pytest.approx(2000 / 2667, rel=0.02)
    assert order(fates) == sorted(order(fates))


def test_a_seed_repeats_a_run_and_another_does_not() -> None:
    bad = Conditions(delay_ms=20, jitter_ms=20, overtaking=True, loss_percent=10, mean_burst=3, duplicate_percent=5)
    assert carried(bad, seed=1) == carried(bad, seed=1)
    assert carried(bad, seed=1) != carried(bad, seed=2)
