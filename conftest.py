"""What holds for every test, those in the documentation included.

Sybil runs the Python blocks of the Markdown pages. A page is one story: its blocks run in order and share
their names.
"""

import asyncio
import gc
import inspect
import os
import sys
from collections.abc import Coroutine, Generator
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from sybil import Sybil
from sybil.parsers.myst import PythonCodeBlockParser, SkipParser
from xdist.scheduler import LoadScopeScheduling

from tests.servers._process import in_memory

in_memory()
# The same code is judged alike each time; `make soak` looks for what nobody has thought of yet.
SOAK = int(os.environ.get("LEGATO_SOAK", "0"))
hypothesis.settings.register_profile(
    "legato", deadline=None, derandomize=not SOAK, max_examples=100 * max(SOAK, 1)
)
hypothesis.settings.load_profile("legato")
pytest_plugins = ["tests.servers.fixtures"]

pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()],
    patterns=["README.md", "docs/*.md", "docs/**/*.md"],
    excludes=["docs/_build/**"],
).pytest()


WAITING = ("tests/chaos/", "tests/ops/", "tests/integration/")
"""Tests with servers and processes of their own: they wait for most of their time."""
LONGEST = (
    "tests/chaos/", "tests/ops/test_ansible", "tests/ops/test_stuck", *(
        f"tests/integration/test_{name}.py" for name in (
            "function_transcripts", "gateway", "listen_telegram", "servers", "deploy_aws_web",
            "deploy_aws_failing", "deploy_aws_rollback", "deploy_aws", "listen_twitch", "resize",
            "kill", "postgres_kill", "transactions_on_postgres", "function_hang",
        )
    ),
)  # fmt: skip
"""What may not begin last, since everybody would wait for it. A file that is not named is no harm."""


class PagesTogether(LoadScopeScheduling):  # type: ignore[misc] # xdist has no types
    """Give single tests to whichever worker is free; pages and tests with servers go as a whole.

    This is what `--dist loadgroup` with marks is for, but xdist 3.8 loses its marks on pytest 9.2.

    Three workers of four begin with what waits, the longest first, and the other one with what computes,
    from the other end: the processors have something to do at any time, and what comes last is short.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        whole = file.endswith(".md") or file.startswith("tests/integration/") or _shares(file)
        return file if whole else nodeid

    def _assign_work_unit(self, node: Any) -> None:
        if int(node.gateway.id.removeprefix("gw")) % 4 == 1:
            self.workqueue.move_to_end(next(reversed(self.workqueue)), last=False)
        super()._assign_work_unit(node)


@cache
def _shares(file: str) -> bool:
    """Whether its tests share what one of them makes."""
    return 'scope="module"' in (Path(__file__).parent / file).read_text(encoding="utf-8")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> PagesTogether:
    """Distribute tests over the workers of `-n`."""
    config.option.loadscopereorder = False
    return PagesTogether(config, log)


def pytest_xdist_auto_num_workers() -> int:
    """How many workers `-n auto` means: more than processors, since many tests wait for something."""
    return 2 * (os.cpu_count() or 1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Bring the tests into the order that PagesTogether wants."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: _turn(item.nodeid))


def _turn(nodeid: str) -> int:
    found = (n for n, start in enumerate(LONGEST) if nodeid.startswith(start))
    if (place := next(found, None)) is not None:
        return place
    if nodeid.startswith(WAITING):
        return len(LONGEST)
    return len(LONGEST) + 1 + nodeid.startswith("tests/property/")


FREEZE = gc.freeze


def pytest_configure(config: pytest.Config) -> None:
    """Let nobody else freeze or unfreeze: shells do so, and here they run in the tests' own process.

    Once unfrozen, all that pytest and the tests have is looked at by each collection: for 0.1 s each time.
    """
    patch = pytest.MonkeyPatch()
    for name in ("freeze", "unfreeze"):
        patch.setattr(gc, name, lambda: None)
    config.add_cleanup(patch.undo)


def pytest_collection_finish() -> None:
    """Take what exists before the first test out of the collector's sight: see below."""
    gc.collect()
    FREEZE()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """Find what a test left open while it still bears the blame.

    An unclosed connection, socket or task is reported when it is collected. Left to chance, that is in
    some later, innocent test. So the fixtures' values are let go and garbage is collected here. What is
    alive after that is frozen: the next collection looks only at what the next test made, which costs
    0.05 ms a test where a full collection costs 5.
    """
    yield
    if isinstance(item, pytest.Function):
        item.funcargs.clear()
    for name in ("last_type", "last_value", "last_traceback", "last_exc"):
        vars(sys).pop(name, None)  # the frames of a failed test hold what it opened
    gc.collect()
    FREEZE()
    reporter: Any = item.config.pluginmanager.get_plugin("unraisableexception")
    reporter.pytest_runtest_teardown(item)


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine test in a loop of its own, and fail it for a task that it leaves behind.

    One that takes `bot` is run by Legato's own plugin, which comes first.
    """
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    asyncio.run(_alone(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names})))
    return True


async def _alone(test: Coroutine[Any, Any, None]) -> None:
    await test
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, f"the test leaves tasks running: {left}"
