"""What becomes of a datagram on one direction of a path: when it arrives, how often, or why it does not. Pure and seeded.

Before it: nothing. After it: relay.py, which asks for each datagram and keeps the appointments. The order is that of a real path: lost
on the air, then queued before the slowest link, then delayed, at last doubled. The same datagrams at the same times meet the same fate.
"""

import random
from dataclasses import dataclass, field
from enum import IntEnum

_MS = 1_000_000
# Ordered jitter wanders from one draw to the next in this time, as the queue behind other people's traffic does.
_WANDER_NS = 100 * _MS


class Fate(IntEnum):
    """As the relay logs it. LOST: on the air. QUEUE_FULL: before the slowest link. CROWDED_OUT: the relay's own bound was reached."""

    GIVEN = 0
    LOST = 1
    QUEUE_FULL = 2
    CROWDED_OUT = 3


@dataclass(frozen=True, slots=True)
class Conditions:
    """One direction of a path.

    Jitter adds 0..jitter_ms: drawn anew for each datagram when they may overtake one another, else wandering and in order. Losses come
    in runs of mean_burst datagrams (a Gilbert-Elliott chain whose bad state loses everything); 1 makes them independent.
    held_back_percent of the datagrams come held_back_ms later, behind their successors. rate_kbps 0 is no limit; queue_ms is the
    longest wait before the slowest link.
    """

    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    overtaking: bool = False
    loss_percent: float = 0.0
    mean_burst: float = 1.0
    duplicate_percent: float = 0.0
    held_back_percent: float = 0.0
    held_back_ms: float = 20.0
    rate_kbps: float = 0.0
    queue_ms: float = 100.0


@dataclass(slots=True)
class Path:
    """One direction with its state. Times are ns of one clock that only rises."""

    conditions: Conditions
    seed: int
    _order: random.Random = field(init=False)
    _is_bad: bool = field(init=False, default=False)
    _link_free_ns: int = field(init=False, default=0)
    _last_due_ns: int = field(init=False, default=0)
    _wander: tuple[int, float, float] = field(init=False, default=(0, 0.0, 0.0))

    def __post_init__(self) -> None:
        self._order = random.Random(self.seed)

    def carry(self, now_ns: int, size_bytes: int) -> list[int] | Fate:
        """When a datagram arrives, twice when it is doubled; or why it never does."""
        given, order = self.conditions, self._order
        if self._loses():
            return Fate.LOST
        sent_ns = self._leaves_link(now_ns, size_bytes)
        if sent_ns is None:
            return Fate.QUEUE_FULL
        arrivals = [self._arrives(sent_ns)]
        if given.duplicate_percent and order.random() * 100 < given.duplicate_percent:
            arrivals.append(self._arrives(sent_ns) if given.overtaking else arrivals[0])
        return arrivals

    def _loses(self) -> bool:
        share = self.conditions.loss_percent / 100
        if not 0 < share < 1:
            return share >= 1
        if self.conditions.mean_burst <= 1:
            return self._order.random() < share
        leave_bad = 1 / self.conditions.mean_burst
        enter_bad = leave_bad * share / (1 - share)
        turns = self._order.random() < (leave_bad if self._is_bad else enter_bad)
        self._is_bad ^= turns
        return self._is_bad

    def _leaves_link(self, now_ns: int, size_bytes: int) -> int | None:
        """When the slowest link has sent it; None when its queue is too long."""
        if not self.conditions.rate_kbps:
            return now_ns
        begins_ns = max(now_ns, self._link_free_ns)
        if begins_ns - now_ns > self.conditions.queue_ms * _MS:
            return None
        self._link_free_ns = begins_ns + round(size_bytes * 8 * _MS / self.conditions.rate_kbps)
        return self._link_free_ns

    def _arrives(self, sent_ns: int) -> int:
        given, order = self.conditions, self._order
        due_ns = sent_ns + round(given.delay_ms * _MS)
        if given.held_back_percent and order.random() * 100 < given.held_back_percent:
            return due_ns + round((given.jitter_ms + given.held_back_ms) * _MS)
        if given.overtaking:
            return due_ns + round(order.random() * given.jitter_ms * _MS)
        if given.jitter_ms:
            due_ns += round(self._wandering(sent_ns) * given.jitter_ms * _MS)
        self._last_due_ns = max(self._last_due_ns, due_ns)
        return self._last_due_ns

    def _wandering(self, now_ns: int) -> float:
        """0..1, on a straight line between draws."""
        since, before, after = self._wander
        if now_ns - since >= _WANDER_NS:
            since, before, after = now_ns, after, self._order.random()
            self._wander = (since, before, after)
        return before + (after - before) * (now_ns - since) / _WANDER_NS
