"""What the parts of the App do when a dialog fails, or two processes meet."""

from legato import App, Chat
from tests.unit.engine.test_changes import _retry

app = App("unused")


async def test_an_early_signal_is_kept_when_a_bug_strikes_right_after_it(bot):
    def version(*, bug: bool) -> App:
        new = App("new")

        @new.command("go")
        async def go(chat: Chat) -> None:
            await chat.ask("Ready?")
            paid = await chat.wait_for("paid", int)
            if bug:
                raise RuntimeError("after the signal")
            await chat.say(f"paid {paid}")

        return new

    await bot.replace_app(version(bug=True))
    ann = bot.user()
    await ann.says("/go")
    assert await bot.signal(ann, "paid", 7)
    await ann.says("yes")
    bot.expect("Ready?", "Sorry")
    bot.expect_failure("after the signal")
    await bot.replace_app(version(bug=False))
    await _retry(bot, ann)
    bot.expect("paid 7")


async def test_a_failed_dialog_on_top_does_not_swallow_the_answers_of_the_one_below(bot):
    new = App("new")

    @new.command("go")
    async def go(chat: Chat) -> None:
        await chat.say(f"Hi {await chat.ask('Name?')}")

    @new.command("hint", anywhere=True)
    async def hint(chat: Chat) -> None:
        raise RuntimeError("no hints")

    await bot.replace_app(new)
    ann = bot.user()
    await ann.says("/go")
    await ann.says("/hint")
    bot.expect("Name?", "Sorry", "Name?")
    bot.expect_failure("no hints")
    await ann.says("Ann")
    bot.expect("Hi Ann")
