"""`legato dialogs`: an operator's view of the conversations, and a hand on them."""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from legato.abc import Store
from legato.app import operate
from legato.cli.common import moment, opened, printed
from legato.cli.show import as_text
from legato.errors import LegatoError

TAKEN_WITHIN_S = 2.0
"""How long a running bot is given to apply what was asked: it looks five times a second."""


def dialogs(options: argparse.Namespace) -> int:
    """Carries out one action; returns 0, or 1 if it could not be done."""
    actions: dict[str, Callable[[Store, argparse.Namespace], Awaitable[int]]] = {
        "ls": _ls,
        "show": _show,
        "retry": _retry,
        "cancel": _cancel,
        "signal": _signal,
    }

    async def act() -> int:
        async with opened(options, options.bot or "") as store:
            return await actions[options.action](store, options)

    try:
        return asyncio.run(act())
    except operate.Refused as error:
        return _refused(options, error)


def _refused(options: argparse.Namespace, error: LegatoError) -> int:
    if options.json:
        _print_json({"error": str(error)})
    else:
        sys.stderr.write(f"legato: {printed(str(error))}\n")
    return 1


def _print_json(value: object) -> None:
    """One line of JSON; whatever text a person wrote comes out as ASCII."""
    print(json.dumps(value, allow_nan=False, default=str))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


# -- looking ---------------------------------------------------------------------------------------


async def _ls(store: Store, options: argparse.Namespace) -> int:
    if options.outbox:
        return await _ls_outbox(store, options)
    count = 0
    found = operate.conversations(store, status=options.status or "", dialog=options.dialog or "")
    async for row in found:
        if count == options.limit:
            sys.stderr.write(f"legato: the first {count}; see more with --limit\n")
            break
        count += 1
        if options.json:
            about = {f: getattr(row, f) for f in row.__struct_fields__ if f != "state"}
            _print_json(about)
        else:
            wakes = f"  wakes {moment(row.wake_ms)}" if row.wake_ms else ""
            version = f" {row.version}" if row.version else ""
            print(
                f"{row.status:8}{moment(row.updated_ms)}  {printed(row.key)}  "
                f"{row.dialog}{version}{wakes}"
            )
    if not count and not options.json:
        print("no conversations")
    return 0


async def _ls_outbox(store: Store, options: argparse.Namespace) -> int:
    count = 0
    async for item in operate.deliveries(store):
        if count == options.limit:
            sys.stderr.write(f"legato: the first {count}; see more with --limit\n")
            break
        count += 1
        if options.json:
            _print_json(msgspec.to_builtins(item))
        else:
            print(
                f"{item.id:8} {item.state:8}{moment(item.created_ms)}  {printed(item.lane)}  "
                f"{item.call.method}  {printed(item.error)}"
            )
    if not count and not options.json:
        print("no dead or unknown deliveries")
    return 0


async def _show(store: Store, options: argparse.Namespace) -> int:
    found = await operate.show(store, options.key)
    if options.json:
        plain: Any = msgspec.to_builtins(found)
        del plain["conversation"]["state"]  # it stands decoded beside it
        _print_json(plain)
    else:
        print(as_text(found))
    return 0


# -- steering --------------------------------------------------------------------------------------


async def _retry(store: Store, options: argparse.Namespace) -> int:
    if not options.key and not options.delivery:
        raise operate.Refused("name conversations, or deliveries with --delivery ID")
    done: list[str] = []
    failed = 0
    for key in options.key:
        try:
            going = await operate.retry(store, key, _now_ms())
        except operate.Refused as error:
            failed += _refused(options, error)
        else:
            done.append(going)
            _tell(options, f"{going} goes on at the bot's next tick", {"retried": going})
    queued = await operate.redeliver(store, options.delivery)
    for item_id in queued:
        _tell(options, f"delivery {item_id} is queued again", {"queued": item_id})
    for item_id in sorted(set(options.delivery) - set(queued)):
        failed += _refused(
            options, operate.Refused(f"delivery {item_id} is neither dead nor unknown")
        )
    return 1 if failed else 0


async def _cancel(store: Store, options: argparse.Namespace) -> int:
    failed = 0
    for key in options.key:
        try:
            event_id = await operate.cancel(store, key, _now_ms(), _unique())
        except operate.Refused as error:
            failed += _refused(options, error)
            continue
        if not event_id or await _taken(store, key, event_id):
            _tell(options, f"{key} is cancelled", {"cancelled": key, "taken": True})
        else:
            later = f"{key} is cancelled as soon as the bot runs (or is done with a slow step)"
            _tell(options, later, {"cancelled": key, "taken": False})
    return 1 if failed else 0


async def _signal(store: Store, options: argparse.Namespace) -> int:
    key, name = options.key, options.name
    event_id = await operate.signal(
        store,
        key,
        name,
        _value(options.value),
        now_ms=_now_ms(),
        unique=options.id or _unique(),
    )
    taken = await _taken(store, key, event_id)
    text = "was taken" if taken else "waits for the bot, or for the dialog to ask for it"
    _tell(options, f"signal {name!r} {text}", {"signal": name, "key": key, "taken": taken})
    return 0


async def _taken(store: Store, key: str, event_id: str) -> bool:
    """Whether a running bot applies an event soon. Wakes it again if a Turn that was on its way has
    put its own time in place of ours.
    """
    give_up = time.monotonic() + TAKEN_WITHIN_S
    while True:
        if await operate.taken(store, event_id):
            return True
        if time.monotonic() > give_up:
            return False
        await operate.wake(store, key, _now_ms())
        await asyncio.sleep(0.1)


def _value(text: str | None) -> Any:
    """JSON if it is JSON, else the text itself.

    Raises:
        Refused: It begins like JSON and is none: a dialog would drop it, long after the typing error.
    """
    if text is None:
        return None
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        if text.startswith(("{", "[", '"')):
            raise operate.Refused(
                f"the value {text} is no JSON ({error}): mend it, or put the whole of it in "
                'single quotes; a plain text may not begin with {, [ or "'
            ) from None
        return text


def _tell(options: argparse.Namespace, text: str, facts: dict[str, object]) -> None:
    if options.json:
        _print_json(facts)
    else:
        print(printed(text))


def _unique() -> str:
    return f"{_now_ms()}-{secrets.token_hex(8)}"
