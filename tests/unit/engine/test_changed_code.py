"""Stored conversations under code that changed: what no longer fits, and where it is found out."""

from typing import Any

import msgspec
import pytest

from legato import App, Chat
from legato.app.runtime import RuntimeSettings
from legato.engine import journal, versions
from legato.engine.writer import Conflict
from legato.errors import Mismatch
from legato.model.events import Again
from legato.model.ids import place_of
from legato.model.records import HELD, Record
from tests.unit.app.kit import running

KEY = "test:bot:1:1:"
app = App("unused")
asking = App("asking")


@asking.command("ask")
async def ask(chat: Chat) -> None:
    await chat.ask("First?", key="first")


async def sleeps(chat: Chat) -> None:
    await chat.sleep(9)


def version(body: str, **options: Any) -> App:
    """A bot whose only dialog has these lines."""
    new = App("new")
    names = {"new": new, "Chat": Chat, "options": options}
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    exec(f"@new.command('go', **options)\nasync def go(chat):\n{lines}\n", names)
    return new


AB = "await chat.ask('A?', key='a')\nawait chat.ask('B?', key='b')"
TWO = f"{AB}\nawait chat.ask('C?', key='c')"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("await chat.ask('A?', key='a')", "end of the dialog"),
        (AB, "end of the dialog"),
        ("await chat.ask('A?', key='z')", "ask z"),
        ("await chat.ask('A?', int, key='a')\nawait chat.ask('B?', key='x')", "ask x"),
        (f"{AB}\nawait chat.gather(chat.ask('C?', key='c'), chat.ask('D?'))", "operation 2.0.0"),
        (f"{AB}\nawait chat.sleep(9)", "sleep"),
    ],
)
@pytest.mark.legato_modes("cold")
async def test_code_that_no_longer_fits_is_held_with_the_reason(bot, body, said):
    bot.strict = False
    await bot.replace_app(version(TWO, on_change="hold"))
    ann = bot.user()
    await ann.says("/go")
    await ann.says("one")
    await ann.says("two")
    loaded = await bot._inner.load((await bot.conversation(ann)).key)
    changed = version(body, on_change="hold")
    services = bot.runtime.services.chat_services(place_of(loaded.conversation.key))
    report = versions.check(loaded, changed.dialogs.get("go"), services)
    assert report.verdict == "mismatch"
    assert said in report.detail
    assert report.records == 2
    await bot.replace_app(changed)
    await ann.says("three")
    assert (await bot.conversation(ann)).status == HELD
    assert said in bot.expect_failure()


@pytest.mark.legato_modes("cold")
async def test_code_that_waits_for_more_than_is_stored_does_not_fit(bot):
    bot.strict = False
    await bot.replace_app(version("await chat.gather(chat.ask('A?', key='a'))", on_change="hold"))
    ann = bot.user()
    await ann.says("/go")
    more = "await chat.gather(chat.ask('A?', key='a'), chat.ask('B?', key='b'))"
    await bot.replace_app(version(more, on_change="hold"))
    await ann.says("one")
    assert "the journal has 'nothing', the code does 'ask b'" in bot.expect_failure()


@pytest.mark.legato_modes("cold")
async def test_check_tells_of_code_that_raises_and_of_a_dialog_that_is_gone(bot):
    bot.strict = False
    await bot.replace_app(version(TWO))
    ann = bot.user()
    await ann.says("/go")
    loaded = await bot._inner.load((await bot.conversation(ann)).key)
    services = bot.runtime.services.chat_services(place_of(loaded.conversation.key))
    raising = version("raise KeyError('new')").dialogs.get("go")
    report = versions.check(loaded, raising, services)
    assert (report.verdict, report.detail) == ("raises", "KeyError: 'new'")
    assert versions.check(loaded, None, services).verdict == "missing"
    one = msgspec.structs.replace(
        loaded, segments=[journal.segment([Record("0", "ask", "a", 1, "x")] * 2)]
    )
    report = versions.check(one, version("raise KeyError('new')").dialogs.get("go"), services)
    assert report.verdict == "raises"
    ends = version("await chat.ask('A?', key='a')\nraise chat.__class__.missing").dialogs.get("go")
    assert versions.check(one, ends, services).verdict in ("raises", "mismatch")


