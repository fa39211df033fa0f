"""A process that calls an API with a Twitch account's token: `twitch_renewer.py STORE BASE CALLS`.

Prints one line of JSON: how many calls were answered and how many of them were refused first.
"""

import asyncio
import json
import sys

from legato.abc import HttpRequest
from legato.deploy.clock import SystemClock
from legato.deploy.transport import Transport
from legato.platforms.twitch.oauth import Tokens
from legato.stores.sqlite import SQLiteStore
from tests.unit.platforms.twitch_login import CLIENT_ID, CLIENT_SECRET, KEY

AT_ONCE = 8


async def main(path: str, base: str, calls: int) -> None:
    """Makes so many calls, some at a time; each refused one once more with a new token."""
    store = SQLiteStore(path, shared=True)
    await store.open()
    http = Transport()
    tokens = Tokens(CLIENT_ID, CLIENT_SECRET, KEY, auth=f"{base}/oauth2", clock=SystemClock())
    told = {"answered": 0, "refused": 0}

    async def status(token: str) -> int:
        headers = {"authorization": f"Bearer {token}"}
        return (await http.send(HttpRequest("GET", f"{base}/api", headers))).status

    async def caller() -> None:
        for _ in range(calls // AT_ONCE):
            token = await tokens.user_token(http, store)
            while await status(token) == 401:  # it may end again at once
                told["refused"] += 1
                token = await tokens.refresh(http, store, token)
            told["answered"] += 1

    try:
        await asyncio.gather(*(caller() for _ in range(AT_ONCE)))
    finally:
        await http.close()
        await store.close()
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
