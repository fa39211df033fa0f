"""What the parts of the App do when a dialog fails, or two processes meet."""

from legato import App, Chat

app = App("unused")


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
