"""One conversation as text."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from legato.app.operate import Shown
from legato.cli.common import moment, printed
from legato.model.events import AnyEvent, ButtonPressed, MessageReceived, Signal
from legato.model.records import OutboxItem, Record, Wait


def as_text(shown: Shown) -> str:
    """All that is known of it, for a person."""
    return "\n".join(_lines(shown))


def _lines(shown: Shown) -> Iterator[str]:
    row = shown.conversation
    version = f" (version {printed(row.version)})" if row.version else ""
    yield f"key      {printed(row.key)}"
    yield f"dialog   {printed(row.dialog)}{version}"
    yield f"status   {row.status} since {moment(row.updated_ms)}, epoch {row.epoch}, head {row.head}"
    yield f"began    {moment(shown.birth.at_ms)} with {_event(shown.birth.event)}"
    if shown.state.build:
        yield f"build    {shown.state.build} wrote it last"
    if row.wake_ms:
        yield f"wakes    {moment(row.wake_ms)}"
    for wait in shown.state.waits:
        yield f"waits    {_wait(wait)}"
    yield f"journal  {len(shown.records)} records"
    for record in shown.records:
        yield f"  {_record(record)}"
    if shown.mail:
        yield f"mail     {len(shown.mail)} waiting"
        for event in shown.mail:
            yield f"  {_event(event)}"
    if shown.outbox:
        yield f"outbox   {len(shown.outbox)} not delivered"
        for item in shown.outbox:
            yield f"  {_item(item)}"
    if shown.state.error:
        yield "error"
        for line in shown.state.error.rstrip("\n").split("\n"):
            yield f"  {printed(line)}"


def _wait(wait: Wait) -> str:
    text = f"{wait.path} {wait.kind} {printed(wait.name)}"
    if wait.signal:
        text += f" signal {printed(wait.signal)!r}"
    if wait.deadline_ms:
        text += f" until {moment(wait.deadline_ms)}"
    if wait.attempts:
        text += f", {wait.attempts} answers did not parse"
    return text


def _record(record: Record) -> str:
    head = f"{record.path} {record.kind} {printed(record.name)}"
    if record.error is not None:
        name, args = record.error
        return f"{head} ! {printed(name)} {_value(args)}  {moment(record.at_ms)}"
    return f"{head} = {_value(record.value)}  {moment(record.at_ms)}"


def _event(event: AnyEvent) -> str:
    who = f" of {printed(event.user.name)}" if event.user is not None else ""
    if isinstance(event, MessageReceived):
        return f"message {printed(event.text)!r}{who}"
    if isinstance(event, ButtonPressed):
        return f"button {printed(event.data)!r}{who}"
    if isinstance(event, Signal):
        return f"signal {printed(event.name)!r} {_value(event.value)}"
    return f"{type(event).__name__}{who}"


def _item(item: OutboxItem) -> str:
    error = f": {printed(item.error)}" if item.error else ""
    text = item.call.params.get("text")
    said = f" {printed(text)!r}" if isinstance(text, str) else ""
    return f"{item.id} {item.state} {item.call.method}{said}, {item.attempts} tries{error}"


def _value(value: object) -> str:
    text = printed(msgspec.json.encode(value).decode("utf-8", "replace"))
    return text if len(text) <= 200 else text[:199] + "…"
