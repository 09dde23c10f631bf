"""/metrics: counters of the media core and of this process, in Prometheus' text form.

The core counts on its own threads with atomics; they are read when somebody scrapes, never per packet.
"""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

ReadNumbers = Callable[[], Mapping[str, int]]


class _Snapshot(Collector):
    """Numbers that somebody else counts, under one prefix."""

    def __init__(self, prefix: str, read: ReadNumbers) -> None:
        self._prefix = prefix
        self._read = read

    def collect(self) -> Iterable[Metric]:
        for name, value in sorted(self._read().items()):
            yield GaugeMetricFamily(f"isotape_{self._prefix}_{name}", f"{name} of the {self._prefix}", value=value)


class Metrics:
    """One registry of one node, so that two servers in one test process do not share counters."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.assets = Counter(
            "isotape_assets", "Assets that reached an end, by outcome", ["outcome"], registry=self.registry
        )

    def watch(self, prefix: str, read: ReadNumbers) -> None:
        """Shows the numbers of `read()` as gauges `isotape_<prefix>_<name>` at each scrape."""
        self.registry.register(_Snapshot(prefix, read))

    def render(self) -> bytes:
        return generate_latest(self.registry)
