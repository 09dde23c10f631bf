"""The networks of `make netlab`: the rows of the loss table, sampled deeply, and a matrix in which any two values meet at least once.

Before it: run.py, whose Scenarios these are. After it: scripts/netlab runs them and prints the tables.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product

from tests.kit.netlab.conditions import Conditions
from tests.kit.netlab.lab import Weather, both_ways
from tests.kit.netlab.run import Scenario

# Slowest link and the longest wait before it; the media is made to fit, as a browser's own adaptation would.
LINKS = ((0, 0), (5000, 100), (5000, 1000), (1000, 100), (1000, 1000), (300, 100), (300, 1000))
_KBPS_OF_LINK = {0: 2000, 5000: 2000, 1000: 700, 300: 180}
# Encoders that keep to a low rate on noise.
_CODECS = {2000: ("VP8", "H264", "VP9"), 700: ("H264",), 180: ("H264",)}

AXES: dict[str, Sequence[object]] = {
    "loss": (0, 1, 2, 5, 10, 20),
    "burst": (1, 4, 20),
    "rtt": (10, 80, 150, 300),
    "jitter": (0, 30, 100),
    "held_back": (0, 1, 5),
    "doubled": (0, 2, 10),
    "link": LINKS,
}
# Share of video packets that may stay lost by loss (%) and RTT (ms); RTTs in between go by the next longer one.
_GATES = {
    150: {0: 0.0, 1: 0.00005, 2: 0.0001, 5: 0.0002, 10: 0.0005, 20: 0.002},
    300: {0: 0.0, 1: 0.0001, 2: 0.0002, 5: 0.0005, 10: 0.002, 20: 0.02},
}
_BURST_GATE = 0.0005
_BURST_DOWN = 2
_HELD_BACK_MS = 20.0


@dataclass(frozen=True)
class Cell:
    """One row of the matrix. held_back and doubled are percentages; link is kbit/s and ms of queue."""

    loss: int
    burst: int
    rtt: int
    jitter: int
    held_back: int
    doubled: int
    link: tuple[int, int]

    @property
    def goal(self) -> float | None:
        """None for a link that itself drops packets, and for bursts beyond the row that the loss table has."""
        if self.link[0]:
            return None
        if self.burst > 1 and self.loss:
            return _BURST_GATE if (self.loss, self.burst, self.rtt) == (5, 20, 80) else None
        return _GATES[150 if self.rtt <= 150 else 300][self.loss]

    def scenario(self, number: int) -> Scenario:
        """This row as a call; number seeds it."""
        kbps = _KBPS_OF_LINK[self.link[0]]
        codecs = _CODECS[kbps]
        up, down = self._conditions(self.burst), self._conditions(min(self.burst, _BURST_DOWN))
        return Scenario(f"m{number}", Weather(up, down), codecs[number % len(codecs)], kbps, self.goal, seed=number)

    def _conditions(self, burst: int) -> Conditions:
        return Conditions(
            delay_ms=self.rtt / 2,
            jitter_ms=self.jitter,
            loss_percent=self.loss,
            mean_burst=burst,
            duplicate_percent=self.doubled,
            held_back_percent=self.held_back,
            held_back_ms=_HELD_BACK_MS,
            rate_kbps=self.link[0],
            queue_ms=self.link[1],
        )


def pairwise(axes: dict[str, Sequence[object]], seed: int = 1, tries: int = 60) -> list[dict[str, object]]:
    """Rows in which any two values of two axes stand together at least once; greedy, so a few more than the least."""
    order = random.Random(seed)
    pairs = {((a, x), (b, y)) for a, b in combinations(sorted(axes), 2) for x, y in product(axes[a], axes[b])}
    rows = []
    while pairs:
        # Sorted, because a set's order is not the same in each run.
        first = order.choice(sorted(pairs, key=repr))
        candidates = [_filled(axes, dict(first), order) for _ in range(tries)]
        best = max(candidates, key=lambda row: len(pairs & _pairs_of(row)))
        pairs -= _pairs_of(best)
        rows.append(best)
    return rows


def cells() -> list[Cell]:
    """The matrix. It needs at least 42 rows, for six losses times seven links; this seed finds them."""
    return [Cell(**row) for row in pairwise(AXES, seed=3)]  # type: ignore[arg-type]


def goals(peers: int) -> list[list[Scenario]]:
    """The loss table, each row with several peers whose losses fall differently."""
    bursts = Weather(
        Conditions(delay_ms=40, loss_percent=5, mean_burst=20),
        Conditions(delay_ms=40, loss_percent=5, mean_burst=_BURST_DOWN),
    )
    rows = [
        (f"{loss} % / {rtt} ms", both_ways(rtt, loss_percent=loss), goal)
        for rtt, gates in _GATES.items()
        for loss, goal in gates.items()
        if loss
    ]
    rows.append(("5 % in bursts of 20 / 80 ms", bursts, _BURST_GATE))
    codecs = ("VP8", "H264")
    return [
        [
            Scenario(f"{name} #{peer}", weather, codecs[peer % 2], loss_goal=goal, seed=100 * at + peer)
            for peer in range(peers)
        ]
        for at, (name, weather, goal) in enumerate(rows, 1)
    ]


def _filled(axes: dict[str, Sequence[object]], row: dict[str, object], order: random.Random) -> dict[str, object]:
    return {name: row.get(name, order.choice(values)) for name, values in axes.items()}


def _pairs_of(row: dict[str, object]) -> set[tuple[tuple[str, object], tuple[str, object]]]:
    return {((a, row[a]), (b, row[b])) for a, b in combinations(sorted(row), 2)}
