"""`legato run` as a person runs it: a process, its output, its signals."""

import asyncio
import os
import signal
import socket
from pathlib import Path

from legato.testing.fake_telegram import FakeTelegram
from tests.integration.run_kit import TOKEN, adder, environment, running

TALKER = """
from legato import App, Chat
app = App("talker")

@app.command("start")
async def start(chat: Chat) -> None:
    for number in "one", "two", "three":
        await chat.say(number)
"""

WORKER = """
from legato import App, Chat
app = App("worker")

@app.command("start")
async def start(chat: Chat) -> None:
    await chat.say("working")
    about = await chat.telegram.get_chat()
    await chat.say(f"done with {about['first_name']}")
"""

BUTTONS = """
from legato import App, Button, Chat
app = App("buttons")

@app.command("start")
async def start(chat: Chat) -> None:
    await chat.say("Pick", buttons=[Button("One", "pick:1"), Button("Two", "pick:2")])

@app.button("pick:{number}")
async def pick(chat: Chat, number: str) -> None:
    await chat.say(f"picked {number}")
"""


async def test_a_bot_runs_by_polling_and_ends_in_peace(tmp_path: Path) -> None:
    async with (
        FakeTelegram(token=TOKEN) as telegram,
        running(adder(tmp_path), "--verbose", folder=tmp_path, env=environment(telegram)) as bot,
    ):
        ann = telegram.user("Ann")
        for said, answer in (("/start", "First number?"), ("2", "Second number?"), ("3", "Sum: 5")):
            ann.sends(said)
            await ann.gets(answer)

        await bot.says("telegram bot 4200: polling")
        assert await bot.ends(signal.SIGTERM) == 0
        assert "stopped; nothing is left" in bot.output


async def test_a_conversation_survives_kill_9_between_two_questions(tmp_path: Path) -> None:
    async with FakeTelegram(token=TOKEN) as telegram:
        env = environment(telegram)
        ann = telegram.user("Ann")
        async with running(adder(tmp_path), folder=tmp_path, env=env) as bot:
            ann.sends("/start")
            await ann.gets("First number?")
            ann.sends("2")
            await ann.gets("Second number?")
            assert await bot.ends(signal.SIGKILL) == -signal.SIGKILL
        async with running(adder(tmp_path), folder=tmp_path, env=env) as bot:
            ann.sends("40")
            await telegram.wait_for(lambda: ann.sees[-1] == "Sum: 42")
            assert await bot.ends(signal.SIGINT) == 0
    # The kill may fall between a send and its mark: then, and only then, a question is repeated.
    assert list(dict.fromkeys(ann.sees)) == ["First number?", "Second number?", "Sum: 42"]


async def test_a_drain_delivers_what_was_said(tmp_path: Path) -> None:
    (tmp_path / "talker.py").write_text(TALKER)
    async with (
        FakeTelegram(token=TOKEN) as telegram,
        running("talker.py", folder=tmp_path, env=environment(telegram)) as bot,
    ):
        telegram.slow(0.2, method="sendMessage")
        ann = telegram.user("Ann")
        ann.sends("/start")
        await telegram.wait_for(lambda: telegram.called("sendMessage"))

        assert await bot.ends(signal.SIGTERM) == 0
        assert ann.sees == ["one", "two", "three"]
        assert "stopped; nothing is left" in bot.output


