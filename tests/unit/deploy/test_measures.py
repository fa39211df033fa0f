"""What is counted, and how it is exposed."""

from contextvars import Context

import pytest
from prometheus_client.parser import text_string_to_metric_families

from legato.abc import Verdict
from legato.deploy.catalogue import CATALOGUE, COUNTER, HISTOGRAM
from legato.deploy.measures import Measures, Sample, Spread
from legato.deploy.metrics import Metrics
from legato.errors import ConfigError, StoreUnavailable
from legato.model.events import Address
from legato.model.records import Call, OutboxItem
from legato.testing.clock import FakeClock

PLACE = Address("telegram", "bot", "chat-4711", "user-4711")


def exposed(*metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every line of an exposition: {(name, labels): value}."""
    found = {}
    for one in metrics:
        body, _ = one.render()
        for family in text_string_to_metric_families(body.decode()):
            for line in family.samples:
                found[line.name, frozenset(line.labels.items())] = line.value
    return found


def values(measures: Measures) -> dict[str, float]:
    """{"name{label=value}": value} of an exposition of `measures` alone, without buckets."""
    metrics = Metrics("1.2.3", "worker", "app")
    metrics.add(measures.samples)
    return {
        name + "".join(f"{{{k}={v}}}" for k, v in sorted(labels)): value
        for (name, labels), value in exposed(metrics).items()
        if name.startswith("legato_") and not name.endswith("_bucket")
    }


def item(attempts: int = 0) -> OutboxItem:
    created = FakeClock().now_ms()
    return OutboxItem(
        7, PLACE.lane, PLACE, "k", 1, "", Call("send"), attempts=attempts, created_ms=created
    )


def test_a_value_is_counted_in_the_first_bucket_that_holds_it() -> None:
    spread = Spread((1.0, 2.0))

    for value in (0, 1, 1.5, 2, 3):
        spread.add(value)

    assert (spread.counts, spread.total) == ([2, 2, 1], 7.5)


async def test_a_turn_is_counted_by_dialog_and_outcome_and_timed() -> None:
    clock = FakeClock()
    measures = Measures(clock)

    began = measures.begin_turn("test:bot:4711:4711:", "order", Context())
    clock.advance(2.0)
    measures.end_turn(began, "order", "waiting")

    found = values(measures)
    assert found["legato_turns_total{dialog=order}{outcome=waiting}"] == 1
    assert found["legato_turn_seconds_sum{dialog=order}"] == 2
    assert found["legato_turn_seconds_count{dialog=order}"] == 1


async def test_an_update_is_timed_from_where_it_was_taken_in() -> None:
    clock = FakeClock()
    measures = Measures(clock)
    at_ms = clock.now_ms()
    clock.advance(0.5)

    measures.end_update(measures.begin_update("1", at_ms=at_ms))
    measures.end_update(measures.begin_update("2"))  # not from a queue
    measures.end_update(measures.begin_update("3", at_ms=clock.now_ms() + 999))  # a clock ahead

    found = values(measures)
    assert found["legato_queue_wait_seconds_count"] == 2
    assert found["legato_queue_wait_seconds_sum"] == 0.5


async def test_a_send_is_counted_by_platform_and_outcome_and_its_first_try_waited() -> None:
    clock = FakeClock()
    measures = Measures(clock)
    clock.advance(3.0)

    for attempts, verdict in ((0, Verdict("retry", retry_after_s=9)), (1, Verdict("sent"))):
        one = item(attempts)
        measures.end_send(measures.begin_send(one), one, verdict)

    found = values(measures)
    assert found["legato_sends_total{outcome=retry}{platform=telegram}"] == 1
    assert found["legato_sends_total{outcome=sent}{platform=telegram}"] == 1
    assert found["legato_rate_limited_total{platform=telegram}"] == 1
    assert found["legato_relay_wait_seconds_count"] == 1
    assert found["legato_relay_wait_seconds_sum"] == 3


def test_only_failures_of_the_store_are_errors_of_the_store() -> None:
    measures = Measures(FakeClock())

    for error in (None, StoreUnavailable("away"), ValueError("a bug")):
        measures.end_store(measures.begin_store("commit"), "commit", error)

    found = values(measures)
    assert found["legato_store_seconds_count{operation=commit}"] == 3
    assert found["legato_store_errors_total{operation=commit}"] == 1


def test_publishes_timers_replays_and_webhooks_are_counted() -> None:
    measures = Measures(FakeClock())

    measures.end_publish(measures.begin_publish(3), 3, None)
    measures.end_publish(measures.begin_publish(1), 1, ConfigError("no"))
    measures.woken(250)
    measures.replayed(12)
    measures.answered("telegram", 503, 0.1)

    found = values(measures)
    assert found["legato_published_letters_total"] == 3
    assert found["legato_publish_errors_total"] == 1
    assert found["legato_publish_seconds_count"] == 2
    assert found["legato_timer_late_seconds_sum"] == 0.25
    assert found["legato_replayed_records_sum"] == 12
    assert found["legato_webhooks_total{platform=telegram}{status=503}"] == 1


def test_the_exposition_says_what_runs_and_how_the_process_fares() -> None:
    found = exposed(Metrics("1.2.3", "worker", "shop"))

    about = frozenset({("version", "1.2.3"), ("role", "worker"), ("app", "shop")})
    assert found["legato_info", about] == 1
    assert {"process_cpu_seconds_total", "python_info"} <= {name for name, _ in found}


def test_a_scraper_may_ask_for_openmetrics() -> None:
    body, kind = Metrics("1", "run", "x").render("application/openmetrics-text; version=1.0.0")

    assert kind.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


def test_samples_of_one_name_and_label_are_added_up() -> None:
    metrics = Metrics("1", "run", "x")
    metrics.add(lambda: [Sample("legato_updates_total", 2)])
    metrics.add(lambda: [Sample("legato_updates_total", 3)])

    assert exposed(metrics)["legato_updates_total", frozenset()] == 5


@pytest.mark.parametrize("metric", CATALOGUE.values(), ids=list(CATALOGUE))
def test_names_follow_the_conventions_of_prometheus(metric) -> None:
    assert metric.name.startswith("legato_")
    assert metric.name.endswith("_total") == (metric.kind == COUNTER)
    assert metric.help.endswith(".")
    assert not {"chat", "user", "conversation", "key", "update"} & set(metric.labels)
    if metric.kind == HISTOGRAM:
        assert metric.name.endswith(("_seconds", "_records"))
