"""The balancer: which shard a room has, and what goes there and comes back."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from legato.abc import HttpClient, HttpRequest, HttpResponse, MaybeSent, NotSent, Parsed
from legato.abc.observer import SCOPE, Scope
from legato.app.router import Router
from legato.deploy.balancer import LIMITS, Balancer, Shards
from legato.deploy.signature import HEADER, REPLY, check_request
from legato.errors import ConfigError
from legato.model.shards import SLOTS, slot_of_key
from legato.platforms.telegram import Telegram
from legato.testing.clock import FakeClock
from tests.unit.deploy.asgi_kit import Answer, request
from tests.unit.deploy.gateway_kit import PROOF, SECRET, press, talker, update

URLS = ("http://w0:8080", "http://w1:8080", "http://w2:8080")
KEY = "a-key-of-sixteen-characters"


class Fleet(HttpClient):
    """Shards that answer as they are told; silent ones are away.

    Attributes:
        answers: By shard: what it answers, or raises.
        got: By shard: requests.
    """

    def __init__(self) -> None:
        self.answers: dict[str, HttpResponse | Exception] = {}
        self.got: dict[str, list[HttpRequest]] = {url: [] for url in URLS}

    async def send(self, request: HttpRequest) -> HttpResponse:
        url = request.url[: request.url.index("/", 8)]
        self.got[url].append(request)
        answer = self.answers.get(url, HttpResponse(200))
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def download(self, request: HttpRequest, path: str, limit: int) -> int:
        raise AssertionError("nothing is downloaded")

    async def close(self) -> None:
        return


class Balanced:
    """A balancer before three shards."""

    def __init__(
        self, platform: Telegram | None = None, urls: Sequence[str] = URLS, **options: Any
    ) -> None:
        self.clock = FakeClock()
        self.fleet = Fleet()
        self.platform = platform or Telegram("4200:token", secret=SECRET, clock=self.clock)
        app = talker(options.pop("scope", "user_in_chat"))
        router = Router(app.triggers, app.dialogs)
        shards = Shards(urls)
        self.asgi = Balancer(
            [self.platform], router, shards, self.fleet, self.clock, limits=LIMITS, **options
        )

    async def post(self, body: bytes, **more: str) -> Answer:
        return await request(self.asgi, "POST", "/telegram", body, headers=PROOF | more)

    @property
    def used(self) -> list[str]:
        """The shards that got something."""
        return [url for url in URLS if self.fleet.got[url]]


def rooms(count: int = 2000) -> list[int]:
    return [slot_of_key(f"telegram:4200:{n}:{n}:") for n in range(count)]


# -- which one -------------------------------------------------------------------------------------


def test_every_slot_has_one_shard_however_the_list_is_written() -> None:
    shards, backwards = Shards(URLS), Shards([f"{url}/" for url in reversed(URLS)])
    assert [shards.of(n) for n in range(SLOTS)] == [backwards.of(n) for n in range(SLOTS)]


def test_rooms_are_spread_evenly() -> None:
    shards = Shards(URLS)
    counts = Counter(shards.of(slot) for slot in rooms(10_000))
    assert set(counts) == set(URLS)
    assert max(counts.values()) < 1.2 * min(counts.values())


@pytest.mark.parametrize("before", [1, 2, 3, 7])
def test_one_more_shard_takes_its_part_and_moves_nothing_between_the_others(before: int) -> None:
    urls = [f"http://w{n}:8080" for n in range(before + 1)]
    old, new = Shards(urls[:-1]), Shards(urls)
    moved = [slot for slot in range(SLOTS) if old.of(slot) != new.of(slot)]
    assert {new.of(slot) for slot in moved} == {urls[-1]}
    assert 0.6 < len(moved) * (before + 1) / SLOTS < 1.4


def test_the_control_moves_most_rooms() -> None:
    """What `room % shards` would do."""
    moved = sum(slot % 3 != slot % 4 for slot in rooms())
    assert moved > 0.6 * len(rooms())


@pytest.mark.parametrize("urls", [[], ["http://a", "http://a/"]])
def test_a_list_without_a_shard_or_with_one_twice_is_refused(urls: list[str]) -> None:
    with pytest.raises(ConfigError, match="name each shard once"):
        Shards(urls)


async def test_messages_and_buttons_of_a_room_go_to_one_shard() -> None:
    for user in range(1, 30):
        balanced = Balanced()
        for body in (update(1, "/start", user), update(2, "x", user), press(3, user)):
            assert (await balanced.post(body)).status == 200
        [url] = balanced.used
        assert len(balanced.fleet.got[url]) == 3


async def test_where_dialogs_belong_to_persons_all_their_rooms_go_to_one_shard() -> None:
    balanced = Balanced(scope="user")
    person = {"id": 5, "first_name": "Ann", "is_bot": False}
    for chat in range(-1, -30, -1):
        message = {"message_id": 1, "date": 1, "from": person, "text": "hi"}
        message |= {"chat": {"id": chat, "type": "group", "title": "G"}}
        body = json.dumps({"update_id": -chat, "message": message}).encode()
        assert (await balanced.post(body)).status == 200
    assert len(balanced.used) == 1


async def test_an_update_with_several_events_goes_to_the_shard_of_the_first_as_a_whole() -> None:
    people = [{"id": n, "is_bot": False, "first_name": "P"} for n in range(11, 40)]
    balanced = Balanced(scope="user")
    assert (await balanced.post(update(7, new_chat_members=people))).status == 200
    [url] = balanced.used
    assert url == Shards(URLS).of(slot_of_key("telegram:4200::11:"))
    assert len(balanced.fleet.got[url]) == 1


async def test_what_cannot_be_read_is_kept_by_one_shard_always_the_same() -> None:
    balanced = Balanced()
    for _ in range(3):
        assert (await balanced.post(b"{")).status == 200
    [url] = balanced.used
    assert [one.body for one in balanced.fleet.got[url]] == [b"{"] * 3


# -- there and back --------------------------------------------------------------------------------


async def test_a_request_arrives_as_it_came_but_for_what_is_about_the_connection() -> None:
    balanced = Balanced()
    body = update() + b" "
    hop = {"connection": "close", "transfer-encoding": "chunked", "host": "us", "te": "x"}
    await balanced.post(body, **hop, **{"x-forwarded-for": "1.2.3.4", REPLY: "none"})
    [url] = balanced.used
    [got] = balanced.fleet.got[url]
    assert (got.method, got.url, got.body) == ("POST", f"{url}/telegram", body)
    proof = {name.lower(): value for name, value in PROOF.items()}
    assert got.headers == proof | {"x-forwarded-for": "1.2.3.4", REPLY: "none"}
    balanced.platform.verify(got)


async def test_with_a_key_the_shard_can_check_it_by_that() -> None:
    balanced = Balanced(key=KEY)
    await balanced.post(update())
    [url] = balanced.used
    [got] = balanced.fleet.got[url]
    other = Telegram("4200:token", secret="another", clock=balanced.clock)
    assert HEADER in got.headers
    check_request(other, got, KEY, balanced.clock)


async def test_the_shards_answer_rides_back() -> None:
    balanced = Balanced()
    answer = HttpResponse(200, {"content-type": "application/json"}, b'{"method":"sendMessage"}')
    balanced.fleet.answers = dict.fromkeys(URLS, answer)
    got = await balanced.post(update())
    assert (got.status, got.body) == (200, b'{"method":"sendMessage"}')
    assert got.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("failure", "retry_after"),
    [
        (NotSent("refused"), "1"),
        (MaybeSent("cut off"), "1"),
        (ValueError("a header holds a line break"), "1"),
        (HttpResponse(503, {"retry-after": "7"}), "7"),
        (HttpResponse(503, {"retry-after": "9999"}), "60"),
        (HttpResponse(503, {"retry-after": "soon"}), "1"),
        (HttpResponse(401), "1"),
        (HttpResponse(404), "1"),
        (HttpResponse(500), "1"),
        (HttpResponse(302), "1"),
    ],
)
async def test_a_shard_that_is_away_has_its_rooms_come_again_and_no_other_gets_them(
    failure: HttpResponse | Exception, retry_after: str
) -> None:
    balanced = Balanced()
    balanced.fleet.answers = {URLS[1]: failure}
    statuses: dict[str, set[int]] = {url: set() for url in URLS}
    shards = Shards(URLS)
    for user in range(1, 60):
        answer = await balanced.post(update(user, user=user))
        statuses[shards.of(slot_of_key(f"telegram:4200:{user}:{user}:"))].add(answer.status)
        if answer.status == 503:
            assert answer.headers["retry-after"] == retry_after
    assert statuses == {URLS[0]: {200}, URLS[1]: {503}, URLS[2]: {200}}
    assert sum(map(len, balanced.fleet.got.values())) == 59


async def test_what_is_forged_or_for_nobody_goes_nowhere() -> None:
    class Asking(Telegram):
        def parse(self, body: bytes) -> Parsed:
            return Parsed(reply=b"who-knows", reply_type="text/plain")

    balanced = Balanced(Asking("4200:token", secret=SECRET, clock=FakeClock()))
    challenged = await balanced.post(update())
    assert (challenged.status, challenged.body) == (200, b"who-knows")
    assert (await request(balanced.asgi, "POST", "/telegram", update())).status == 401
    assert (await Balanced().post(b'{"update_id": 1}')).status == 200
    assert balanced.used == []


async def test_it_knows_which_shards_answer() -> None:
    balanced = Balanced()
    balanced.fleet.answers = {URLS[0]: NotSent("refused"), URLS[1]: HttpResponse(503)}
    assert await balanced.asgi.healthy() == [URLS[2]]
    assert balanced.fleet.got[URLS[2]][0].url == f"{URLS[2]}/healthz"


async def test_a_slow_shard_holds_up_nobody_else() -> None:
    class Slow(Fleet):
        gate = asyncio.Event()

        async def send(self, request: HttpRequest) -> HttpResponse:
            if request.url.startswith(URLS[1]):
                await self.gate.wait()
            return await super().send(request)

    balanced = Balanced()
    balanced.asgi._http = slow = Slow()
    asked = [asyncio.ensure_future(balanced.post(update(n, user=n))) for n in range(1, 60)]
    for _ in range(200):
        await asyncio.sleep(0)
    shards = Shards(URLS)
    for user, one in enumerate(asked, 1):
        here = shards.of(slot_of_key(f"telegram:4200:{user}:{user}:")) == URLS[1]
        assert one.done() is not here
    slow.gate.set()
    assert {(await one).status for one in asked} == {200}


async def test_a_shard_goes_on_with_the_trace_of_the_balancer() -> None:
    balanced = Balanced()
    ours, given = (f"00-{two * 16}-{two * 8}-01" for two in ("ab", "cd"))

    await balanced.post(update(1), traceparent=given)
    token = SCOPE.set(Scope("", ours))
    await balanced.post(update(2), traceparent=given)
    SCOPE.reset(token)

    (shard,) = balanced.used
    got = [request.headers["traceparent"] for request in balanced.fleet.got[shard]]
    assert got == [given, ours]
