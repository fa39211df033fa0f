"""Steps that are cut off: how often they are begun again, and what becomes of them then."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from legato.app.operate import retry
from legato.engine.term import MOST_TRIES
from legato.model.records import FAILED
from tests.unit.deploy.function_kit import Service
from tests.unit.deploy.time_kit import AFTER_S, SHORT_MS, TICK, Work, sent, stored, working


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def service(work: Work, tmp_path: Path) -> Iterator[Service]:
    with working(work, tmp_path) as service:
        yield service


def test_a_step_that_is_cut_off_again_and_again_parks_its_conversation_and_says_what_to_do(
    service: Service, work: Work
) -> None:
    work.hangs = True
    service.invoke(service.update("/long"), SHORT_MS)
    for _ in range(MOST_TRIES + 2):
        work.clock.advance(AFTER_S)
        service.invoke(TICK, SHORT_MS)
        service.restart()

    assert work.ran == ["long"] * MOST_TRIES
    service.invoke(TICK)
    row = stored(service)
    assert row is not None
    assert row.status == FAILED
    error = json.loads(row.state)["error"]
    assert f"hanging was begun {MOST_TRIES} times and never came to its end" in error
    assert "Give the function more time" in error
    assert sent(service) == ["Sorry"]


def test_a_step_that_was_not_begun_for_want_of_time_has_all_its_tries_yet(
    service: Service, work: Work
) -> None:
    work.hangs = True
    service.says("/late")
    assert work.ran == ["first"]
    for _ in range(MOST_TRIES + 2):
        service.invoke(TICK, 400)  # it is put down again and again: that is no try
        service.invoke(TICK, SHORT_MS)
        work.clock.advance(AFTER_S)

    assert work.ran == ["first", *["second"] * MOST_TRIES]
    service.invoke(TICK)
    row = stored(service)
    assert row is not None
    assert row.status == FAILED
    assert f"was begun {MOST_TRIES} times" in json.loads(row.state)["error"]


def test_a_step_that_is_retried_after_it_was_parked_has_all_its_tries_again(
    service: Service, work: Work
) -> None:
    work.hangs = True
    service.invoke(service.update("/long"), SHORT_MS)
    for tries in (1, 2):
        for _ in range(MOST_TRIES + 1):
            work.clock.advance(AFTER_S)
            service.invoke(TICK, SHORT_MS)
        assert work.ran == ["long"] * MOST_TRIES * tries
        row, runtime = stored(service), service.process._runtime
        assert row is not None
        assert runtime is not None
        assert row.status == FAILED
        assert service.process.run(retry(runtime.store, row.key, work.clock.now_ms()))


def test_progress_is_no_reason_to_park(service: Service, work: Work) -> None:
    work.hangs = True
    service.invoke(service.update("/long"), SHORT_MS)
    for _ in range(MOST_TRIES - 2):
        work.clock.advance(AFTER_S)
        service.invoke(TICK, SHORT_MS)
    work.hangs = False
    work.clock.advance(AFTER_S)
    service.invoke(TICK, SHORT_MS)

    assert work.ended == ["long"]
    assert sent(service) == ["done"]


def test_a_step_that_must_not_run_twice_is_not_begun_again_after_it_was_cut_off(
    service: Service, work: Work
) -> None:
    work.hangs = True
    service.invoke(service.update("/once"), SHORT_MS)
    work.clock.advance(AFTER_S)
    service.invoke(TICK)

    assert work.ran == ["pay"]
    assert sent(service) == ["I do not know"]


def test_only_one_of_two_ticks_takes_up_an_interrupted_turn(service: Service, work: Work) -> None:
    work.hangs = True
    service.invoke(service.update("/long"), SHORT_MS)
    work.clock.advance(AFTER_S)
    service.invoke(TICK, SHORT_MS)
    service.crash()
    assert len(work.ran) == 2

    work.hangs = False
    assert service.invoke(TICK)["woken"] == 0  # the second one has taken it for its own time, too
    work.clock.advance(AFTER_S)
    assert service.invoke(TICK)["woken"] == 1
    assert len(work.ran) == 3
