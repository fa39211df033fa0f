"""Metrics in the text form of Prometheus. The one file that knows its client library."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from typing import Any

from legato.deploy.catalogue import CATALOGUE, COUNTER, GAUGE
from legato.deploy.measures import Sample, Spread
from legato.errors import MissingExtra

Source = Callable[[], Iterable[Sample]]
"""Gives samples whenever it is asked; never waits."""


def installed() -> bool:
    """Whether the extra is there."""
    return find_spec("prometheus_client") is not None


class Metrics:
    """Everything that one process exposes: its sources, and how the process itself fares.

    The library is imported at the first scrape.

    Args:
        version, role, app: What runs: "0.1.0", "worker", the app's name.
    """

    def __init__(self, version: str, role: str, app: str) -> None:
        self._about = Sample("legato_info", 1, (version, role, app))
        self._sources: list[Source] = [lambda: (self._about,)]
        self._registry: Any = None

    def add(self, source: Source) -> None:
        """Asks `source`, too, from now on."""
        self._sources.append(source)

    def samples(self) -> Iterator[Sample]:
        """All samples of all sources."""
        for source in self._sources:
            yield from source()

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """The exposition and its content type.

        Args:
            accept: The scraper's Accept header.

        Raises:
            MissingExtra: The library is not installed.
        """
        try:
            from prometheus_client import exposition
        except ImportError as error:
            raise MissingExtra("the metrics", "metrics") from error
        if self._registry is None:
            self._registry = _registry(self)
        encode, kind = exposition.choose_encoder(accept)
        return encode(self._registry), kind


def _registry(metrics: Metrics) -> Any:
    from prometheus_client import GCCollector, PlatformCollector, ProcessCollector
    from prometheus_client.registry import Collector, CollectorRegistry

    class Ours(Collector):
        """Our samples as families of the library."""

        def collect(self) -> Iterator[Any]:
            return _families(metrics.samples())

        def describe(self) -> Iterable[Any]:
            return ()  # what there is depends on what runs: nothing is asked at the registration

    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    registry.register(Ours())
    return registry


def _families(samples: Iterable[Sample]) -> Iterator[Any]:
    """Samples of one name together, in the order of the catalogue; samples that have the same labels
    are added up.
    """
    found: dict[str, dict[tuple[str, ...], Any]] = {name: {} for name in CATALOGUE}
    for sample in samples:
        lines = found[sample.name]
        if sample.labels in lines and not isinstance(sample.value, Spread):
            lines[sample.labels] += sample.value
        else:
            lines[sample.labels] = sample.value
    for name, lines in found.items():
        if lines:
            yield _family(name, lines)


def _family(name: str, lines: dict[tuple[str, ...], Any]) -> Any:
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )

    metric = CATALOGUE[name]
    if metric.kind == COUNTER:
        family: Any = CounterMetricFamily(name, metric.help, labels=metric.labels)
    elif metric.kind == GAUGE:
        family = GaugeMetricFamily(name, metric.help, labels=metric.labels)
    else:
        family = HistogramMetricFamily(name, metric.help, labels=metric.labels)
        for labels, spread in lines.items():
            family.add_metric(labels, buckets=_buckets(spread), sum_value=spread.total)
        return family
    for labels, value in lines.items():
        family.add_metric(labels, value)
    return family


def _buckets(spread: Spread) -> list[tuple[str, float]]:
    """[(upper bound, values up to it)], the last one "+Inf"."""
    bounds = [*(str(float(bound)) for bound in spread.bounds), "+Inf"]
    found, so_far = [], 0
    for bound, count in zip(bounds, spread.counts, strict=True):
        so_far += count
        found.append((bound, float(so_far)))
    return found


__all__ = ["Metrics", "Source", "installed"]
