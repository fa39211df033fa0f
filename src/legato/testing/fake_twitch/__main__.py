"""A fake Twitch as a process of its own: `python -m legato.testing.fake_twitch`.

Prints one line of JSON when it listens: "control" (see legato.testing.fake_twitch.control),
"environment" (the variables for `legato run`), "token" and "refresh_token" of the bot. Ends with the
end of its standard input, or by a signal.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import threading
from contextlib import suppress

import msgspec

from legato.testing.fake_twitch.control import Control
from legato.testing.fake_twitch.server import FakeTwitch


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m legato.testing.fake_twitch", description="Twitch, for tests."
    )
    parser.add_argument("--port", type=int, default=0, help="of HTTP and WebSockets; 0: a free one")
    parser.add_argument("--irc-port", type=int, default=0, help="of IRC over TCP; 0: a free one")
    parser.add_argument("--channels", default="ronni", help="names, comma separated")
    parser.add_argument("--bot", default="FakeBot", help="the bot's name")
    parser.add_argument("--transport", default="irc", help="for the environment that is printed")
    parser.add_argument("--second", type=float, default=0.05, help="how long a second takes here")
    parser.add_argument("--tls", action="store_true", help="TLS everywhere")
    return parser.parse_args()


async def _main(options: argparse.Namespace) -> None:
    twitch = FakeTwitch(bot=options.bot, second=options.second, tls=options.tls)
    for name in options.channels.split(","):
        twitch.channel(name)
    twitch.control = Control(twitch)
    stop = _stopped()
    await twitch.open(options.port, options.irc_port)
    try:
        ready = {
            "control": twitch.api_url.replace("/helix", "/control"),
            "environment": twitch.environment(options.transport),
            "token": twitch.token,
            "refresh_token": twitch.refresh_token,
        }
        print(msgspec.json.encode(ready).decode(), flush=True)
        await stop.wait()
    finally:
        await twitch.close()


def _stopped() -> asyncio.Event:
    """What is set by a signal, or when nobody is left who could write to the standard input."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)

    def read() -> None:
        sys.stdin.read()
        with suppress(RuntimeError):  # a signal was quicker
            loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=read, daemon=True).start()
    return stop


if __name__ == "__main__":
    asyncio.run(_main(_options()))
