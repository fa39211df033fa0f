"""What the service may answer, word for word, without a service."""

import asyncio
import json
from typing import Any

import pytest

from legato.abc import HttpClient, HttpRequest, HttpResponse
from legato.aws import service
from legato.aws.service import Refused
from legato.errors import ConfigError, LegatoError, StoreCorrupt, StoreError, StoreUnavailable
from legato.model.records import Commit, Settled
from legato.stores.dynamodb import DynamoDBStore, table
from legato.stores.dynamodb.failures import explained
from legato.testing.conformance._samples import KEY, begin

URL = "dynamodb://my-bot?region=eu-central-1"
OPEN = (200, {"Item": {"layout": {"N": "1"}, "spread": {"N": "1"}}})
Answer = tuple[int, dict[str, Any]]


def error(kind: str, text: str = "why", **more: Any) -> Answer:
    """An error in DynamoDB's words."""
    return 400, {"__type": f"com.amazonaws.dynamodb.v20120810#{kind}", "message": text, **more}


class Scripted(HttpClient):
    """Answers as it was told, the last of it for ever; keeps what it was asked."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.headers: list[dict[str, str]] = []
        self.closed = False

    async def send(self, request: HttpRequest) -> HttpResponse:
        action = request.headers["x-amz-target"].partition(".")[2]
        self.asked.append((action, json.loads(request.body)))
        self.headers.append(request.headers)
        status, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return HttpResponse(status, {}, json.dumps(body).encode())

    async def download(self, request: HttpRequest, path: str, limit: int) -> int:
        raise AssertionError("a store downloads nothing")

    async def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def _who(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "first")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    for name in ("AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_DYNAMODB"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(service, "PAUSE_S", 0.0)
    monkeypatch.setattr(table, "PAUSE_S", 0.0)


async def opened(*answers: Answer, url: str = URL) -> tuple[DynamoDBStore, Scripted]:
    http = Scripted(OPEN, *answers)
    store = DynamoDBStore(url, http=lambda: http)
    await store.open()
    return store, http


async def test_a_table_that_was_used_before_is_opened_by_one_read() -> None:
    store, http = await opened()
    await store.open()
    assert [action for action, _ in http.asked] == ["GetItem"]
    assert http.headers[0]["host"] == "dynamodb.eu-central-1.amazonaws.com"
    await store.close()
    assert http.closed


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("ResourceNotFoundException", "no such table.*create=1"),
        ("AccessDeniedException", "The role needs dynamodb:GetItem, .*DescribeTable"),
        ("UnrecognizedClientException", "Check AWS_ACCESS_KEY_ID.*clock"),
        ("InvalidSignatureException", "Check AWS_ACCESS_KEY_ID.*clock"),
    ],
)
async def test_what_a_person_can_mend_is_said_at_the_start(kind: str, said: str) -> None:
    http = Scripted(error(kind))
    with pytest.raises(ConfigError, match=said) as raised:
        await DynamoDBStore(URL, http=lambda: http).open()
    assert http.closed
    assert "canary" not in str(raised.value)


@pytest.mark.parametrize(
    ("kind", "ours"),
    [
        ("ResourceNotFoundException", StoreCorrupt),
        ("AccessDeniedException", StoreUnavailable),
        ("InvalidSignatureException", StoreUnavailable),
        ("ValidationException", StoreError),
    ],
)
async def test_errors_later_on_are_ours(kind: str, ours: type[LegatoError]) -> None:
    """Of reads, commits and fates alike."""
    store, _ = await opened(error(kind, "what it says"))
    for work in (
        store.load(KEY),
        store.commit(begin()),
        store.settle([Settled(1, "dead")]),
        store.settle([Settled(1, "sent", key="k", ref="r", message_id="1")]),
        store.settle([Settled(4, "sent")]),
    ):
        with pytest.raises(ours, match="what it says") as raised:
            await work
        assert type(raised.value) is ours
    assert type(explained(Refused(kind, "", {}), "x")) is ours
    await store.close()


async def test_a_transaction_that_is_refused_for_its_content_is_told() -> None:
    reasons = [{"Code": "ValidationError", "Message": "too large"}]
    canceled = error("TransactionCanceledException", CancellationReasons=reasons)
    store, http = await opened(canceled)
    with pytest.raises(StoreError, match=r"too large \(ValidationError\)"):
        await store.commit(begin())
    assert len(http.asked) == 2
    await store.close()


async def test_a_fate_that_is_refused_for_its_content_is_told() -> None:
    found = {"Item": {"pk": {"S": "o|00"}, "sk": {"S": "4"}}}
    store, http = await opened((200, found), error("ValidationException", "too large"))
    with pytest.raises(StoreError, match="too large"):
        await store.settle([Settled(4, "sent", key="k", ref="r", message_id="1")])
    assert [action for action, _ in http.asked[1:]] == ["GetItem", "TransactWriteItems"]
    await store.close()


async def test_credentials_that_expired_are_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once; then it is told."""
    store, http = await opened(error("ExpiredTokenException"), (200, {"Items": []}))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "second")
    assert await store.load(KEY) is None
    assert [part.partition("Credential=")[2][:6] for part in _signatures(http)] == [
        "first/", "first/", "second",
    ]  # fmt: skip
    http.answers = [error("ExpiredTokenException")]
    with pytest.raises(StoreUnavailable, match="Check AWS_ACCESS_KEY_ID"):
        await store.load(KEY)
    await store.close()


