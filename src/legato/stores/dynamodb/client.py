"""Requests of DynamoDB's JSON protocol: signed, and tried again while that may help.

Whatever this store sends may be sent twice: a transaction has its token, everything else is conditional or
says the same twice. So a request whose answer was lost is simply repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

import msgspec

from legato.abc.http import HttpClient, MaybeSent, NotSent
from legato.aws.service import EXPIRED, Refused, Service, pause_s, refusal
from legato.aws.signing import Credentials
from legato.errors import Misuse, StoreUnavailable
from legato.stores.dynamodb.address import Where
from legato.stores.dynamodb.failures import AGAIN, Unknown, explained

TRIES = 8
WRITES = frozenset({"TransactWriteItems", "PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem"})

_T = TypeVar("_T")

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Client:
    """Belongs to one event loop.

    Args:
        where: The table.
        http: Carries the requests; closed with this.
        who: Gives the credentials; asked again when they have expired.
    """

    __slots__ = ("_http", "_loop", "_room", "_service", "where")

    def __init__(self, where: Where, http: HttpClient, who: Callable[[], Credentials]) -> None:
        self.where: Where = where
        self._http = http
        self._service = Service(
            where.endpoint,
            where.region,
            "dynamodb",
            "DynamoDB_20120810",
            http=http,
            who=who,
            timeout_s=where.timeout_s,
        )
        self._room = asyncio.Semaphore(where.pool)
        self._loop = asyncio.get_running_loop()

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.close()

    async def ask(self, action: str, **request: Any) -> dict[str, Any]:
        """One request about our table; its answer.

        Raises:
            Refused: The service says no, and would again.
            StoreUnavailable: It could not be asked, or has no time. Unknown, if it may have written.
        """
        return await self.call(action, {"TableName": self.where.table} | request)

    async def call(self, action: str, request: dict[str, Any]) -> dict[str, Any]:
        """One request; its answer. Raises what `ask` raises."""
        if asyncio.get_running_loop() is not self._loop:
            raise Misuse(
                "this store was opened in another event loop: open it in the loop that uses it"
            )
        body = _encode(request)
        failure = ""
        unsure = False
        for number in range(TRIES):
            if number:
                await asyncio.sleep(pause_s(number - 1))
            try:
                async with self._room:
                    answer = await self._service.send(action, body)
            except NotSent as error:
                failure = str(error)
                continue
            except MaybeSent as error:
                failure, unsure = str(error), action in WRITES
                continue
            refused = refusal(answer)
            if refused is None:
                return _decode(answer.body)
            failure = str(refused)
            if refused.kind == EXPIRED and number == 0:
                self._service.renew()
            elif answer.status < 500 and refused.kind not in AGAIN:
                refused.unsure = unsure
                raise refused
            else:
                unsure = unsure or (answer.status >= 500 and action in WRITES)
        what = f"{self.where.name} cannot be used now: {failure}"
        if unsure:
            raise Unknown(
                f"{what}. Whether the last write took place is not known; an update that is repeated will "
                "be recognised by its id."
            )
        raise StoreUnavailable(f"{what}. It will be tried again.")

    async def do(self, action: str, **request: Any) -> dict[str, Any]:
        """As `ask`, for what the service has no reason to refuse: its errors are ours."""
        return await self.do_call(action, {"TableName": self.where.table} | request)

    async def do_call(self, action: str, request: dict[str, Any]) -> dict[str, Any]:
        """The same for a request that names the table somewhere else."""
        try:
            return await self.call(action, request)
        except Refused as refused:
            raise explained(refused, self.where.name) from refused


async def together(works: Iterable[Awaitable[_T]]) -> list[_T]:
    """The results of all, in their order. If one fails, the others are still waited for."""
    found: list[_T] = []
    for result in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
        found.append(result)
    return found
