"""A platform that refuses us ends alone while others go on."""

import asyncio

from legato import App
from legato.abc import HttpClient, Sink, Store
from legato.app.settings import Settings
from legato.deploy.process import Process
from legato.errors import BadToken
from legato.stores.memory import MemoryStore
from legato.testing.clock import FakeClock
from legato.testing.platform import ScriptedPlatform


class Refusing(ScriptedPlatform):
    """Listens until it is refused."""

    def __init__(self, bot: str) -> None:
        super().__init__(bot)
        self.refused = asyncio.Event()

    async def listen(self, sink: Sink, http: HttpClient, store: Store) -> None:
        await self.refused.wait()
        raise BadToken(f"the token of {self.bot} was revoked")


async def test_the_process_fails_only_with_its_last_platform() -> None:
    one, two = Refusing("1"), Refusing("2")
    failures: list[BaseException] = []
    failed = asyncio.Event()

    def note(error: BaseException) -> None:
        failures.append(error)
        failed.set()

    process = Process(
        App("bot"),
        Settings(),
        store=MemoryStore(),
        platforms=[one, two],
        clock=FakeClock(),
        failed=note,
    )
    await process.open()
    for platform in (one, two):
        process.listen(platform)

    one.refused.set()
    for _ in range(10):
        await asyncio.sleep(0)
    assert failures == []
    two.refused.set()
    await failed.wait()

    assert [str(error) for error in failures] == ["the token of 2 was revoked"]
    await process.close()
