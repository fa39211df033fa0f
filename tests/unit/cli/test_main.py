"""The command line: one line and exit code 2 for what cannot be run like this."""

import asyncio
import json
import socket
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from legato.app.settings import Settings
from legato.cli.main import main
from legato.deploy import run as run_module
from legato.deploy.run import Options
from legato.stores.sqlite import SQLiteStore
from legato.stores.sqlite.schema import APPLICATION_ID

BOT = "from legato import App\napp = App('bot')\n"
TOKEN = "4200:canary-of-the-token"


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder with a bot, and none of the machine's own settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    for name in ("TELEGRAM_TOKEN", "LEGATO_STORE", "LEGATO_LISTEN", "LEGATO_PUBLIC_URL"):
        monkeypatch.delenv(name, raising=False)
    Path("bot.py").write_text(BOT)
    yield
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that cannot be run; returns the one line that says why."""

    def run(*argv: str) -> str:
        assert main(argv) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("legato: ")
        assert captured.err.count("\n") == 1
        assert "canary" not in captured.err
        return captured.err

    return run


def taken_port(listener: socket.socket) -> int:
    listener.bind(("127.0.0.1", 0))
    listener.listen(1)
    return int(listener.getsockname()[1])


def test_a_bot_that_is_not_there(said: Callable[..., str]) -> None:
    Path("empty.py").write_text("")
    Path("broken.py").write_text("\n1 /\n")

    assert "there is no file none.py" in said("run", "none.py")
    assert "has no App" in said("run", "empty.py")
    assert "broken.py:2: SyntaxError" in said("run", "broken.py")
    assert "there is no file none.py" in said("check", "none.py")


def test_a_token_that_cannot_be_one(
    said: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELEGRAM_TOKEN", "canary")

    assert "TELEGRAM_TOKEN: that is no Telegram token" in said("run", "bot.py")


def test_a_secret_in_the_bots_own_error_does_not_show(
    said: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELEGRAM_TOKEN", TOKEN)
    Path("leak.py").write_text(f"raise ValueError('no {TOKEN}')\n")

    assert "leak.py:1: ValueError: no ***" in said("run", "leak.py")


def test_what_belongs_to_a_token_without_one(
    said: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no platform has a token" in said("run", "bot.py", "--public-url", "https://x.org")
    monkeypatch.setenv("TELEGRAM_SECRET", "canary")
    assert "TELEGRAM_TOKEN is not" in said("run", "bot.py")


def test_a_setting_that_cannot_be_used(said: Callable[..., str]) -> None:
    assert "--listen='x': write host:port" in said("run", "bot.py", "--listen", "x")
    assert "is no store" in said("run", "bot.py", "--store", "bot.db")
    assert "pool='0' must" in said("run", "bot.py", "--store", "postgresql://h/canary?pool=0")
    Path("legato.toml").write_text("stor = 1")
    assert "did you mean store?" in said("run", "bot.py")


def test_a_port_that_is_taken(said: Callable[..., str]) -> None:
    with socket.socket() as listener:
        port = taken_port(listener)
        text = said("run", "bot.py", "--listen", f"127.0.0.1:{port}")

    assert f"LEGATO_LISTEN=127.0.0.1:{port} cannot be used (Address already in use)" in text
    assert not Path("legato.db").exists()


def test_a_host_that_is_not_ours(said: Callable[..., str]) -> None:
    assert "LEGATO_LISTEN=no.such.host.invalid:1" in said(
        "run", "bot.py", "--listen", "no.such.host.invalid:1"
    )


def test_a_store_that_another_process_runs_on(said: Callable[..., str]) -> None:
    loop = asyncio.new_event_loop()
    store = SQLiteStore("legato.db")
    loop.run_until_complete(store.open())
    try:
        assert "is in use by another process" in said("run", "bot.py", "--console")
    finally:
        loop.run_until_complete(store.close())
        loop.close()


def test_a_store_of_a_newer_legato_and_one_that_is_none(said: Callable[..., str]) -> None:
    connection = sqlite3.connect("newer.db")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    Path("damaged.db").write_bytes(b"no database" * 1000)

    for command in (("run", "bot.py", "--console"), ("check", "bot.py"), ("dialogs", "ls")):
        assert "newer Legato" in said(*command, "--store", "sqlite:///newer.db")
        assert "damaged.db" in said(*command, "--store", "sqlite:///damaged.db")


def test_a_store_that_is_not_there_is_not_made_by_looking_at_it(
    said: Callable[..., str],
) -> None:
    assert "there is no store" in said("dialogs", "ls")
    assert "there is no store" in said("check", "bot.py")
    assert "its own process only" in said("dialogs", "ls", "--store", "memory://")
    assert not Path("legato.db").exists()


def test_a_failure_of_ours_is_told_in_full_but_without_secrets(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(options: object) -> int:
        raise RuntimeError(f"a bug with {TOKEN}")

    monkeypatch.setenv("TELEGRAM_TOKEN", TOKEN)
    monkeypatch.setattr(run_module, "run", lambda *args: fail(args))

    assert main(["run", "bot.py"]) == 1
    text = capsys.readouterr().err
    assert text.startswith("Traceback")
    assert "RuntimeError: a bug with ***" in text


def test_the_options_of_a_run_reach_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[object] = []

    def run(*args: object) -> int:
        seen.extend(args)
        return 0

    monkeypatch.setattr(run_module, "run", run)
    flags = ["--console", "--drain", "3", "--verbose", "--cache", "7", "--store", "memory://"]

    assert main(["run", "bot.py", *flags, "--public-url", "https://x.org"]) == 0
    app, settings, options = seen
    assert getattr(app, "name", "") == "bot"
    assert settings == Settings(cache=7, store="memory://", public_url="https://x.org")
    assert options == Options(folder=tmp_path, console=True, verbose=True, drain_s=3.0)


def test_the_version_is_told_to_people_and_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert capsys.readouterr().out.startswith("legato 0")
    assert main(["version", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"legato", "python", "msgspec", "sqlite"}


@pytest.mark.parametrize("argv", [[], ["fly"], ["run"], ["dialogs"], ["dialogs", "show"]])
def test_a_command_that_is_none_shows_how_it_is_used(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    assert "usage: legato" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["-1", "soon", "inf"])
def test_a_time_that_an_end_cannot_take_is_told(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["worker", "bot.py", "--drain", text])
    assert "write a number of seconds, 0 or more" in capsys.readouterr().err


def test_help_comes_without_importing_what_runs_bots() -> None:
    import subprocess

    code = (
        "import sys; from legato.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print(sorted(m for m in sys.modules if m.startswith('legato.')))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "usage: legato" in run.stdout
    assert "legato.deploy" not in run.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("argv", "lines"),
    [
        ((), ["usage: legato [-h]", "run a bot in this process", "see and steer conversations"]),
        (("dialogs",), ["usage: legato dialogs", "list conversations", "let wait_for() go on"]),
        (("twitch",), ["usage: legato twitch", "is it logged in?"]),
    ],
)
def test_a_command_without_its_next_word_prints_help(
    argv: tuple[str, ...], lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(argv)
    captured = capsys.readouterr()
    assert ended.value.code == 2
    assert captured.out == ""
    assert all(line in captured.err for line in lines)


def test_a_port_that_is_none(said: Callable[..., str]) -> None:
    assert "--port 99999: it is a number from 0 to 65535" in said(
        "functions", ".", "--port", "99999"
    )


def test_functions_without_what_they_need_name_the_extra(
    said: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn.protocols.http.httptools_impl", None)
    for name in list(sys.modules):
        if name in {"legato.functions.serve", "legato.deploy.careful"}:
            monkeypatch.delitem(sys.modules, name)

    assert "pip install 'legato[functions]'" in said("functions", ".")


@pytest.mark.parametrize(
    ("words", "usage", "told"),
    [
        ("deploy aws --quue", "legato deploy aws [", "no option --quue: did you mean --queue?"),
        ("deploy aws bot.py --quue=1", "legato deploy aws [", "did you mean --queue?"),
        ("deploy aws --public bot.py", "legato deploy aws [", "--public-socket or --public-url?"),
        ("deploy aws status --x bot.py", "legato deploy aws [", "--x (legato deploy aws -h lists"),
        ("deploy --quue aws", "legato deploy [", "no option --quue (legato deploy -h lists them)"),
        ("run bot.py --consol", "legato run [", "no option --consol: did you mean --console?"),
        ("dialogs show k --jsn", "legato dialogs show [", "did you mean --json?"),
        ("dialogs show k -j", "legato dialogs show [", "there is no option -j"),
        ("dialogs show k k", "legato dialogs show [", "unrecognized arguments: k"),
        ("--versoin", "legato [", "there is no option --versoin (legato -h lists them)"),
    ],
)
def test_an_option_that_there_is_not_is_told_by_the_command_that_it_was_meant_for(
    words: str, usage: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words.split())

    assert ended.value.code == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"usage: {usage}")
    assert told in shown
