"""Exceptions in the journal: the same class live and in replay, and nothing that cannot be kept."""

import asyncio
import sqlite3
import traceback
from typing import Any

import pytest

from legato import errors
from legato.errors import NotStorable, StepError
from legato.model.values import decode, decode_error, encode, encode_error, register
from legato.model.values._errors import _BUILTIN, _LEGATO


@register
class OutOfStock(errors.LegatoError):
    """Takes other arguments than it passes on, as is usual."""

    def __init__(self, item: str, *, left: int = 0) -> None:
        self.item = item
        self.left = left
        super().__init__(f"{item}: only {left} left")


@register
class NetworkDown(ConnectionError):
    pass


class Unknown(ValueError):
    pass


def _again(exc: BaseException) -> BaseException:
    name, args = encode_error(exc)
    stored: Any = decode(encode([name, args]))
    return decode_error((stored[0], stored[1]))


@pytest.mark.parametrize(
    "exc",
    [
        errors.Timeout(),
        errors.Timeout("30 s"),
        errors.TooManyAttempts(3),
        errors.UserGone("blocked"),
        errors.StepError("Error", "locked"),
        errors.StepInterrupted("charge"),
        errors.Unsupported("photo"),
        errors.Cancelled("operator"),
        ValueError(),
        ValueError("no", 7, (1, b"x")),
        KeyError("k"),
        KeyError(("a", 1)),
        OSError(),
        OSError(28, "No space left"),
        FileNotFoundError(2, "No such file", "x.txt"),
        PermissionError(13, "Denied", "a", None, "b"),
        TimeoutError("late"),
        ConnectionResetError(104, "reset"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad start"),
        ZeroDivisionError("division by zero"),
        Exception("plain"),
        RuntimeError("\ud800\0"),
    ],
    ids=lambda exc: f"{exc!r:.60}".encode("ascii", "backslashreplace").decode(),
)
def test_a_known_exception_comes_back_as_itself(exc: BaseException) -> None:
    again = _again(exc)

    assert type(again) is type(exc)
    assert (again.args, str(again), vars(again)) == (exc.args, str(exc), vars(exc))


def test_every_class_of_the_closed_lists_comes_back() -> None:
    classes: tuple[Any, ...] = _LEGATO + _BUILTIN
    for cls in classes:
        if not issubclass(cls, UnicodeError):
            assert type(_again(cls("x"))) is cls
    assert {cls.__name__ for cls in _LEGATO} >= {
        cls.__name__
        for cls in errors.DialogError.__subclasses__()
        if cls.__module__[:6] == "legato"
    }


def test_a_registered_class_keeps_its_attributes() -> None:
    exc = OutOfStock("tea", left=2)
    exc.add_note("asked twice")
    again = _again(exc)

    assert isinstance(again, OutOfStock)
    assert (again.item, again.left, str(again)) == ("tea", 2, "tea: only 2 left")
    assert again.__notes__ == ["asked twice"]


def test_a_registered_subclass_of_an_os_error_keeps_its_number() -> None:
    again = _again(NetworkDown(111, "refused", "db.sock"))

    assert isinstance(again, NetworkDown)
    assert (again.errno, again.strerror, again.filename) == (111, "refused", "db.sock")


@pytest.mark.parametrize(
    ("exc", "name", "text"),
    [
        (Unknown("bad"), "Unknown", "bad"),
        (sqlite3.OperationalError("locked"), "OperationalError", "locked"),
        (asyncio.CancelledError(), "CancelledError", ""),
        (StopIteration(3), "StopIteration", "3"),
        (ExceptionGroup("both", [ValueError(1)]), "ExceptionGroup", "both (1 sub-exception)"),
        (errors.Misuse("chat.say in a step"), "Misuse", "chat.say in a step"),
        (SystemExit(2), "SystemExit", "2"),
    ],
)
def test_what_is_not_registered_becomes_a_step_error(
    exc: BaseException, name: str, text: str
) -> None:
    again = _again(exc)

    assert isinstance(again, StepError)
    assert (again.type_name, again.text) == (name, text)


def test_arguments_that_cannot_be_stored_become_their_text() -> None:
    class Response:
        def __str__(self) -> str:
            return "<503>"

    loop: list[object] = []
    loop.append(loop)
    assert encode_error(ValueError(Response(), 1)) == ("ValueError", ["<503>", 1])
    assert encode_error(KeyError(loop)) == ("KeyError", ["[[...]]"])
    exc = OutOfStock("tea")
    exc.left = Response()  # type: ignore[assignment]
    assert vars(_again(exc)) == {"item": "tea", "left": "<503>"}


def test_an_exception_whose_str_fails_is_still_kept() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise ZeroDivisionError

    class Text(str):
        __slots__ = ()

    class Odd(Exception):
        def __str__(self) -> str:
            return Text("odd")

    assert encode_error(Broken()) == ("StepError", ["Broken", "<Broken whose str() fails>"])
    assert encode_error(ValueError(Broken())) == ("ValueError", ["<Broken whose str() fails>"])
    assert encode_error(Odd()) == ("StepError", ["Odd", "odd"])


def test_long_texts_are_cut() -> None:
    name, args = encode_error(ValueError("x" * 2_000_000))
    assert name == "ValueError"
    assert args == ["x" * 9_999 + "…"]
    assert encode_error(Unknown("y" * 20_000))[1][1] == "y" * 9_999 + "…"
    assert encode_error(ValueError("short"))[1] == ["short"]


def test_what_its_arguments_cannot_make_again_becomes_a_step_error() -> None:
    exc = UnicodeDecodeError("utf-8", b"\xff" * 200_000, 0, 1, "bad start")

    again = _again(exc)
    assert isinstance(again, StepError)
    assert again.type_name == "UnicodeDecodeError"


def test_no_traceback_cause_or_context_is_kept() -> None:
    try:
        try:
            raise KeyError("inner")
        except KeyError as inner:
            raise ValueError("outer") from inner
    except ValueError as outer:
        again = _again(outer)

    assert (again.__traceback__, again.__cause__, again.__context__) == (None, None, None)
    assert traceback.format_exception_only(again) == ["ValueError: outer\n"]


def test_every_decoding_gives_a_new_exception() -> None:
    pair = encode_error(ValueError([1]))
    first, second = decode_error(pair), decode_error(pair)

    assert first is not second
    assert first.args[0] is not second.args[0]


@pytest.mark.parametrize(
    "pair",
    [
        ("Unheard", []),
        ("eval", ["1"]),
        ("SystemExit", [1]),
        ("KeyboardInterrupt", []),
        ("os:system", ["true"]),
        ("tests.unit.model.test_values_errors:Unknown", []),
        ("tests.unit.model.codec_values:Sku", ["x"]),
        ("UnicodeDecodeError", ["x"]),
        ("StepError", ["a", "b", "c"]),
        ("ValueError", [{"$": "pickle"}]),
        ("ValueError", [{"$": "state", "v": {"a": 1}}]),
        ("tests.unit.model.test_values_errors:OutOfStock", [{"$": "state"}, 1]),
        ("tests.unit.model.test_values_errors:OutOfStock", [{"$": "state", "v": [1]}]),
        ("tests.unit.model.test_values_errors:OutOfStock", [{"$": "state", "v": "abc"}]),
        ("ValueError", 7),
        (7, []),
        ("ValueError",),
        None,
        [[], []],
    ],
)
def test_a_damaged_row_is_told_as_such(pair: Any) -> None:
    with pytest.raises(NotStorable):
        decode_error(pair)


def test_a_class_that_is_no_longer_registered_is_told_with_the_cure() -> None:
    with pytest.raises(
        NotStorable, match=r"'shop:Gone'.*not registered.*@register\(name='shop:Gone'"
    ):
        decode_error(("shop:Gone", []))
