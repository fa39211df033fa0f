"""The pytest plugin: the `bot` fixture, in three modes, and async tests that use it.

    # pytest.ini:  legato_app = bot.py        (or: package.module:app)
    async def test_it(bot): ...

    @pytest.mark.legato_app("examples/adder.py")     another app for one test, class or module

A module-level `app` in the test file goes before the ini option. Every test with `bot` runs warm,
cold, and with a crash after every commit; `@pytest.mark.legato_modes("warm")` narrows that. The
transcripts of one test must be the same in all modes that run in this process.
"""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from legato.app.app import App
    from legato.testing.script import Bot

pytest.register_assert_rewrite("legato.testing.conformance", "legato.testing.script")

_TRANSCRIPTS: dict[str, tuple[str, list[str]]] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    """The ini option."""
    parser.addini("legato_app", "The App under test: bot.py or package.module:app", default="")


def pytest_configure(config: pytest.Config) -> None:
    """The markers."""
    config.addinivalue_line("markers", "legato_app(target): the App of the `bot` fixture")
    config.addinivalue_line("markers", "legato_modes(*modes): warm, cold, crash")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test that uses `bot`, in all modes."""
    if "legato_mode" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("legato_modes")
        modes = marker.args if marker else ("warm", "cold", "crash")
        metafunc.parametrize("legato_mode", modes)


@pytest.fixture
def legato_app(request: pytest.FixtureRequest) -> App:
    """The App under test: a marker, a module-level `app`, or the ini option."""
    from legato.app.app import App

    marker = request.node.get_closest_marker("legato_app")
    found = marker.args[0] if marker else getattr(request.module, "app", None)
    if isinstance(found, App):
        return found
    target = found or request.config.getini("legato_app")
    if not target:
        raise pytest.UsageError(
            "which App is under test? Set legato_app in the pytest settings, put `app` into the "
            "test module, or mark the test with @pytest.mark.legato_app('bot.py')"
        )
    from legato.deploy.loader import load_app

    path = Path(target)
    return load_app(str(path if path.is_absolute() else request.config.rootpath / path))


@pytest.fixture
def bot(legato_app: App, legato_mode: str) -> Bot:
    """The App running on a fake clock and a platform in memory."""
    from legato.testing.script import Bot

    return Bot(legato_app, legato_mode)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs async tests that use `bot`, and closes it in the same event loop."""
    bot = pyfuncitem.funcargs.get("bot")
    if not inspect.iscoroutinefunction(pyfuncitem.obj) or bot is None:
        return None
    code = pyfuncitem.obj.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    arguments = {name: pyfuncitem.funcargs[name] for name in names if name in pyfuncitem.funcargs}
    asyncio.run(_run(pyfuncitem, bot, arguments))
    return True


async def _run(item: pytest.Function, bot: Any, arguments: dict[str, Any]) -> None:
    try:
        await item.obj(**arguments)
    except BaseException:
        bot.abandon()
        raise
    finally:
        await bot.close()
    test = item.nodeid.replace(f"[{bot.mode}", "[").replace(f"-{bot.mode}", "")
    mode, transcript = _TRANSCRIPTS.setdefault(test, (bot.mode, bot.transcript))
    assert transcript == bot.transcript, f"the transcript differs from mode {mode!r}"