@pytest.mark.legato_modes("cold")
async def test_a_record_whose_value_cannot_be_made_again_does_not_fit(bot):
    bot.strict = False
    await bot.replace_app(version("await chat.receive()\nawait chat.ask('A?')"))
    ann = bot.user()
    await ann.says("/go")
    loaded = await bot._inner.load((await bot.conversation(ann)).key)
    bad = msgspec.structs.replace(
        loaded, segments=[journal.segment([Record("0", "receive", "message", 1, {"type": "?"})])]
    )
    services = bot.runtime.services.chat_services(place_of(loaded.conversation.key))
    report = versions.check(bad, bot.app.dialogs.get("go"), services)
    assert "something that cannot be made of its value" in report.detail


@pytest.mark.parametrize(
    "record",
    [
        Record("0", "ask", "a", 1, None, ("~scope", [3])),
        Record("1", "!", "Cancelled", 1, None, ("Cancelled", ["operator"])),
    ],
)
@pytest.mark.legato_modes("cold")
async def test_records_of_scopes_and_interrupts_must_fit_too(bot, record):
    bot.strict = False
    await bot.replace_app(version(TWO))
    ann = bot.user()
    await ann.says("/go")
    loaded = await bot._inner.load((await bot.conversation(ann)).key)
    bad = msgspec.structs.replace(loaded, segments=[journal.segment([record])])
    services = bot.runtime.services.chat_services(place_of(loaded.conversation.key))
    assert versions.check(bad, bot.app.dialogs.get("go"), services).verdict == "mismatch"


@pytest.mark.legato_modes("cold")
async def test_code_that_ends_where_the_dialog_had_caught_its_cancellation_does_not_fit(bot):
    caught = "try:\n    await chat.ask('A?', key='a')\nexcept BaseException:\n    await chat.ask('B?', key='b')"
    bot.strict = False
    await bot.replace_app(version(caught, on_change="hold"))
    ann = bot.user()
    await ann.says("/go")
    await bot.runtime.cancel((await bot.conversation(ann)).key)
    await bot.advance(seconds=1)
    bot.expect("A?", "B?")
    await bot.replace_app(version("await chat.ask('A?', key='a')", on_change="hold"))
    await ann.says("hello")
    assert (await bot.conversation(ann)).status == HELD
    assert "raise Cancelled" in bot.expect_failure()


@pytest.mark.legato_modes("cold")
async def test_a_timer_finds_out_that_the_code_changed_and_answers_are_told_by_name(bot):
    bot.strict = False
    heard: list[dict[str, Any]] = []

    def on_restart(answers: dict[str, Any]) -> dict[str, Any]:
        heard.append(answers)
        return {}

    await bot.replace_app(version("await chat.receive()\nawait chat.sleep(60)"))
    ann = bot.user()
    await ann.says("/go")
    await ann.says("x")
    await bot.replace_app(version("await chat.ask('New?')", on_restart=on_restart))
    await bot.advance(seconds=60)
    bot.expect("New?")
    assert heard == [{}]


async def test_a_question_under_changed_code_is_not_shown_again():
    async with running(asking, settings=RuntimeSettings(cache=0)) as world:
        await world.says("/ask")
        dialogs = asking.dialogs
        dialogs._by_name["ask"] = msgspec.structs.replace(
            dialogs.of("ask"), fn=sleeps, on_change="hold"
        )
        try:
            again = Again(id="again", place=place_of(KEY), key=KEY)
            assert not (await world.runtime.turns.ask_again(again)).taken
            store = world.store
            loaded = await store.load(KEY)
            assert loaded is not None
            await world.runtime.turns.wake(KEY)  # holds it
            (row,) = await store.find(status=HELD)
            assert row.status == HELD
            with pytest.raises(Conflict):  # whoever had read it before is late
                await world.runtime.turns.changed.hold(loaded, "late", None)
            changed = world.runtime.turns.changed
            other = await changed.settle("test:bot:2:2:", Mismatch("", "", ""), None)
            assert not other.taken
        finally:
            dialogs._by_name["ask"] = dialogs._by_function[ask]
