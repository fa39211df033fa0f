"""What dialogs can do, each warm, cold and with a crash after every commit."""

import asyncio
import datetime as dt

import pytest

from legato import App, Cancelled, Chat, MessageReceived, StepError, Timeout, TooManyAttempts, step
from legato.abc import Verdict
from legato.errors import UserGone

app = App("everything", idle=900)
runs: list[str] = []


@step
async def charge(amount: int) -> dict[str, int]:
    runs.append(f"charge {amount}")
    return {"paid": amount}


@step
def explode() -> None:
    runs.append("explode")
    raise ValueError("no funds")


@app.command("pay")
async def pay(chat: Chat) -> None:
    await chat.say("Paying...")
    receipt = await charge(5)
    await chat.say(f"Paid {receipt['paid']}")
    if await chat.confirm("More?"):
        await chat.say("No more.")
    await chat.say("Done")


async def test_a_step_runs_once_and_what_was_said_before_comes_first(bot):
    runs.clear()
    ann = bot.user("Ann")
    await ann.says("/pay")
    bot.expect("Paying...", "Paid 5", "More?")
    await ann.presses("No")
    bot.expect("Done")
    assert runs == ["charge 5"]


@app.command("broke")
async def broke(chat: Chat) -> None:
    try:
        await explode()
    except ValueError as error:
        await chat.say(f"Failed: {error}")
    try:
        await chat.run(_odd_error)
    except StepError as error:
        await chat.say(f"{error.type_name}: {error.text}")


@app.command("cancelled")
async def cancelled(chat: Chat) -> None:
    async def lose() -> None:
        raise asyncio.CancelledError

    try:
        await chat.run(lose)
    except StepError as error:
        await chat.say(str(error))


async def test_a_step_that_raises_cancelled_error_has_failed_and_nothing_more(bot):
    await bot.user().says("/cancelled")
    bot.expect("CancelledError: raised by lose")


class OddError(Exception):
    pass


def _odd_error() -> None:
    raise OddError("odd")


async def test_exceptions_of_steps_are_journaled(bot):
    await bot.user().says("/broke")
    bot.expect("Failed: no funds", "OddError: odd")


@app.command("edit")
async def edits(chat: Chat) -> None:
    message = await chat.say("one", buttons=["a", "b"])
    await chat.ask("Change?")
    await message.edit("two")
    await chat.ask("Delete?")
    await message.delete()
    await chat.say("gone")


async def test_handles_edit_and_delete_later(bot):
    ann = bot.user("Ann")
    await ann.says("/edit")
    bot.expect("one", "Change?")
    await ann.says("y")
    assert bot.platform.shown[0].message.text == "two"
    assert bot.platform.shown[0].message.buttons == ()
    await ann.says("y")
    assert [s.message.text for s in bot.platform.shown] == ["Change?", "Delete?", "gone"]


@app.command("flash")
async def flash(chat: Chat) -> None:
    message = await chat.say("one")
    await message.edit("two")
    answer = await chat.say("three", reply_to=message)
    await answer.delete()


async def test_a_message_may_be_changed_although_the_dialog_ends_at_once(bot):
    await bot.user("Ann").says("/flash")
    assert [s.message.text for s in bot.platform.shown] == ["two"]


@app.command("menu")
async def menu(chat: Chat, cart: tuple[str, ...] = ()) -> None:
    item = await chat.ask(f"{len(cart)} things. What else?")
    if item == "done":
        await chat.say("You have " + ", ".join(cart))
        return
    await chat.goto(menu, cart=(*cart, item))


async def test_goto_loops_with_a_short_journal(bot):
    ann = bot.user("Ann")
    await ann.says("/menu")
    for number, item in enumerate(["tea", "milk", "jam"]):
        bot.expect(f"{number} things")
        await ann.says(item)
        assert await bot.records(ann) == []
    await ann.says("done")
    bot.expect("3 things", "You have tea, milk, jam")
    assert await bot.conversations() == []


@app.command("both")
async def both(chat: Chat) -> None:
    age, name = await chat.gather(chat.ask("Age?", int), ask_name(chat))
    await chat.say(f"{name} is {age}")


async def ask_name(chat: Chat) -> str:
    first = await chat.ask("First name?", str, key="first")
    last = await chat.ask("Last name?", str, key="last")
    return f"{first} {last}"


async def test_gather_answers_the_oldest_question_that_takes_it(bot):
    ann = bot.user("Ann")
    await ann.says("/both")
    bot.expect("Age?", "First name?")
    await ann.says("7")
    await ann.says("Ann")
    bot.expect("Last name?")
    await ann.says("Lee")
    bot.expect("Ann Lee is 7")


@app.command("race")
async def race(chat: Chat) -> None:
    async def slow() -> str:
        try:
            return await chat.ask("Your word?")
        except Cancelled:
            await chat.say("too late")
            raise

    which, value = await chat.race(slow(), chat.wait_for("paid", int))
    await chat.say(f"{which}: {value}")


async def test_a_race_cancels_the_loser(bot):
    ann = bot.user("Ann")
    await ann.says("/race")
    bot.expect("Your word?")
    assert await bot.signal(ann, "paid", 12)
    bot.expect("too late", "1: 12")
    await ann.says("/race")
    await ann.says("word")
    bot.expect("Your word?", "0: word")


@app.command("early")
async def early(chat: Chat) -> None:
    await chat.ask("Ready?")
    got = await chat.wait_for("mail", str, timeout=60)
    await chat.say(f"mail: {got}")


async def test_a_signal_may_come_before_it_is_waited_for(bot):
    ann = bot.user("Ann")
    await ann.says("/early")
    assert await bot.signal(ann, "mail", "hello")
    bot.expect("Ready?")
    bot.expect_nothing()
    await ann.says("yes")
    bot.expect("mail: hello")