async def test_a_drain_finishes_the_turn_under_way(tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text(WORKER)
    async with (
        FakeTelegram(token=TOKEN) as telegram,
        running("worker.py", folder=tmp_path, env=environment(telegram)) as bot,
    ):
        telegram.slow(0.5, method="getChat")
        ann = telegram.user("Ann")
        ann.sends("/start")
        await telegram.wait_for(lambda: telegram.called("getChat"))

        assert await bot.ends(signal.SIGTERM) == 0
        assert ann.sees == ["working", "done with Ann"]


async def test_what_a_drain_cannot_deliver_is_counted_and_delivered_by_the_next_start(
    tmp_path: Path,
) -> None:
    (tmp_path / "talker.py").write_text(TALKER)
    async with FakeTelegram(token=TOKEN) as telegram:
        env = environment(telegram)
        ann = telegram.user("Ann")
        hanging = telegram.hangs(carried_out=False, method="sendMessage", times=-1)
        async with running("talker.py", "--drain", "0.2", folder=tmp_path, env=env) as bot:
            ann.sends("/start")
            await telegram.wait_for(lambda: telegram.called("sendMessage"))
            assert await bot.ends(signal.SIGTERM) == 0
            assert "3 messages are not delivered yet" in bot.output
        hanging.end()
        async with running("talker.py", folder=tmp_path, env=env) as bot:
            for text in ("one", "two", "three"):
                await ann.gets(text)
            await bot.ends(signal.SIGTERM)


async def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    (tmp_path / "talker.py").write_text(TALKER)
    async with (
        FakeTelegram(token=TOKEN) as telegram,
        running("talker.py", "--drain", "1000", folder=tmp_path, env=environment(telegram)) as bot,
    ):
        telegram.hangs(carried_out=False, method="sendMessage", times=-1)
        telegram.user("Ann").sends("/start")
        await telegram.wait_for(lambda: telegram.called("sendMessage"))
        bot.gets(signal.SIGTERM)
        await bot.says("stopping")

        assert await bot.ends(signal.SIGTERM) == 128 + signal.SIGTERM
        assert "stopped at once" in bot.output


async def test_piped_input_is_answered_line_by_line_to_its_end(tmp_path: Path) -> None:
    async with running(
        adder(tmp_path), "--console", folder=tmp_path, env=environment(), stdin=True
    ) as bot:
        bot.types("/start\n2\nmany\n40\n")
        assert bot.process.stdin is not None
        bot.process.stdin.write_eof()

        assert await bot.ends() == 0
        assert bot.output == (
            "bot: First number?\nbot: Second number?\nbot: That is not a number.\nbot: Sum: 42\n"
        )


async def test_a_queue_that_is_set_and_of_no_use_is_told(tmp_path: Path) -> None:
    env = environment(
        LEGATO_QUEUE="sqs://canary.fifo?region=eu-central-1", LEGATO_TIMERS="sqs://canary"
    )
    async with running(adder(tmp_path), "--console", folder=tmp_path, env=env, stdin=True) as bot:
        assert bot.process.stdin is not None
        bot.process.stdin.write_eof()
        assert await bot.ends() == 0
    assert "LEGATO_QUEUE is set and not used: legato run is all in one process" in bot.output
    assert "LEGATO_TIMERS is set and not used" in bot.output
    assert "legato deploy aws" in bot.output


async def test_a_piped_number_presses_the_button_that_is_shown_by_then(tmp_path: Path) -> None:
    (tmp_path / "buttons.py").write_text(BUTTONS)
    async with running(
        "buttons.py", "--console", folder=tmp_path, env=environment(), stdin=True
    ) as bot:
        bot.types("/start\n2\n")
        assert bot.process.stdin is not None
        bot.process.stdin.write_eof()

        assert await bot.ends() == 0
        assert bot.output.endswith("[1] One   [2] Two\nbot: picked 2\n")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_with_a_public_address_updates_come_by_webhook_and_answers_ride_back(
    tmp_path: Path,
) -> None:
    port = free_port()
    async with FakeTelegram(token=TOKEN) as telegram:
        env = environment(
            telegram,
            LEGATO_LISTEN=f"127.0.0.1:{port}",
            LEGATO_PUBLIC_URL=f"http://127.0.0.1:{port}",
        )
        async with running(adder(tmp_path), folder=tmp_path, env=env) as bot:
            await bot.says(f"webhook http://127.0.0.1:{port}/telegram")
            ann = telegram.user("Ann")
            for said, answer in (("/start", "First number?"), ("2", "Second number?")):
                ann.sends(said)
                await ann.gets(answer)
            assert [call.via for call in telegram.called("sendMessage")] == ["webhook", "webhook"]
            assert await bot.ends(signal.SIGTERM) == 0


async def test_a_token_that_telegram_refuses_is_told_in_one_line_before_anything_is_sent(
    tmp_path: Path,
) -> None:
    async with FakeTelegram(token="4200:another") as telegram:
        env = environment(telegram, TELEGRAM_TOKEN=TOKEN)
        async with running(adder(tmp_path), folder=tmp_path, env=env) as bot:
            assert await bot.ends() == 2
    last = bot.output.splitlines()[-1]
    assert last.startswith("legato: Telegram refused the token of bot 4200")
    assert "Traceback" not in bot.output


async def test_a_token_that_is_revoked_ends_the_run(tmp_path: Path) -> None:
    async with FakeTelegram(token=TOKEN) as telegram:
        env = environment(telegram)
        async with running(adder(tmp_path), folder=tmp_path, env=env) as bot:
            await bot.says("polling")
            telegram.token = "4200:another"
            assert await bot.ends() == 2
    assert bot.output.splitlines()[-1].startswith("legato: Telegram refused the token")


async def test_telegram_out_of_reach_at_the_start_is_waited_for(tmp_path: Path) -> None:
    async with FakeTelegram(token=TOKEN) as telegram:
        telegram.fails(502, method="getMe", times=1)
        async with running(adder(tmp_path), folder=tmp_path, env=environment(telegram)) as bot:
            await bot.says("trying again")
            ann = telegram.user("Ann")
            ann.sends("/start")
            await ann.gets("First number?")
            await bot.ends(signal.SIGTERM)


async def test_without_a_token_it_is_a_web_chat_that_ends_while_a_page_is_open(
    tmp_path: Path,
) -> None:
    async with running(
        adder(tmp_path), "--listen", "127.0.0.1:0", folder=tmp_path, env=environment()
    ) as bot:
        output = await bot.says("web chat: http://127.0.0.1:")
        port = int(output.partition("127.0.0.1:")[2].partition("/")[0])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            page = await reader.readuntil(b"</html>")
            cookie = page.partition(b"set-cookie: ")[2].partition(b";")[0]
            writer.write(
                b"GET /web/events HTTP/1.1\r\nHost: localhost\r\nCookie: " + cookie + b"\r\n\r\n"
            )
            await reader.readuntil(b"event: history")
            assert await bot.ends(signal.SIGTERM) == 0
            assert "timeout" not in bot.output  # the stream was ended, not cut off
            await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()


async def test_a_bot_is_started_anew_when_its_file_changes(tmp_path: Path) -> None:
    bot_file = tmp_path / "talker.py"
    bot_file.write_text("this is no Python")
    async with FakeTelegram(token=TOKEN) as telegram:
        env = environment(telegram)
        async with running("talker.py", "--reload", folder=tmp_path, env=env) as bot:
            await bot.says("waiting for a change")
            assert "talker.py:1: SyntaxError" in bot.output
            bot_file.write_text(TALKER)
            await bot.says("polling")
            ann = telegram.user("Ann")
            ann.sends("/start")
            await ann.gets("one")
            bot_file.write_text(TALKER.replace('"one"', '"uno"'))
            os.utime(bot_file, ns=(1, 1))
            await bot.says("stopped; nothing is left")
            ann.sends("/start")
            await telegram.wait_for(lambda: "uno" in ann.sees)
            assert await bot.ends(signal.SIGTERM) == 0
