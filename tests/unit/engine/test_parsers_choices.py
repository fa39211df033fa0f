"""Answers to choose from: what is offered, and what a press or a typed text means."""

import enum
import re
from typing import Any, Literal

import pytest

from legato.engine.parsers import Email, parser_for
from legato.model.events import Address, ButtonPressed, MessageReceived, Photo

PLACE = Address("web", "bot", "1", "1")


class Size(enum.Enum):
    SMALL = 1
    VERY_LARGE = 2
    TINY = SMALL


class Colour(enum.StrEnum):
    RED = "Red wine"
    BLUE = "Blue"


def said(text: str, **more: Any) -> MessageReceived:
    return MessageReceived(id="web:bot:1", place=PLACE, text=text, **more)


def pressed(data: str) -> ButtonPressed:
    return ButtonPressed(id="web:bot:2", place=PLACE, data=data)


def read(kind: Any, text: str, **bounds: Any) -> Any:
    return parser_for(kind, **bounds).read(said(text))


def refused(kind: Any, text: str, **bounds: Any) -> str:
    with pytest.raises(ValueError, match=r"^[A-Z].*\.$") as caught:
        read(kind, text, **bounds)
    return str(caught.value)


def test_choices_are_offered_in_order() -> None:
    assert parser_for(bool).choices == (("Yes", "yes"), ("No", "no"))
    assert parser_for(Size).choices == (("Small", "SMALL"), ("Very large", "VERY_LARGE"))
    assert parser_for(Colour).choices == (("Red wine", "RED"), ("Blue", "BLUE"))
    assert parser_for(["b", "a"]).choices == (("b", "b"), ("a", "a"))
    assert parser_for(Literal["x", 1]).choices == (("x", "x"), ("1", "1"))
    for kind in (int, str, list[Size], Photo, None, re.compile("a"), Email, str.upper):
        assert not parser_for(kind).choices


@pytest.mark.parametrize("kind", [bool, Size, Colour, ["b", "a"], Literal["x", 1], [Size.SMALL]])
def test_each_offered_payload_is_read_back(kind: Any) -> None:
    parser = parser_for(kind)
    values = [parser.read(pressed(payload)) for _, payload in parser.choices]
    typed = [parser.read(said(label)) for label, _ in parser.choices]

    assert typed == values
    assert len(set(map(repr, values))) == len(parser.choices)


def test_a_chosen_text_is_a_plain_one() -> None:
    class Label(str):
        __slots__ = ()

    assert type(read([Label("tea")], "TEA")) is str


def test_a_button_means_its_payload_where_a_label_says_otherwise() -> None:
    class Crossed(enum.Enum):
        LEFT = "RIGHT"
        RIGHT = "LEFT"

    assert parser_for(Crossed).read(pressed("LEFT")) is Crossed.LEFT
    assert parser_for(Crossed).read(said("LEFT")) is Crossed.RIGHT


def test_the_reason_names_the_choices() -> None:
    assert refused(Size, "x") == "Please choose one of: Small, Very large."
    many = [f"answer {letter}" for letter in "abcdefghijklmnop"]
    assert refused(many, "x").endswith("answer k, answer l, ....")
