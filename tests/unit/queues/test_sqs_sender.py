"""What is asked of SQS, and what is made of its answers."""

import json
from typing import Any

import pytest

from legato.abc import HttpClient, HttpRequest, HttpResponse, MaybeSent, NotSent
from legato.abc.queue import Letter
from legato.aws import service
from legato.errors import ConfigError, Unavailable
from legato.queues.sqs import Post, SqsSender
from legato.queues.sqs.address import where_is
from legato.queues.sqs.letters import Wake, hashed, read

NAMED = "sqs://bot.fifo?region=eu-west-1"
WHOLE = "sqs://sqs.eu-west-1.amazonaws.com/123456789012/bot.fifo"
Answer = tuple[int, dict[str, Any]] | Exception


def refused(kind: str, status: int = 400) -> Answer:
    return status, {"__type": f"com.amazonaws.sqs#{kind}", "message": "why"}


class Scripted(HttpClient):
    """Answers as it was told; then takes everything. Keeps what it was asked."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.requests: list[HttpRequest] = []

    async def send(self, request: HttpRequest) -> HttpResponse:
        action, asked = request.headers["x-amz-target"], json.loads(request.body)
        self.asked.append((action, asked))
        self.requests.append(request)
        if self.answers:
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
        elif action == "AmazonSQS.GetQueueUrl":
            answer = 200, {"QueueUrl": "https://found/1/bot.fifo"}
        else:
            done = [{"Id": entry["Id"]} for entry in asked["Entries"]]
            answer = 200, {"Successful": done, "Failed": []}
        return HttpResponse(answer[0], {}, json.dumps(answer[1]).encode())

    async def download(self, request: HttpRequest, path: str, limit: int) -> int:
        raise AssertionError("a queue downloads nothing")

    async def close(self) -> None:
        raise AssertionError("it is not the sender's")

    def batches(self) -> list[list[dict[str, Any]]]:
        return [asked["Entries"] for action, asked in self.asked if action.endswith("Batch")]


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setattr(service, "PAUSE_S", 0.0)


def sender(http: Scripted, address: str = WHOLE, *, fifo: bool = True) -> SqsSender:
    return SqsSender(where_is(address, "LEGATO_QUEUE", fifo=fifo, environment={}), http)


def post(name: str, lane: str = "", body: bytes = b"{}") -> Post:
    return Post(lane or name, Letter(name, 7, body, at_ms=5))


async def test_letters_go_in_batches_of_ten_and_of_a_megabyte() -> None:
    http = Scripted()
    await sender(http).publish([post(f"{n}") for n in range(23)])
    assert [len(batch) for batch in http.batches()] == [10, 10, 3]
    http = Scripted()
    long = json.dumps("x" * 400_000).encode()
    await sender(http).publish([post(f"{n}", body=long) for n in range(5)])
    assert [len(batch) for batch in http.batches()] == [2, 2, 1]


async def test_of_a_lane_one_letter_goes_at_a_time_since_a_batch_may_fail_in_part() -> None:
    http = Scripted()
    await sender(http).publish([post("1", "a"), post("2", "a"), post("3", "b"), post("4", "a")])
    ids = [[entry["MessageDeduplicationId"] for entry in batch] for batch in http.batches()]
    assert ids == [[hashed("1"), hashed("3")], [hashed("2")], [hashed("4")]]
    groups = {entry["MessageGroupId"] for batch in http.batches() for entry in batch}
    assert groups == {hashed("a"), hashed("b")}


async def test_only_what_failed_is_sent_again_and_what_follows_it_waits() -> None:
    failed = {"Id": "0", "Code": "InternalError", "SenderFault": False}
    http = Scripted((200, {"Successful": [{"Id": "1"}], "Failed": [failed]}))
    await sender(http).publish([post("1", "a"), post("2", "b"), post("3", "a")])
    ids = [[entry["MessageDeduplicationId"] for entry in batch] for batch in http.batches()]
    assert ids == [[hashed("1"), hashed("2")], [hashed("1")], [hashed("3")]]

    fault = failed | {"Code": "InvalidMessageContents", "SenderFault": True, "Message": "what"}
    http = Scripted((200, {"Successful": [{"Id": "1"}], "Failed": [fault]}))
    with pytest.raises(Unavailable, match="InvalidMessageContents: what"):
        await sender(http).publish([post("1", "a"), post("2", "b"), post("3", "a")])
    assert len(http.batches()) == 1


@pytest.mark.parametrize(
    "trouble",
    [
        refused("RequestThrottled"),
        refused("ThrottlingException"),
        refused("ServiceUnavailable", 503),
        (502, {}),
        NotSent("no connection"),
        MaybeSent("the connection broke"),
        refused("ExpiredTokenException"),
    ],
)
async def test_what_may_go_well_a_moment_later_is_tried_again(trouble: Answer) -> None:
    http = Scripted(trouble)
    await sender(http).publish([post("1")])
    assert len(http.batches()) == 2
    assert http.requests[0].url == "https://sqs.eu-west-1.amazonaws.com/"
    assert http.requests[0].headers["host"] == "sqs.eu-west-1.amazonaws.com"


async def test_expired_credentials_are_read_again_once(monkeypatch: pytest.MonkeyPatch) -> None:
    http = Scripted(refused("ExpiredTokenException"))
    made = sender(http)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIANEXT")
    await made.publish([post("1")])
    used = [request.headers["authorization"].partition("/")[0] for request in http.requests]
    assert [text[-8:] for text in used] == ["AKIATEST", "AKIANEXT"]


@pytest.mark.parametrize(
    ("kind", "cure"),
    [("QueueDoesNotExist", "was it deleted"), ("AccessDeniedException", "sqs:SendMessage")],
)
async def test_what_people_must_mend_is_told_with_its_cure(kind: str, cure: str) -> None:
    http = Scripted(refused(kind))
    with pytest.raises(Unavailable, match=cure):
        await sender(http).publish([post("1")])
    assert len(http.asked) == 1


async def test_the_url_of_a_name_is_asked_for_once() -> None:
    http = Scripted()
    made = sender(http, NAMED)
    for _ in range(2):
        await made.publish([post("1")])
    urls = [asked.get("QueueUrl") for _, asked in http.asked]
    assert urls == [None, "https://found/1/bot.fifo", "https://found/1/bot.fifo"]


async def test_wakes_are_delayed_and_one_refused_batch_keeps_no_other() -> None:
    http = Scripted(refused("QueueDoesNotExist"))
    made = sender(http, "sqs://timers?region=eu-1", fifo=False)
    made._url = "https://known/1/timers"
    with pytest.raises(Unavailable):
        await made.wake([(Wake(f"key{n}", 5), n) for n in range(12)])
    last = http.batches()[1]
    assert [entry["DelaySeconds"] for entry in last] == [10, 11]
    assert read(last[1]["MessageBody"]) == Wake("key11", 5)


def test_addresses_say_region_account_and_endpoint() -> None:
    where = where_is(WHOLE, "LEGATO_QUEUE", fifo=True, environment={"AWS_REGION": "us-east-1"})
    assert (where.region, where.account, where.name) == ("eu-west-1", "123456789012", "bot.fifo")
    assert where.url == "https://sqs.eu-west-1.amazonaws.com/123456789012/bot.fifo"
    assert where.is_of("arn:aws:sqs:eu-west-1:123456789012:bot.fifo")
    assert not where.is_of("arn:aws:sqs:eu-west-1:999999999999:bot.fifo")
    assert not where.is_of("arn:aws:sqs:eu-west-2:123456789012:bot.fifo")
    assert not where.is_of("bot.fifo")

    named = where_is(NAMED, "LEGATO_QUEUE", fifo=True, environment={})
    assert (named.url, named.endpoint) == ("", "https://sqs.eu-west-1.amazonaws.com")
    assert named.is_of("arn:aws:sqs:eu-west-1:1:bot.fifo")
    assert not named.is_of("arn:aws:sqs:eu-west-1:1:other.fifo")
    local = {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_REGION": "eu-2"}
    timers = where_is("sqs://bot-timers", "LEGATO_TIMERS", fifo=False, environment=local)
    assert (timers.endpoint, timers.region) == ("http://127.0.0.1:1", "eu-2")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("sqs://", "is no address of a queue"),
        ("sqs://.fifo", "is no address of a queue"),
        ("sqs://key:canary@host/1/bot.fifo", "is no address of a queue"),
        ("https://sqs.eu-west-1.amazonaws.com/1/bot.fifo", "write its URL with sqs://"),
        ("sqs://bot?region=eu-1", "ends with .fifo"),
        ("sqs://bot.fifo", "set AWS_REGION"),
        ("sqs://bot.fifo?region=eu-1&endpoint=http://u:canary@h", "endpoint= must look like"),
        ("sqs://bot.fifo?region=eu-1&speed=1", "'speed' is no parameter"),
    ],
)
def test_what_is_no_address_is_refused_without_a_secret(address: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as raised:
        where_is(address, "LEGATO_QUEUE", fifo=True, environment={})
    assert "canary" not in str(raised.value)
