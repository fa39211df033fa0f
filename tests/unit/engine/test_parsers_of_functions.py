"""Functions as kinds of `ask`, and kinds that are none: told at the line of the ask."""

import asyncio
import dataclasses
import decimal
import enum
import functools
import itertools
import re
import typing
from fractions import Fraction
from typing import Any, Literal
from uuid import UUID

import msgspec
import pytest

from legato.engine.parsers import parser_for
from legato.errors import Misuse
from legato.model.events import Address, ButtonPressed, MemberJoined, MessageReceived, Photo


def said(text: str) -> MessageReceived:
    return MessageReceived(id="web:bot:1", place=Address("web", "bot", "1", "1"), text=text)


def even(text: str) -> int:
    number = int(text)
    if number % 2:
        raise ValueError("An even number, please.")
    return number


class Code:
    def __init__(self, text: str) -> None:
        if len(text) != 3:
            raise ValueError("Three letters.")
        self.text = text

    def method(self, text: str) -> str:
        return self.text + text

    def __call__(self, text: str) -> str:
        return text[::-1]


def test_a_function_reads_the_stripped_text() -> None:
    assert parser_for(even).read(said(" 12 ")) == 12
    assert parser_for(Code).read(said("abc")).text == "abc"
    assert parser_for(Code("abc").method).read(said("d")) == "abcd"
    assert parser_for(Code("abc")).read(said("xy")) == "yx"
    assert parser_for(Code("abc")).name == "Code"
    assert parser_for(functools.partial(int, base=16)).read(said("ff")) == 255
    assert parser_for(functools.partial(int, base=16)).name == "int"
    assert parser_for(UUID).read(said("0" * 32)) == UUID(int=0)
    assert parser_for(Fraction).read(said("1/3")) == Fraction(1, 3)


def test_its_value_error_is_the_reason() -> None:
    with pytest.raises(ValueError, match=r"^An even number, please\.$"):
        parser_for(even).read(said("3"))
    with pytest.raises(ValueError, match=r"^Three letters\.$"):
        parser_for(Code).read(said("ab"))


def fails_with(error: BaseException) -> Any:
    def function(text: str) -> None:
        raise error

    return function


@pytest.mark.parametrize("error", [ValueError(), TypeError("NoneType"), decimal.InvalidOperation()])
def test_what_says_nothing_to_a_person_is_not_shown(error: Exception) -> None:
    with pytest.raises(ValueError, match=r"^That answer does not fit\. Please try again\.$"):
        parser_for(fails_with(error)).read(said("x"))


@pytest.mark.parametrize("error", [KeyError("x"), RuntimeError(), ZeroDivisionError()])
def test_any_other_exception_is_a_bug_and_no_bad_answer(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        parser_for(fails_with(error)).read(said("x"))
    assert caught.value is error


class NoText:
    def __init__(self) -> None: ...

    def method(self, text: str, more: str) -> None: ...


@pytest.mark.parametrize("function", [lambda: 1, NoText, NoText().method])
def test_a_function_that_cannot_be_called_is_told_and_not_asked_again(function: Any) -> None:
    with pytest.raises(Misuse, match=r"must take one argument, the text"):
        parser_for(function).read(said("x"))


# -- what is no kind ---------------------------------------------------------------------------


@dataclasses.dataclass
class Record:
    name: str


class Form(msgspec.Struct):
    name: str


class Nothing(enum.Enum):
    pass


@pytest.mark.parametrize(
    "kind",
    [
        dict,
        bytes,
        object,
        type,
        set,
        complex,
        {"a": 1},
        {"a", "b"},
        "text",
        7,
        ...,
        dict[str, int],
        tuple[int, ...],
        int | None,
        typing.Any,
        typing.Optional[int],  # noqa: UP045 # the old way to write it
        typing.TypeVar("T"),
        Record,
        Form,
    ],
    ids=map(str, itertools.count()),
)
def test_what_no_answer_can_be_read_as_is_told_with_what_can(kind: Any) -> None:
    with pytest.raises(Misuse, match=r"ask\(\.\.\., .*It can be str, int, float, .*a function"):
        parser_for(kind)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (ButtonPressed, r"chat\.receive\(kinds=ButtonPressed\)"),
        (MemberJoined, r"chat\.receive"),
        (asyncio.sleep, r"no async function.*await chat\.run\(sleep, answer\)"),
        (re.compile(b"a"), "pattern of text"),
        ([], "nothing to choose"),
        ((), "nothing to choose"),
        (Nothing, "nothing to choose"),
        (["a", "b", "a"], "'a' is offered twice"),
        ([1, "1"], "'1' is offered twice"),
        (["a", " "], "no answer that a person can give"),
        ([b"a"], "no answer that a person can give"),
        (Literal[b"a"], "no answer that a person can give"),
        (list[list[int]], "single text"),
        (list[Photo], "single text"),
        (list[dict], "no answer can be read so"),
    ],
    ids=map(str, itertools.count()),
)
def test_other_mistakes_are_told_with_their_cure(kind: Any, says: str) -> None:
    with pytest.raises(Misuse, match=says):
        parser_for(kind)
