"""The relay's log: one row for each RTP datagram on its way to the server, in the order in which they were given or dropped.

RTP headers stay readable under SRTP, so the rows tell which packet it was. Before it: relay.py writes. After it: ledger.py compares.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[Any]

# taken and given are Unix ns; given is 0 when it was dropped. A datagram that was doubled has two rows.
ROW = np.dtype(
    [
        ("taken_ns", "<u8"),
        ("given_ns", "<u8"),
        ("ssrc", "<u4"),
        ("sequence", "<u2"),
        ("size", "<u2"),
        ("payload_type", "u1"),
        ("fate", "u1"),
    ]
)
# The same for struct, which the relay packs with.
PACKED = "<QQIHHBB"


def read(path: Path) -> Rows:
    """All rows so far."""
    return np.fromfile(path, ROW)
