import pytest

from legato.errors import StoreCorrupt
from legato.model.events import Address
from legato.model.records import Call
from legato.stores._codec import pack, unpack_call, unpack_place


@pytest.mark.parametrize("text", ["plain", "\0", "\ud800 alone", "\U0001f600 \udc00", ""])
def test_calls_and_places_come_back_whatever_their_text(text: str) -> None:
    call = Call("sendMessage", {"text": text, "rows": [[{"n": 1, "x": None}]]}, target=text)
    assert unpack_call(pack(call)) == call
    place = Address(text, "7", "1", user=text)
    assert unpack_place(pack(place)) == place


def test_a_call_that_has_no_json_is_refused() -> None:
    with pytest.raises(TypeError):
        pack(Call("send", {"x": object()}))


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[]", b'{"method": 1}', b'"\\ud800"'])
def test_what_is_no_call_is_reported_as_damage(data: bytes) -> None:
    with pytest.raises(StoreCorrupt, match="stored Call cannot be read"):
        unpack_call(data)
    with pytest.raises(StoreCorrupt, match="stored Address cannot be read"):
        unpack_place(data)
