"""Chromium over a bad network: the ledger agrees with what the relay carried, and little stays lost, neither sound nor picture.

How far sound and picture stand apart there, `make netlab` measures over ten minutes: in a short call a busy machine adds as much as the
path.
"""

from pathlib import Path

import pytest

from tests.kit.netlab.browser_call import call
from tests.kit.netlab.lab import both_ways
from tests.kit.netlab.run import chance_of

pytestmark = [pytest.mark.anyio, pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(180)]

_SECONDS = 15
_LOSS_GOAL, _CHANCE = 0.0001, 0.001


async def test_a_browser_on_a_bad_network_is_accounted_for(tmp_path: Path) -> None:
    found = await call(tmp_path, both_ways(100, loss_percent=2, jitter_ms=30), _SECONDS)
    assert found.problems == []
    assert found.carried["up"]["lost"] > 0, "the network was not bad"
    assert len(found.av_errors_ms) > 0, "no picture could be read"
    for packets in found.packets.values():
        assert chance_of(packets["lost"], packets["expected"], _LOSS_GOAL) > _CHANCE, packets
