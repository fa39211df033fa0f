"""The pizzeria, played by scripted users, with a kitchen behind a real HTTP server."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from legato.testing.people import Person
from legato.testing.script import Bot

pytestmark = pytest.mark.legato_app("examples/pizza.py")


class Kitchen:
    """The other side of PIZZA_API. It knows an order again by its key."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.orders: dict[str, str] = {}
        self.failures = 0

    def answer(self, path: str, content: dict[str, Any]) -> tuple[int, dict[str, str]]:
        if self.failures:
            self.failures -= 1
            return 503, {}
        self.requests.append((path, content))
        if path == "/orders":
            return 200, {"order": self.orders.setdefault(content["key"], f"#{len(self.orders)}")}
        return 200, {}


@pytest.fixture
def kitchen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kitchen]:
    known = Kitchen()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = json.loads(self.rfile.read(int(self.headers["content-length"])))
            status, answer = known.answer(self.path, content)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("PIZZA_API", f"http://127.0.0.1:{server.server_port}")
        yield known
        server.shutdown()
        thread.join()


async def order(bot: Bot, ann: Person, *pizzas: str) -> None:
    """Up to the question whether to order."""
    await ann.says("/pizza")
    bot.expect("Which pizza?")
    for number, pizza in enumerate(pizzas, 1):
        await ann.presses(pizza)
        bot.expect(f"{number} for")
    await ann.presses("That is all")
    bot.expect("Street and number?")
    await ann.says("Brivibas 1")
    bot.expect("Which floor?")
    await ann.says("3")
    bot.expect("Brivibas 1, floor 3. Is that right?")
    await ann.presses("Yes")


async def test_an_order_is_placed_paid_and_baked(bot: Bot, kitchen: Kitchen) -> None:
    ann = bot.user("Ann")
    await order(bot, ann, "Margherita", "Funghi")
    bot.expect("Margherita, Funghi to Brivibas 1, floor 3, 17 EUR. Order?")
    conversation = (await bot.conversation(ann)).key
    await ann.presses("Yes")
    bot.expect("Order #0: we bake as soon as you have paid.")
    (path, placed), *again = kitchen.requests
    assert path == "/orders"
    assert placed["conversation"] == conversation
    assert placed["pizzas"] == ["Margherita", "Funghi"]
    assert placed["address"] == "Brivibas 1, floor 3"
    assert all(repeated == (path, placed) for repeated in again)

    assert await bot.signal(ann, "paid", {"amount": 17})
    bot.expect("Thank you for 17 EUR. Your pizza is in the oven!")
    bot.expect_nothing()
    assert await bot.conversations() == []


async def test_the_menu_goes_round_without_a_growing_journal(bot: Bot) -> None:
    ann = bot.user("Ann")
    await ann.says("/start")
    bot.expect("Which pizza?")
    for number in range(1, 31):
        await ann.presses("Diavola")
        bot.expect(f"{number} for {number * 10} EUR")
        assert await bot.records(ann) == []


async def test_no_pizza_is_no_order(bot: Bot, kitchen: Kitchen) -> None:
    ann = bot.user("Ann")
    await ann.says("/pizza")
    await ann.says("hawaii")
    await ann.says("that is all")
    bot.expect("Which pizza?")
    bot.expect("")
    bot.expect("No pizza, then.")
    assert kitchen.requests == []


async def test_a_wrong_address_is_asked_for_again_and_a_no_leads_back_to_the_menu(
    bot: Bot, kitchen: Kitchen
) -> None:
    ann = bot.user("Ann")
    await ann.says("/pizza")
    await ann.presses("Funghi")
    await ann.presses("That is all")
    await ann.says("Elizabetes 2")
    await ann.says("first")
    await ann.says("1")
    bot.expect("Which pizza?", "1 for 9", "Street", "Which floor?", "A number, please.")
    bot.expect("Elizabetes 2, floor 1. Is that right?")
    await ann.presses("No")
    bot.expect("Street and number?")
    await ann.says("Elizabetes 3")
    await ann.says("0")
    await ann.presses("Yes")
    bot.expect("Which floor?", "Elizabetes 3, floor 0. Is that right?", "Order?")
    await ann.presses("No")
    bot.expect("1 for 9 EUR. What else?")
    assert kitchen.requests == []


async def test_an_order_nobody_pays_for_is_called_off(bot: Bot, kitchen: Kitchen) -> None:
    ann = bot.user("Ann")
    await order(bot, ann, "Diavola")
    await ann.presses("Yes")
    bot.expect("Order?", "Order #0")
    await bot.advance(minutes=29)
    bot.expect_nothing()
    await bot.advance(minutes=1)
    bot.expect("No payment came")
    assert kitchen.requests[-1] == ("/cancel", {"order": "#0"})
    assert not await bot.runtime.signal("test:bot:101:101:", "paid", {"amount": 10})


async def test_cancel_says_goodbye_and_calls_the_order_off(bot: Bot, kitchen: Kitchen) -> None:
    ann = bot.user("Ann")
    await ann.says("/pizza")
    await ann.says("/cancel")
    bot.expect("Which pizza?", "Goodbye!")
    assert kitchen.requests == []
    await order(bot, ann, "Diavola")
    await ann.presses("Yes")
    await ann.says("/cancel")
    bot.expect("Order?", "Order #0", "Goodbye!")
    bot.expect_nothing()
    assert kitchen.requests[-1] == ("/cancel", {"order": "#0"})
    assert await bot.conversations() == []


async def test_a_kitchen_that_is_down_is_asked_again(bot: Bot, kitchen: Kitchen) -> None:
    kitchen.failures = 2
    ann = bot.user("Ann")
    await order(bot, ann, "Diavola")
    await ann.presses("Yes")
    bot.expect("Order?", "Order #0")


async def test_without_a_kitchen_orders_are_pretended(
    bot: Bot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIZZA_API", raising=False)
    ann = bot.user("Ann")
    await order(bot, ann, "Diavola")
    await ann.presses("Yes")
    bot.expect("Order?", "Order P1")


async def test_an_hour_of_silence_ends_it(bot: Bot) -> None:
    ann = bot.user("Ann")
    await ann.says("/pizza")
    await bot.advance(hours=1)
    bot.expect("Which pizza?")
    bot.expect_nothing()
    assert await bot.conversations() == []
