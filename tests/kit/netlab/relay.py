"""`python -m tests.kit.netlab.relay FOLDER`: a process that carries datagrams between clients and the server as conditions.py says.

lab.py starts it and speaks to it: one JSON command a line on stdin, one JSON reply a line on stdout; the end of stdin ends it. A route
is a socket that clients send to; each client address gets a socket of its own towards the server, as behind a NAT. It is a process
because a thread would wait for the interpreter of the server under test, and one loop over select(2), whose wait is exact to
microseconds. What may wait in it is bounded; what it drops beyond that, and what the kernel drops before it, is counted.
"""

import gc
import heapq
import json
import os
import select
import socket
import struct
import sys
import time
from array import array
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

from tests.kit.netlab import conditions
from tests.kit.netlab.conditions import Conditions, Fate
from tests.kit.netlab.fates import PACKED

Json = dict[str, Any]
Address = tuple[str, int]

_DATAGRAM_BYTES = 2048
_RTP_HEADER_BYTES = 12
# Datagrams taken from one socket before the others have their turn.
_BATCH = 64
# 1 s of a route's delay at 20,000 packets a second; more is no test of ours.
_WAITING = 20_000
_CLIENTS = 64
_LATENESSES = 400_000
_BUFFER_BYTES = 4 << 20
# Linux: SO_RCVBUFFORCE, SO_MEMINFO and the place of the drop counter in it (linux/sock_diag.h).
_SO_RCVBUFFORCE, _SO_MEMINFO, _MEMINFO_WORDS, _DROPS = 33, 55, 9, 8
# Long enough ahead that it is no deadline.
_IDLE_S = 3600.0


@dataclass(slots=True)
class Direction:
    """One direction of one route, and what was counted. taken = given + dropped - doubled + waiting."""

    name: str
    way: conditions.Path
    taken: int = 0
    rtp: int = 0
    given: int = 0
    doubled: int = 0
    unsent: int = 0
    waiting: int = 0
    dropped: dict[Fate, int] = field(default_factory=lambda: dict.fromkeys((f for f in Fate if f), 0))

    def counts(self) -> Json:
        dropped = {fate.name.lower(): number for fate, number in self.dropped.items()}
        names = ("taken", "rtp", "given", "doubled", "unsent", "waiting")
        return {**{name: getattr(self, name) for name in names}, **dropped}


@dataclass(slots=True, eq=False)
class Client:
    """One address that sends to a route, and our socket towards the server for it."""

    address: Address
    outside: socket.socket


@dataclass(slots=True, eq=False)
class Route:
    """A socket for clients, the server behind it, and both directions."""

    inside: socket.socket
    server: Address
    up: Direction
    down: Direction
    log: BinaryIO
    clients: dict[Address, Client] = field(default_factory=dict)
    refused_clients: int = 0
    drops_before: int = 0

    def kernel_drops(self) -> int:
        sockets = [self.inside, *(client.outside for client in self.clients.values())]
        return self.drops_before + sum(_drops(one) for one in sockets)


@dataclass(slots=True, eq=False)
class Waiting:
    """A datagram under way. taken_ns is Unix time; due times live in the heap beside it."""

    route: Route
    client: Client
    direction: Direction
    datagram: bytes
    taken_ns: int


