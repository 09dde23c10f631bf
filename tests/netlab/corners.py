"""The networks of every test run: the rows of the loss table, and one that only disorders. `make netlab` runs many more."""

from tests.kit.netlab.conditions import Conditions
from tests.kit.netlab.lab import Weather, both_ways
from tests.kit.netlab.run import Scenario

# Bursts last in time, not in datagrams: 20 of media are 65 ms, in which the server says one or two things.
_BURSTS = Weather(
    Conditions(delay_ms=40, loss_percent=5, mean_burst=20), Conditions(delay_ms=40, loss_percent=5, mean_burst=2)
)
_DISORDER = Conditions(
    delay_ms=40, jitter_ms=30, overtaking=True, duplicate_percent=5, held_back_percent=2, held_back_ms=60
)

CORNERS = (
    Scenario("clean", both_ways(20), loss_goal=0.0),
    Scenario("2 % at 150 ms", both_ways(150, loss_percent=2), "H264", loss_goal=0.0001),
    Scenario("5 % at 300 ms", both_ways(300, loss_percent=5), loss_goal=0.0005),
    Scenario("10 % at 150 ms", both_ways(150, loss_percent=10), "H264", loss_goal=0.0005),
    Scenario("20 % at 300 ms", both_ways(300, loss_percent=20), loss_goal=0.02),
    Scenario("bursts of 20, 5 % at 80 ms", _BURSTS, loss_goal=0.0005),
    Scenario("disorder", Weather(_DISORDER, _DISORDER), "H264", loss_goal=0.0),
)

# What comes from the new address before the peer has shown that it is its own is refused, and may be asked for again.
REBINDING = Scenario("rebinding", both_ways(40), rebind_at_s=4.0)
