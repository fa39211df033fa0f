"""A way to DynamoDB on which requests are refused, lost, and carried out without an answer."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from legato.abc import HttpClient, HttpRequest, HttpResponse, MaybeSent, NotSent
from legato.deploy.transport import Transport
from legato.stores.dynamodb import DynamoDBStore
from legato.stores.dynamodb.writer import Writer

FAULTS = ("conflict", "throttled", "busy", "unavailable", "unsent", "lost", "answer lost", "late")


def refusal(kind: str, status: int = 400, **more: Any) -> HttpResponse:
    """An error as DynamoDB words it."""
    name = f"com.amazonaws.dynamodb.v20120810#{kind}"
    return HttpResponse(status, {}, json.dumps({"__type": name, "message": kind, **more}).encode())


class Trouble(HttpClient):
    """An HTTP client that does to some requests what a bad day does.

    "conflict": a transaction is canceled, since another is under way; "late": no answer comes, and the
    request arrives after what is sent next; "terse": of several conditions that fail, the refusal names
    the last one only.

    Attributes:
        plan: Faults to come, first things first, for requests of `action`; None is a request that goes well.
        action: Which requests `plan` is about; "" for all.
        rate: Share of all requests that fail besides, by chance.
        done: How often each fault happened.
        tokens: Whether ClientRequestTokens arrive. False is a sabotage: DynamoDB cannot tell a repetition.
        seen: Each request's action and body.
        then: Is awaited after the next fault.
    """

    def __init__(self, seed: int = 0) -> None:
        self._http = Transport()
        self._chance = random.Random(seed)
        self._late: list[HttpRequest] = []
        self.plan: list[str | None] = []
        self.action = ""
        self.rate = 0.0
        self.done: Counter[str] = Counter()
        self.tokens = True
        self.seen: list[tuple[str, dict[str, Any]]] = []
        self.then: Callable[[], Awaitable[object]] | None = None

    async def send(self, request: HttpRequest) -> HttpResponse:
        """One request, or what becomes of it."""
        action = request.headers["x-amz-target"].rpartition(".")[2]
        self.seen.append((action, json.loads(request.body)))
        fault = self._fault(action)
        if fault is not None:
            self.done[fault] += 1
            try:
                return await self._fail(fault, action, request)
            finally:
                if self.then is not None:
                    then, self.then = self.then, None
                    await then()
        answer = await self._http.send(self._altered(request))
        late, self._late = self._late, []
        for each in late:
            await self._http.send(self._altered(each))
        return answer

    def _fault(self, action: str) -> str | None:
        if self.plan and self.action in ("", action):
            return self.plan.pop(0)
        return self._chance.choice(FAULTS) if self._chance.random() < self.rate else None

    async def _fail(self, fault: str, action: str, request: HttpRequest) -> HttpResponse:
        await asyncio.sleep(0)
        match fault:
            case "conflict" if action == "TransactWriteItems":
                count = len(json.loads(request.body)["TransactItems"])
                reasons = [{"Code": "None"}] * (count - 1) + [{"Code": "TransactionConflict"}]
                return refusal("TransactionCanceledException", CancellationReasons=reasons)
            case "conflict" | "throttled":
                return refusal("ThrottlingException")
            case "busy":
                return refusal("ProvisionedThroughputExceededException")
            case "unavailable":
                return HttpResponse(503, {}, b"<html>not JSON</html>")
            case "unsent":
                raise NotSent("no connection")
            case "answer lost":
                await self._http.send(self._altered(request))
            case "terse":
                return _terse(await self._http.send(self._altered(request)))
            case "late":
                self._late.append(request)
            case _:
                assert fault == "lost"
        raise MaybeSent("the connection broke")

    def _altered(self, request: HttpRequest) -> HttpRequest:
        body = json.loads(request.body)
        if self.tokens or "ClientRequestToken" not in body:
            return request
        del body["ClientRequestToken"]
        return HttpRequest(request.method, request.url, request.headers, json.dumps(body).encode())

    async def download(self, request: HttpRequest, path: str, limit: int) -> int:
        """Not used by a store."""
        raise NotImplementedError

    async def close(self) -> None:
        """Closes the real one."""
        await self._http.close()


def _terse(answer: HttpResponse) -> HttpResponse:
    found = json.loads(answer.body)
    reasons = found["CancellationReasons"]
    failed = [at for at, reason in enumerate(reasons) if reason["Code"] != "None"]
    for at in failed[:-1]:
        reasons[at] = {"Code": "None"}
    return HttpResponse(answer.status, {}, json.dumps(found).encode())


def troubled(url: str, seed: int = 0) -> tuple[DynamoDBStore, Callable[[], Trouble]]:
    """A store, and what gives its way to DynamoDB once it is open."""
    made: list[Trouble] = []

    def make() -> Trouble:
        made.append(Trouble(seed))
        return made[-1]

    return DynamoDBStore(url, http=make), lambda: made[-1]


def forgetful(monkeypatch: Any) -> None:
    """A sabotage: a store that does not know its own work again."""
    judged: Any = Writer._judged

    async def blind(*given: Any) -> Any:
        return await judged(*given[:-1], {})

    monkeypatch.setattr(Writer, "_judged", blind)
