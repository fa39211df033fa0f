"""`legato dialogs` and `legato check`, on what a bot has left in its store."""

import asyncio
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from legato.abc import Verdict
from legato.cli import dialogs
from legato.cli.main import main
from legato.stores.sqlite import SQLiteStore
from tests.unit.app.kit import place, running

KEY, OTHER = "test:bot:1:1:", "test:bot:2:2:"
BOT = """
from legato import App, Chat
app = App("desk", apology="")

@app.command("ask")
async def ask(chat: Chat) -> None:
    await chat.ask("Number?", {answer})
    {after}

@app.command("paid")
async def paid(chat: Chat) -> None:
    await chat.say(f"paid {{await chat.wait_for('paid')}}")
"""


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.delenv("LEGATO_STORE", raising=False)
    monkeypatch.setattr(dialogs, "TAKEN_WITHIN_S", 0.0)  # no bot runs beside these commands
    write("bot.py")
    yield
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def write(name: str, answer: str = "int", after: str = "raise ValueError('esc \\x1b[2J')") -> str:
    Path(name).write_text(BOT.format(answer=answer, after=after), encoding="utf-8")
    return name


class Cli:
    """Runs commands; keeps what the last one wrote."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys
        self.err = ""

    def __call__(self, *argv: str, code: int = 0) -> str:
        found = main(argv)
        captured = self.capsys.readouterr()
        self.err = captured.err
        assert found == code, captured
        return captured.out

    def json(self, *argv: str, code: int = 0) -> list[dict[str, object]]:
        return [json.loads(line) for line in self(*argv, "--json", code=code).splitlines()]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(capsys)


def bot(*says: tuple[str, str], refuse: bool = False) -> list[str]:
    """Runs the bot for a while: (user, text) each. Returns what it said."""

    async def run() -> list[str]:
        from legato.deploy.loader import load_app

        async with running(load_app("bot.py"), SQLiteStore("legato.db")) as world:
            if refuse:
                world.platform.answer = lambda call, to: Verdict("refused", error="no \x1b[2J")
            await world.runtime.resume()
            await world.runtime.tick()
            for user, text in says:
                await world.says(text, place(user, user))
            await world.rest()
            return world.said

    return asyncio.run(run())


def test_conversations_are_listed(cli: Cli) -> None:
    bot(("1", "/ask"), ("1", "7"), ("2", "/paid"))

    assert cli("dialogs", "ls").count("\n") == 2
    failed = cli("dialogs", "ls", "--status", "failed")
    assert re.fullmatch(rf"failed  \d{{4}}-\S+ \S+Z  {KEY}  ask\n", failed)
    assert [row["key"] for row in cli.json("dialogs", "ls", "--dialog", "paid")] == [OTHER]
    assert cli("dialogs", "ls", "--dialog", "none") == "no conversations\n"
    assert cli("dialogs", "ls", "--limit", "1").count("\n") == 1
    assert "the first 1" in cli.err


def test_one_conversation_is_shown_with_all_that_is_known_of_it(cli: Cli) -> None:
    bot(("1", "/ask"), ("1", "7"), ("2", "/paid"))

    text = cli("dialogs", "show", KEY)
    for part in (
        f"key      {KEY}\n",
        "dialog   ask\n",
        "status   failed since 20",
        "with message '/ask' of Ann",
        "waits    0 ask int",
        "journal  0 records",
        "mail     1 waiting\n  message '7' of Ann",
        "ValueError: esc \\x1b[2J",
    ):
        assert part in text
    assert "\x1b" not in text
    (found,) = cli.json("dialogs", "show", OTHER)
    assert json.dumps(found["state"]).count('"paid"') == 2
    assert "no conversation" in str(cli.json("dialogs", "show", "none", code=1)[0]["error"])


def test_a_journal_is_shown_with_values_and_errors(cli: Cli) -> None:
    write("bot.py", answer="int, timeout=5", after="await chat.ask('More?', timeout=3)")
    bot(("1", "/ask"), ("1", "7"))

    text = cli("dialogs", "show", KEY)
    assert "journal  1 records\n  0 ask int = 7  20" in text
    assert "waits    1 ask str until 20" in text
    assert "wakes    20" in text


def test_a_failed_conversation_is_retried(cli: Cli) -> None:
    bot(("1", "/ask"), ("1", "7"))
    write("bot.py", after="await chat.say('mended')")
    del sys.modules["bot"]

    assert cli("dialogs", "retry", KEY) == f"{KEY} goes on at the bot's next tick\n"
    assert bot() == ["mended"]
    assert cli("dialogs", "retry", KEY, code=1) == ""
    assert "there is no conversation" in cli.err
    assert cli("dialogs", "retry", code=1) == ""
    assert "name conversations" in cli.err


def test_a_conversation_is_cancelled(cli: Cli) -> None:
    bot(("1", "/ask"), ("1", "7"), ("2", "/paid"))

    assert cli("dialogs", "cancel", KEY) == f"{KEY} is cancelled\n"
    assert "as soon as the bot runs" in cli("dialogs", "cancel", OTHER)
    assert cli.json("dialogs", "cancel", "none", code=1)[0].keys() == {"error"}
    bot()
    assert cli("dialogs", "ls") == "no conversations\n"


@pytest.mark.parametrize(
    ("written", "value"), [("5", "5"), ('{"a": [1]}', "{'a': [1]}"), ("plain text", "plain text")]
)
def test_a_signal_carries_json_or_a_text(cli: Cli, written: str, value: str) -> None:
    bot(("2", "/paid"))

    assert "waits for the bot" in cli("dialogs", "signal", OTHER, "paid", written)
    assert bot() == [f"paid {value}"]


@pytest.mark.parametrize("written", ['{"a": 17', "[1, 2", '"a'])
def test_a_signal_that_is_nearly_json_is_refused(cli: Cli, written: str) -> None:
    bot(("2", "/paid"))

    (refused,) = cli.json("dialogs", "signal", OTHER, "paid", written, code=1)
    assert "is no JSON" in str(refused["error"])
    (found,) = cli.json("dialogs", "show", OTHER)
    assert found["mail"] == []


def test_a_signal_with_an_id_counts_once(cli: Cli) -> None:
    bot(("2", "/paid"))
    for _ in range(2):
        cli.json("dialogs", "signal", OTHER, "paid", "--id", "order-7")

    (found,) = cli.json("dialogs", "show", OTHER)
    assert len(found["mail"]) == 1  # type: ignore[arg-type]


def test_dead_deliveries_are_listed_and_queued_again(cli: Cli) -> None:
    bot(("1", "/ask"), refuse=True)

    (item,) = cli.json("dialogs", "ls", "--outbox")
    line = cli("dialogs", "ls", "--outbox")
    assert "dead" in line
    assert "no \\x1b[2J" in line
    number = str(item["id"])
    assert cli("dialogs", "show", KEY).count(f"{number} dead send") == 1
    assert "is queued again" in cli("dialogs", "retry", "--delivery", number)
    assert cli("dialogs", "ls", "--outbox") == "no dead or unknown deliveries\n"
    cli("dialogs", "retry", "--delivery", number, code=1)
    assert "neither dead nor unknown" in cli.err
    assert bot() == ["Number?"]


def test_a_check_tells_what_fits_by_dialog(cli: Cli) -> None:
    bot(("1", "/ask"), ("2", "/paid"))
    write("changed.py", answer="str")

    assert cli("check", "bot.py") == "ask: 1 same\npaid: 1 same\n"
    text = cli("check", "changed.py", code=1)
    assert text.startswith(
        f"ask: 1 mismatch\n  {KEY}: mismatch: operation 0: the journal has 'ask int'"
    )
    (found,) = cli.json("check", "changed.py", code=1)
    assert found["conversations"] == 2
    assert found["dialogs"] == {"ask": {"mismatch": 1}, "paid": {"same": 1}}


def test_a_check_of_no_conversations_fits(cli: Cli) -> None:
    bot()

    assert cli("check", "bot.py") == "no open conversations\n"


def test_the_store_may_be_named_by_its_bot(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot(("2", "/paid"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")

    assert OTHER in cli("dialogs", "ls", "--bot", "../bot.py")