class Relay:
    """All routes of the process and the loop that serves them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._routes: dict[str, Route] = {}
        self._sockets: dict[socket.socket, tuple[Route, Client | None]] = {}
        self._heap: list[tuple[int, int, Waiting]] = []
        self._numbers = count()
        self._lateness = array("L")
        self._commands = b""

    def run(self) -> None:
        """Serves until stdin ends."""
        while True:
            due_s = (self._heap[0][0] - time.monotonic_ns()) / 1e9 if self._heap else _IDLE_S
            ready, _, _ = select.select([sys.stdin, *self._sockets], [], [], max(due_s, 0.0))
            for one in ready:
                if one is sys.stdin:
                    if not self._obey():
                        return
                elif one in self._sockets:
                    self._take(one)
            self._give()

    def _take(self, ready: socket.socket) -> None:
        """Everything that waits at a socket, up to a batch."""
        route, client = self._sockets[ready]
        for _ in range(_BATCH):
            try:
                datagram, source = ready.recvfrom(_DATAGRAM_BYTES)
            except BlockingIOError:
                return
            except ConnectionRefusedError:
                continue  # the server is away for the moment
            if client is not None:
                self._carry(Waiting(route, client, route.down, datagram, time.time_ns()))
            elif (known := self._client(route, source)) is not None:
                self._carry(Waiting(route, known, route.up, datagram, time.time_ns()))

    def _client(self, route: Route, source: Address) -> Client | None:
        known = route.clients.get(source)
        if known is None and len(route.clients) < _CLIENTS:
            known = route.clients[source] = Client(source, self._towards(route))
            self._sockets[known.outside] = (route, known)
        route.refused_clients += known is None
        return known

    def _towards(self, route: Route) -> socket.socket:
        outside = _socket((route.server[0], 0))
        outside.connect(route.server)
        return outside

    def _carry(self, waiting: Waiting) -> None:
        direction = waiting.direction
        direction.taken += 1
        direction.rtp += _is_rtp(waiting.datagram)
        fate = direction.way.carry(time.monotonic_ns(), len(waiting.datagram))
        if not isinstance(fate, Fate) and len(self._heap) >= _WAITING:
            fate = Fate.CROWDED_OUT
        if isinstance(fate, Fate):
            direction.dropped[fate] += 1
            _log(waiting, fate, 0)
            return
        direction.doubled += len(fate) - 1
        direction.waiting += len(fate)
        for due_ns in fate:
            heapq.heappush(self._heap, (due_ns, next(self._numbers), waiting))

    def _give(self) -> None:
        """Sends everything that is due."""
        heap = self._heap
        while heap and heap[0][0] <= (now_ns := time.monotonic_ns()):
            due_ns, _, waiting = heapq.heappop(heap)
            waiting.direction.waiting -= 1
            if len(self._lateness) < _LATENESSES:
                self._lateness.append((now_ns - due_ns) // 1000)
            given_ns = time.time_ns()
            if _send(waiting):
                waiting.direction.given += 1
                _log(waiting, Fate.GIVEN, given_ns)
            else:
                waiting.direction.unsent += 1

    def _obey(self) -> bool:
        """The commands on stdin; False at its end."""
        more = os.read(sys.stdin.fileno(), 1 << 16)
        *lines, self._commands = (self._commands + more).split(b"\n")
        for line in lines:
            command = json.loads(line)
            reply = getattr(self, f"_do_{command.pop('command')}")(**command)
            sys.stdout.write(json.dumps(reply) + "\n")
            sys.stdout.flush()
        return bool(more)

    def _do_open(self, name: str, bind: list[Any], server: list[Any], up: Json, down: Json, seed: int) -> Json:
        inside = _socket((bind[0], bind[1]))
        ways = [conditions.Path(Conditions(**given), seed * 2 + at) for at, given in enumerate((up, down))]
        directions = Direction("up", ways[0]), Direction("down", ways[1])
        log = (self._folder / f"{name}.fates").open("wb")
        route = self._routes[name] = Route(inside, (server[0], server[1]), *directions, log)
        self._sockets[inside] = (route, None)
        return {"port": inside.getsockname()[1]}

    def _do_change(self, name: str, up: Json, down: Json) -> Json:
        """Other conditions from now on; what is under way arrives as it would have."""
        route = self._routes[name]
        route.up.way.conditions, route.down.way.conditions = Conditions(**up), Conditions(**down)
        return {}

    def _do_rebind(self, name: str) -> Json:
        """All clients of the route get new source addresses towards the server, as when a NAT forgets them."""
        route = self._routes[name]
        for client in route.clients.values():
            route.drops_before += _drops(client.outside)
            del self._sockets[client.outside]
            client.outside.close()
            client.outside = self._towards(route)
            self._sockets[client.outside] = (route, client)
        return {}

    def _do_report(self, name: str) -> Json:
        """The counts so far; the log is on disk when the reply is there."""
        route = self._routes[name]
        route.log.flush()
        late = sorted(self._lateness) or [0]
        return {
            "up": route.up.counts(),
            "down": route.down.counts(),
            "kernel_drops": route.kernel_drops(),
            "refused_clients": route.refused_clients,
            "late_us": {share: late[int(len(late) * float(share))] for share in ("0.5", "0.99", "0.999")},
        }


def _socket(address: Address) -> socket.socket:
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        one.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
    except PermissionError:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
    one.setblocking(False)
    one.bind(address)
    return one


def _drops(one: socket.socket) -> int:
    """What the kernel dropped because the socket's buffer was full."""
    words = one.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO_WORDS * 4)
    return int(struct.unpack(f"<{_MEMINFO_WORDS}I", words)[_DROPS])


def _send(waiting: Waiting) -> bool:
    try:
        if waiting.direction is waiting.route.up:
            waiting.client.outside.send(waiting.datagram)
        else:
            waiting.route.inside.sendto(waiting.datagram, waiting.client.address)
    except (BlockingIOError, ConnectionRefusedError):
        return False
    return True


def _is_rtp(datagram: bytes) -> bool:
    """By the first byte (RFC 7983), and by the second no RTCP (RFC 5761)."""
    return len(datagram) >= _RTP_HEADER_BYTES and 128 <= datagram[0] < 192 and not 192 <= datagram[1] < 224


def _log(waiting: Waiting, fate: Fate, given_ns: int) -> None:
    """RTP towards the server only."""
    datagram = waiting.datagram
    if waiting.direction is waiting.route.up and _is_rtp(datagram):
        sequence, _, ssrc = struct.unpack_from(">HII", datagram, 2)
        row = (waiting.taken_ns, given_ns, ssrc, sequence, len(datagram), datagram[1] & 0x7F, fate)
        waiting.route.log.write(struct.pack(PACKED, *row))


def _hurry() -> None:
    """A network does not wait for a processor: with real-time priority, which takes a right that not everyone has, 99 of 100 datagrams are
    given within 0.1 ms on a busy machine, without it within some ms."""
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


if __name__ == "__main__":
    _hurry()
    # No object here is part of a cycle, and a collection would hold datagrams up.
    gc.disable()
    Relay(Path(sys.argv[1])).run()