@app.command("scope")
async def scoped(chat: Chat) -> None:
    try:
        async with chat.timeout(60):
            await chat.ask("A?", timeout=300)
            await chat.ask("B?")
    except Timeout:
        await chat.say("too slow")
    await chat.sleep(dt.timedelta(days=3))
    await chat.say("three days later")


async def test_a_deadline_over_several_questions_and_a_long_sleep(bot):
    ann = bot.user("Ann")
    await ann.says("/scope")
    await bot.advance(seconds=40)
    await ann.says("a")
    await bot.advance(seconds=19)
    bot.expect("A?", "B?")
    bot.expect_nothing()
    await bot.advance(seconds=1)
    bot.expect("too slow")
    await bot.advance(days=2, hours=23)
    bot.expect_nothing()
    await bot.crash()
    await bot.advance(hours=1)
    bot.expect("three days later")


@app.command("nag")
async def nag(chat: Chat) -> None:
    word = await chat.ask("Word?", remind_after=30, remind="Still there?", timeout=90)
    await chat.say(word)


async def test_a_reminder_comes_once(bot):
    ann = bot.user("Ann")
    await ann.says("/nag")
    await bot.advance(seconds=60)
    bot.expect("Word?", "Still there?")
    bot.expect_nothing()
    await ann.says("x")
    bot.expect("x")


@app.command("strict")
async def attempts(chat: Chat) -> None:
    try:
        await chat.ask("Age?", int, retry="A number!", attempts=3)
    except TooManyAttempts as error:
        await chat.say(f"gave up after {error.attempts}")


async def test_attempts_are_counted_through_restarts(bot):
    ann = bot.user("Ann")
    await ann.says("/strict")
    await ann.says("a")
    await bot.crash()
    await ann.says("b")
    await ann.says("c")
    bot.expect("Age?", "A number!", "A number!", "gave up after 3")


@app.command("listen")
async def listen(chat: Chat) -> None:
    words = [message.text async for message in chat]
    await chat.say(" ".join(words))


async def test_async_for_ends_at_the_idle_limit(bot):
    ann = bot.user("Ann")
    await ann.says("/listen")
    await ann.says("one")
    await ann.says("two")
    await bot.advance(minutes=15)
    bot.expect("one two")


@app.command("chance")
async def chance(chat: Chat) -> None:
    before = (chat.random.random(), chat.uuid(), chat.now())
    await chat.ask("Go on?")
    after = (chat.random.random(), chat.uuid(), chat.now())
    assert before[1] != after[1]
    await chat.say(f"{before} {after}")


async def test_chance_and_clock_are_the_same_in_every_replay(bot):
    ann = bot.user("Ann")
    await ann.says("/chance")
    await bot.advance(seconds=5)
    await ann.says("y")
    bot.expect("Go on?", "2027")


@app.command("goodbye")
async def goodbye(chat: Chat) -> None:
    try:
        await chat.ask("Name?")
    except Cancelled as error:
        await chat.say(f"bye ({error.reason})")
        raise


async def test_cancel_lets_the_dialog_say_goodbye(bot):
    ann = bot.user("Ann")
    await ann.says("/goodbye")
    await ann.says("/cancel")
    bot.expect("Name?", "bye (command)", "Cancelled.")
    assert await bot.conversations() == []


@app.command("hint", anywhere=True)
async def hint(chat: Chat) -> None:
    await chat.say("A hint.")


async def test_a_command_anywhere_shows_the_question_again(bot):
    ann = bot.user("Ann")
    await ann.says("/strict")
    await ann.says("/hint")
    bot.expect("Age?", "A hint.", "Age?")
    await ann.says("/hint")
    bot.expect("A hint.", "Age?")


async def test_a_user_who_is_gone_ends_the_dialog(bot):
    ann = bot.user("Ann")
    await ann.says("/goodbye")
    bot.platform.answer = lambda call, place: Verdict("gone", error="blocked", code=403)
    await ann.says("/goodbye")
    await bot.advance(seconds=0)
    assert await bot.conversations() == []


@app.command("photo")
async def photo(chat: Chat) -> None:
    message: MessageReceived = await chat.receive()
    await chat.say(f"photo {message.photo.width}" if message.photo else "no photo")


async def test_receive_gives_the_raw_message(bot):
    ann = bot.user("Ann")
    await ann.says("/photo")
    await ann.sends_photo("look")
    bot.expect("photo 640")


@app.command("api")
async def api(chat: Chat) -> None:
    with pytest.raises(AttributeError):
        _ = chat.nothing
    answer = await chat.telegram.get_me() if chat.platform == "telegram" else {"ok": 1}
    await chat.say(f"{answer}")


async def test_an_unknown_name_is_an_attribute_error(bot):
    await bot.user().says("/api")
    bot.expect("{'ok': 1}")


def test_user_gone_is_an_error_a_dialog_may_catch():
    assert issubclass(UserGone, Exception)


async def test_an_answer_given_in_time_counts_even_if_it_comes_late(bot):
    ann = bot.user("Ann")
    await ann.says("/nag")
    in_time = bot.clock.now_ms() + 89_000
    bot.clock.advance(500)  # the process slept, and no timer fired
    await bot.send(ann.message("late but true", at_ms=in_time))
    bot.expect("Word?", "Still there?", "late but true")


async def test_an_answer_given_too_late_is_none(bot):
    ann = bot.user("Ann")
    await ann.says("/nag")
    bot.clock.advance(500)
    await ann.says("too late")
    bot.expect("Word?", "Still there?")
    bot.expect_nothing()
    assert await bot.conversations() == []
