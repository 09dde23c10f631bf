"""The matrix of `make netlab` meets every pair of values, is the same in each run, and bounds are computed as statistics has them."""

from dataclasses import asdict
from itertools import combinations, product

import pytest

from tests.kit.netlab.matrix import AXES, cells, goals
from tests.kit.netlab.run import at_most, chance_of


def test_any_two_values_of_two_axes_meet() -> None:
    rows = [asdict(cell) for cell in cells()]
    for (a, xs), (b, ys) in combinations(AXES.items(), 2):
        met = {(row[a], row[b]) for row in rows}
        assert met == set(product(xs, ys)), f"{a} and {b}"
    assert len(rows) == 42, "no fewer can do: six losses times seven links"


def test_the_matrix_is_the_same_in_each_run() -> None:
    assert cells() == cells()


def test_a_link_that_drops_has_no_goal_and_random_loss_has_its_own() -> None:
    for cell in cells():
        if cell.link[0]:
            assert cell.goal is None
        elif cell.loss == 0:
            assert cell.goal == 0
    assert {row[0].name: row[0].loss_goal for row in goals(1)}["20 % / 300 ms #0"] == 0.02


def test_chances_of_losses() -> None:
    assert chance_of(0, 1000, 0.01) == 1.0
    assert chance_of(1, 1000, 0.001) == pytest.approx(0.632, abs=0.001)
    # The rule of three: no loss in n packets excludes a share of 3 / n.
    assert at_most(0, 30_000) == pytest.approx(0.0001, rel=0.01)
