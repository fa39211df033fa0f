"""Letters in messages of SQS: whatever they say, it takes them, and gives them back."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legato.abc.queue import Letter
from legato.queues.sqs.letters import Wake, letter_text, read, wake_text

TAKEN = re.compile("[\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]+")
"""What SQS takes: the characters of XML 1.0."""
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(texts, texts, texts, st.integers(0, 1023), st.integers(0, 2**53))
def test_an_event_comes_out_as_it_went_in(
    name: str, text: str, trace: str, slot: int, at_ms: int
) -> None:
    body = json.dumps({"text": text}, ensure_ascii=False).encode()
    sent = letter_text(Letter(name, slot, body, at_ms=at_ms, trace=trace))
    assert TAKEN.fullmatch(sent)
    found = read(sent)
    assert isinstance(found, Letter)
    assert (found.id, found.slot, found.kind) == (name, slot, "event")
    assert (found.at_ms, found.trace) == (at_ms, trace)
    assert json.loads(found.body) == {"text": text}


@given(st.binary())
def test_what_could_not_be_read_comes_out_byte_by_byte(body: bytes) -> None:
    letter = Letter("dead", 3, body, "dead", 5)
    assert read(letter_text(letter)) == letter
    assert TAKEN.fullmatch(letter_text(letter))


@given(texts, st.integers(0, 2**53))
def test_so_do_wakes(key: str, at_ms: int) -> None:
    assert read(wake_text(Wake(key, at_ms))) == Wake(key, at_ms)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "\ud800",
        "[1]",
        "{}",
        '{"legato": "tick"}',
        '{"legato": "wake"}',
        '{"legato": "letter", "id": "x"}',
        '{"legato": "letter", "event": {}}',
        '{"legato": "letter", "id": "x", "kind": "end", "raw": ""}',
        '{"legato": "letter", "id": "x", "kind": "dead", "event": {}}',
        '{"legato": "letter", "id": "x", "kind": "dead", "raw": "?"}',
        '{"legato": "letter", "id": 1, "event": {}}',
    ],
)
def test_anything_else_is_neither(text: str) -> None:
    assert read(text) is None