def _signatures(http: Scripted) -> list[str]:
    return [headers["authorization"] for headers in http.headers]


async def test_what_was_left_of_a_batch_is_asked_for_again() -> None:
    """Of reads and of deletions; and in the end it is told."""
    left: dict[str, Any] = {"my-bot": [{"DeleteRequest": {"Key": {}}}]}
    store, http = await opened((200, {"UnprocessedItems": left}), (200, {}))
    await store.settle([Settled(4, "sent"), Settled(8, "sent")])
    assert [len(body["RequestItems"]["my-bot"]) for _, body in http.asked[1:]] == [2, 1]
    http.answers = [(200, {"UnprocessedItems": left})]
    with pytest.raises(StoreUnavailable, match="no time to delete"):
        await store.settle([Settled(4, "sent")])
    keys = [{"pk": {"S": f"c|{number}"}, "sk": {"S": "c"}, "wsk": {"S": "1"}} for number in (1, 2)]
    found = [key | {"wake": {"N": "1"}, "stat": {"S": "waiting"}} for key in keys]
    more = {"my-bot": {"Keys": keys[1:]}}
    http.answers = [
        (200, {"Items": keys[:1], "LastEvaluatedKey": keys[0]}),
        (200, {"Items": keys[1:]}),
        (200, {"Responses": {"my-bot": found[:1]}, "UnprocessedKeys": more}),
        (200, {"Responses": {}, "UnprocessedKeys": more}),
        (200, {"Responses": {"my-bot": found[1:]}, "UnprocessedKeys": {}}),
    ]
    assert [row.key for row in await store.due(9, 9)] == ["1", "2"]
    assert http.asked[-4][1]["ExclusiveStartKey"] == keys[0]
    busy = (200, {"Responses": {}, "UnprocessedKeys": more})
    http.answers = [(200, {"Items": keys[:1]}), busy]
    async with asyncio.timeout(20):
        with pytest.raises(StoreUnavailable, match="no time to read"):
            await store.due(9, 9)
    await store.close()


async def test_an_index_that_is_late_gives_no_old_row() -> None:
    """What it names is read from the table: gone, not due any more, of another status, failed."""
    keys = [
        {"pk": {"S": f"c|{number}"}, "sk": {"S": "c"}, "wsk": {"S": "1"}} for number in range(4)
    ]
    keys = [key | {"ssk": {"S": key["pk"]["S"][2:]}} for key in keys]
    rows = [
        keys[0] | {"wake": {"N": "20"}, "stat": {"S": "waiting"}},
        keys[1] | {"wake": {"N": "5"}, "stat": {"S": "failed"}},
        keys[2] | {"wake": {"N": "5"}, "stat": {"S": "waiting"}},
    ]
    store, http = await opened((200, {"Items": keys}), (200, {"Responses": {"my-bot": rows}}))
    assert [row.key for row in await store.due(9, 9)] == ["2"]
    http.answers = [(200, {"Items": keys}), (200, {"Responses": {"my-bot": rows}})]
    assert [row.key for row in await store.find(status="failed")] == ["1"]
    await store.close()


