"""A Dialog: the async function a user writes, with its name and its policies."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from msgspec import Struct

from legato.errors import Misuse

DialogFunction = Callable[..., Coroutine[Any, Any, Any]]

RESTART = "restart"
HOLD = "hold"


class Dialog(Struct, frozen=True, kw_only=True):
    """A registered dialog.

    Attributes:
        name: What the store knows it by; the function's name unless given.
        fn: `async def fn(chat, ...)`.
        version: Any text, for reports ("" if not declared).
        scope: Which messages belong together: "user_in_chat", "chat", "user" or "thread".
        idle_s: Limit of every wait for a person without a timeout of its own; None = for ever.
        on_change: What happens to a running conversation that the code no longer fits: "restart"
            or "hold".
        on_restart: Given the answers so far ({name: value}) it returns the keyword arguments to
            begin anew with.
        delivery: "at_least_once" or "at_most_once": what an ambiguous send means.
        inject: Makes the values of parameters that are injected, {name: factory}.
    """

    name: str
    fn: DialogFunction
    version: str = ""
    scope: str = "user_in_chat"
    idle_s: float | None = None
    on_change: str = RESTART
    on_restart: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    delivery: str = "at_least_once"
    inject: dict[str, Callable[[], Any]] = {}

    def call(self, chat: object, args: dict[str, Any]) -> Coroutine[Any, Any, Any]:
        """The coroutine of one run.

        Raises:
            Misuse: The arguments do not fit the function.
        """
        injected = {name: make() for name, make in self.inject.items() if name not in args}
        try:
            return self.fn(chat, **args, **injected)
        except TypeError as error:
            raise Misuse(f"dialog {self.name!r} cannot be called like this: {error}") from error


class Dialogs:
    """All dialogs of an App, by name and by function."""

    def __init__(self) -> None:
        self._by_name: dict[str, Dialog] = {}
        self._by_function: dict[Any, Dialog] = {}

    def add(self, dialog: Dialog) -> Dialog:
        """Registers a dialog.

        Raises:
            Misuse: Another function has this name: conversations would resume in the wrong one.
        """
        known = self._by_name.get(dialog.name)
        if known is not None and known.fn is not dialog.fn:
            raise Misuse(
                f"two dialogs are named {dialog.name!r} ({_line(known.fn)}, {_line(dialog.fn)}): "
                "give one of them name=..."
            )
        self._by_name[dialog.name] = dialog
        self._by_function[dialog.fn] = dialog
        return dialog

    def get(self, name: str) -> Dialog | None:
        """The dialog of this name, None if there is none (any more)."""
        return self._by_name.get(name)

    def of(self, target: Callable[..., Any] | str) -> Dialog:
        """The dialog of a function or name.

        Raises:
            Misuse: It is not registered.
        """
        found = (
            self._by_name.get(target) if isinstance(target, str) else self._by_function.get(target)
        )
        if found is None:
            name = target if isinstance(target, str) else getattr(target, "__name__", target)
            raise Misuse(f"{name!r} is no dialog of this app: put @app.dialog() above it")
        return found

    def __iter__(self) -> Iterator[Dialog]:
        return iter(self._by_name.values())


def _line(fn: Any) -> str:
    code = getattr(fn, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(fn)
