"""`legato run` on the adder, at a pace that Twitch would not allow: that is for a test whose clock moves."""

import sys

from legato.cli.main import main
from legato.platforms.twitch import chat, rooms

FAST = 1_000
"""Messages in 30 seconds, and joins in 10."""

if __name__ == "__main__":
    rooms.FEW = rooms.MANY = (FAST, 30.0)
    chat.JOINS = (FAST, 10.0)
    sys.exit(main(["run", "tests.integration.twitch_adder"]))
