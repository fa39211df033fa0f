"""A newer version that fails each time after a rollback: who stands in its dialogs is parked in the end, and nobody waits."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from legato.app.operate import retry
from legato.deploy.function.builds import AT_ONCE
from legato.deploy.function.tries import MOST_TRIES, Tries
from legato.engine import journal
from legato.errors import Unavailable
from legato.model.records import FAILED
from legato.stores.memory import MemoryStore
from legato.testing.clock import FakeClock
from tests.unit.deploy.function_kit import request
from tests.unit.deploy.versions_kit import TICK, Versions, deployed, on_aws, shop

KEY = "telegram:4200:1001:1001:"


@pytest.fixture
def versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Versions]:
    with (
        on_aws(tmp_path, monkeypatch) as telegram,
        deployed(telegram, shop(1), shop(2)) as versions,
    ):
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{versions.port}")
        yield versions


BROKEN = (
    200,
    {"x-amz-function-error": "Unhandled"},
    b'{"errorType":"Runtime.ImportModuleError","errorMessage":"No module named \'gone\'"}',
)


def parked(versions: Versions) -> list[tuple[str, str]]:
    """Failed conversations, and why."""
    rows = [row for row in versions.rows() if row.status == FAILED]
    return [(row.key, journal.decode_state(row.state).error) for row in rows]


def until_200(versions: Versions, event: Any) -> int:
    """Repeats an update as a platform does; returns how often it was refused."""
    for refused in range(100):
        if versions.answer(event) == 200:
            return refused
        versions.clock.advance(10)  # type: ignore[union-attr]
    pytest.fail("it is refused for ever")


@pytest.mark.parametrize(
    "refusal",
    [
        BROKEN,
        (403, {"x-amzn-errortype": "AccessDeniedException"}, b"{}"),
        (200, {}, b'{"woken":0,"left":0}'),
    ],
)
def test_who_stands_in_a_version_that_cannot_start_is_parked_after_a_while_and_can_be_retried(
    versions: Versions, caplog: pytest.LogCaptureFixture, refusal: Any
) -> None:
    versions.says("/order")
    versions.live = 1
    tea = versions.update("tea")
    versions.refuse = [refusal] * 1000
    assert MOST_TRIES < until_200(versions, tea) < 30
    assert len(versions.calls) == MOST_TRIES
    ((key, why),) = parked(versions)
    assert key == KEY
    assert f"version 2, in which it was begun, failed {MOST_TRIES} times" in why
    assert ("No module named" in why) == (refusal is BROKEN)
    assert f"conversation {KEY} is parked" in caplog.text
    assert versions.answer(versions.update("milk")) == 200  # is kept for it, too
    assert versions.invoke(TICK) == {"woken": 0, "left": 0}

    versions.refuse = []  # it is mended
    retried(versions)
    versions.invoke(TICK)
    versions.invoke(TICK)
    assert versions.heard() == ["v2 0?", "v2 1?", "v2: tea milk"]
    assert versions.rows() == []


def retried(versions: Versions) -> None:
    function = versions.process(1)

    async def work() -> None:
        async with function.invoked(5, quiet=True) as runtime:
            await retry(runtime.store, KEY, function.clock.now_ms())

    versions._threads[1].submit(lambda: function.run(work())).result(60)


def test_a_timer_of_such_a_conversation_parks_it_too(versions: Versions) -> None:
    versions.says("/order")
    versions.live = 1
    versions.refuse = [BROKEN] * 1000
    for _ in range(20):
        versions.clock.advance(60)  # type: ignore[union-attr]
        versions.invoke(TICK)
    assert [key for key, _ in parked(versions)] == [KEY]
    assert len(versions.calls) == MOST_TRIES


def test_a_command_begins_anew_in_the_older_version_once_the_other_one_is_parked(
    versions: Versions,
) -> None:
    versions.says("/order")
    versions.live = 1
    versions.refuse = [BROKEN] * 1000
    assert until_200(versions, versions.update("/order")) > MOST_TRIES
    assert versions.heard() == ["v2 0?", "v1 0?"]
    ((key, _),) = parked(versions)
    assert key.startswith(KEY)
    assert key != KEY  # it stands aside
    versions.says("tea")
    assert versions.heard() == ["v2 0?", "v1 0?", "v1: tea"]


def test_a_version_that_starts_again_in_time_has_lost_nothing_and_all_tries_before_it(
    versions: Versions,
) -> None:
    versions.says("/order")
    versions.live = 1
    for text, said in (("tea", "v2 1?"), ("milk", "v2: tea milk")):
        event = versions.update(text)
        versions.refuse = [BROKEN] * (MOST_TRIES - 1)
        until_200(versions, event)
        assert versions.heard()[-1] == said
    assert parked(versions) == []


@pytest.mark.parametrize(
    "refusal",
    [
        (429, {"x-amzn-errortype": "TooManyRequestsException"}, b"{}"),
        (500, {"x-amzn-errortype": "ServiceException"}, b"{}"),
        (200, {}, b'{"outcome":"later","why":"no time left"}'),
    ],
)
def test_what_may_get_better_by_itself_is_tried_for_ever(versions: Versions, refusal: Any) -> None:
    versions.says("/order")
    versions.live = 1
    tea = versions.update("tea")
    versions.refuse = [refusal] * 20
    for _ in range(20):
        assert versions.answer(tea) == 503
        versions.clock.advance(60)  # type: ignore[union-attr]
    assert versions.answer(tea) == 200
    assert versions.heard() == ["v2 0?", "v2 1?"]


def test_others_do_not_wait_for_a_version_that_cannot_start(versions: Versions) -> None:
    people = range(2001, 2031)
    for person in people:
        versions.invoke(by(versions, person, "/order"))
    versions.live = 1
    versions.refuse = [BROKEN] * 1000
    versions.clock.advance(61)  # type: ignore[union-attr]
    versions.says("/order")  # somebody else; what is due is tried, too
    assert versions.heard() == ["v1 0?"]
    assert len(versions.calls) <= AT_ONCE + 1  # the others are not even asked
    for _ in range(10):
        versions.clock.advance(60)  # type: ignore[union-attr]
        versions.invoke(TICK)
    assert len(parked(versions)) == len(people)
    assert versions.heard() == ["v1 0?", "v1 quiet"]


def by(versions: Versions, person: int, text: str) -> Any:
    body = json.loads(versions.update(text)["body"])
    for part in (body["message"]["from"], body["message"]["chat"]):
        part["id"] = person
    return request("POST", "/telegram", json.dumps(body))


async def test_a_pause_that_a_wrong_clock_has_told_keeps_nobody_waiting() -> None:
    store, clock = MemoryStore(), FakeClock()
    ahead = FakeClock(clock.now_ms() + 86_400_000)
    for _ in range(2):
        tries = Tries(ahead)
        before = await tries.known(store, 1, "k")
        with pytest.raises(Unavailable):
            await tries.failed(store, 1, "k", before, "it died")
    with pytest.raises(Unavailable):
        await Tries(ahead).known(store, 1, "k")
    assert (await Tries(clock).known(store, 1, "k")).count == 2
