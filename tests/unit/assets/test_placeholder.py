"""A black frame is made without a trace in the process that makes it."""

import os

import pytest

from isotape.assets.placeholder import black_frame


@pytest.mark.parametrize("codec", ["VP8", "VP9", "AV1"])
def test_an_encoder_leaves_the_thread_its_priority(codec: str) -> None:
    before = os.sched_getscheduler(0), os.sched_getparam(0).sched_priority
    assert black_frame(codec, b"", 642, 362)
    after = os.sched_getscheduler(0), os.sched_getparam(0).sched_priority
    # Whatever the encoder did, the rest of this test run shares a machine with others.
    os.sched_setscheduler(0, before[0], os.sched_param(before[1]))
    assert after == before
