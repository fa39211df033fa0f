"""The bot of test_kill.py: `legato run` on the adder, if wanted with a part of its safety broken.

python kill_bot.py BOT_FILE [no-dedupe]
"""

import sys

import msgspec

from legato.cli.main import main
from legato.model.records import Commit, Committed
from legato.stores.sqlite import SQLiteStore


def without_dedupe() -> None:
    """Sabotage: no update is remembered, so a repeated one is applied again."""
    honest = SQLiteStore.commit

    async def commit(self: SQLiteStore, commit: Commit) -> Committed:
        return await honest(self, msgspec.structs.replace(commit, update_id=""))

    SQLiteStore.commit = commit  # type: ignore[method-assign]


if __name__ == "__main__":
    if "no-dedupe" in sys.argv:
        without_dedupe()
    raise SystemExit(main(["run", sys.argv[1]]))