def described(**more: Any) -> Answer:
    """A table as CreateTable made it."""
    found = table.definition("my-bot") | {"TableStatus": "ACTIVE"} | more
    for index in found["GlobalSecondaryIndexes"]:
        index["IndexStatus"] = found["TableStatus"]
    return 200, {"Table": found}


NO_TABLE = error("ResourceNotFoundException")
NOTHING: Answer = (200, {})


@pytest.mark.parametrize(
    "answers",
    [
        [NO_TABLE, NOTHING, NO_TABLE, described(TableStatus="CREATING"), described(), NOTHING],
        [NO_TABLE, error("ResourceInUseException"), described(), NOTHING],
        [NOTHING],
    ],
    ids=["made", "another makes it", "empty"],
)
async def test_a_table_is_waited_for_and_begun(answers: list[Answer]) -> None:
    """TTL is on before it is used; another process may begin it at the same moment."""
    http = Scripted(
        *answers,
        described(),
        error("ValidationException", "TimeToLive is already enabled"),
        error("ConditionalCheckFailedException"),
        OPEN,
    )
    store = DynamoDBStore(f"{URL}&create=1", http=lambda: http)
    await store.open()
    actions = [action for action, _ in http.asked]
    assert actions[-4:] == ["DescribeTable", "UpdateTimeToLive", "PutItem", "GetItem"]
    await store.close()


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([NO_TABLE, NOTHING, described(TableStatus="CREATING")], "is being made"),
        ([NO_TABLE, error("AccessDeniedException")], "The role needs"),
        ([NO_TABLE, NOTHING, error("AccessDeniedException")], "The role needs"),
        ([NOTHING, described(), error("AccessDeniedException")], "The role needs"),
        ([NOTHING, described(), NOTHING, error("AccessDeniedException")], "The role needs"),
    ],
)
async def test_a_table_that_cannot_be_made_is_told(answers: list[Answer], said: str) -> None:
    http = Scripted(*answers)
    with pytest.raises((ConfigError, StoreUnavailable), match=said):
        await DynamoDBStore(f"{URL}&create=1", http=lambda: http).open()
    assert http.closed


async def test_a_purge_that_fails_is_left_to_the_next_one(caplog: pytest.LogCaptureFixture) -> None:
    """And one that another process was faster with is none."""
    store, http = await opened(error("ConditionalCheckFailedException"), (200, {"Items": []}))
    await store.commit(Commit(at_ms=1, purge_ms=5))
    assert [action for action, _ in http.asked] == ["GetItem", "UpdateItem", "Query"]
    await store.commit(Commit(at_ms=1, purge_ms=5))  # it is behind already
    assert [action for action, _ in http.asked][3:] == ["Query"]
    http.answers = [error("AccessDeniedException")]
    assert (await store.commit(Commit(at_ms=1, purge_ms=6))).result == "committed"
    assert "was not all forgotten" in caplog.text
    await store.close()


async def test_values_that_are_not_whole_are_told() -> None:
    """After they were read some times: a writer may be at it."""
    half = {
        "pk": {"S": "k"},
        "sk": {"S": "k"},
        "body": {"B": ""},
        "parts": {"N": "1"},
        "tx": {"S": "t"},
    }
    answers: list[Answer] = [(200, {"Item": half}), (200, {"Items": []})]
    store, http = await opened(*answers * 3)
    with pytest.raises(StoreCorrupt, match="the value 'space' 'name' is not whole"):
        await store.get("space", "name")
    assert len(http.asked) == 7
    await store.close()


def test_a_store_shows_its_table_and_no_secret() -> None:
    store = DynamoDBStore(URL, http=Scripted)
    assert repr(store) == "<DynamoDB table my-bot in eu-central-1>"
