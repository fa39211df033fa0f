"""Takes orders for pizza: a menu that goes round, an address, a kitchen, a payment.

    legato run examples/pizza.py

The kitchen is an HTTP API at the address PIZZA_API; without one, orders are only pretended. It is
told the conversation's id. When the money has come in, be it hours later, its webhook tells the
dialog, which goes on where it waits:

    await app.signal(conversation, "paid", {"amount": 17}, id="order 7")      # in the same process
    legato dialogs signal --bot examples/pizza.py CONVERSATION paid '{"amount": 17}'     # outside
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from urllib.request import Request, urlopen

from legato import App, Cancelled, Chat, Timeout, idempotency_key, step

app = App("pizza", idle=timedelta(hours=1))

PRICES = {"Margherita": 8, "Funghi": 9, "Diavola": 10}
ENOUGH = "That is all"


@app.command("start", "pizza", help="Order pizza")
async def menu(chat: Chat, cart: tuple[str, ...] = ()) -> None:
    question = f"{len(cart)} for {price(cart)} EUR. What else?" if cart else "Which pizza?"
    choice = await chat.choose(question, [*PRICES, ENOUGH])
    if choice != ENOUGH:
        await chat.goto(menu, cart=(*cart, choice))  # round and round: nothing piles up
    if cart:
        await chat.goto(checkout, cart=cart)
    await chat.say("No pizza, then. /pizza when you are hungry.")


@app.dialog()
async def checkout(chat: Chat, cart: tuple[str, ...]) -> None:
    address = await ask_address(chat)  # a sub-dialog is a function that is called
    if not await chat.confirm(f"{', '.join(cart)} to {address}, {price(cart)} EUR. Order?"):
        await chat.goto(menu, cart=cart)
    order = await place_order(chat.id, cart, address)
    await chat.say(f"Order {order}: we bake as soon as you have paid.")
    try:
        payment = await chat.wait_for("paid", Payment, timeout=timedelta(minutes=30))
    except Timeout:
        await call_off(order)
        await chat.say("No payment came, so we called it off. /pizza to begin again.")
    except Cancelled:  # the customer wrote /cancel
        await call_off(order)
        raise
    else:
        await chat.say(f"Thank you for {payment.amount} EUR. Your pizza is in the oven!")


async def ask_address(chat: Chat) -> str:
    while True:
        street = await chat.ask("Street and number?", min=3)
        floor = await chat.ask("Which floor?", int, min=0, max=200, retry="A number, please.")
        if await chat.confirm(f"{street}, floor {floor}. Is that right?"):
            return f"{street}, floor {floor}"


@app.command("cancel", cancels=True, help="Call it off")
async def cancel(chat: Chat) -> None:
    await chat.say("Goodbye! The oven stays warm for you.")


# -- the outside world: steps run once, and a replay takes their results from the journal ----------


@dataclass
class Payment:
    """What the signal "paid" carries."""

    amount: int


@step(retries=3)
def place_order(conversation: str, cart: tuple[str, ...], address: str) -> str:
    # After a crash in its middle a step runs again: the key tells the kitchen that it knows.
    key = idempotency_key()
    order = {"conversation": conversation, "pizzas": cart, "address": address, "key": key}
    return kitchen("/orders", order).get("order", "P1")


@step(retries=3)
def call_off(order: str) -> None:
    kitchen("/cancel", {"order": order})


def kitchen(path: str, content: Mapping[str, object]) -> dict[str, str]:
    api = os.environ.get("PIZZA_API")
    if not api:
        return {}
    body = json.dumps(content).encode()
    request = Request(api + path, body, {"content-type": "application/json"})
    with urlopen(request, timeout=10) as answer:
        found: dict[str, str] = json.load(answer)
        return found


def price(cart: tuple[str, ...]) -> int:
    return sum(PRICES[pizza] for pizza in cart)
