import pytest

from legato.functions.chunked import LINE_LIMIT, Whole, dechunked

SENT = b"4\r\nWiki\r\n5;name=x\r\npedia\r\n0\r\nX-Why: because\r\n\r\nGET"


def test_chunks_and_what_stands_behind_them() -> None:
    found = dechunked(bytearray(b"head" + SENT), 4, 100)

    assert found == Whole(b"Wikipedia", {"x-why": "because"}, 4 + len(SENT) - 3)
    assert dechunked(bytearray(b"0\r\n\r\n"), 0, 0) == Whole(b"", {}, 5)


def test_they_may_come_in_any_pieces() -> None:
    for count in range(len(SENT) - 3):
        assert dechunked(bytearray(SENT[:count]), 0, 100) is None


@pytest.mark.parametrize(
    "sent",
    [b"x\r\n", b"-1\r\n", b"\r\n", b"1\r\nab\r\n", b"1" * (LINE_LIMIT + 1), b"0\r\n" + b"a" * 9000],
)
def test_what_is_none_is_refused(sent: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 # int's own words
        dechunked(bytearray(sent), 0, 100)


def test_too_much_is_refused_before_it_has_come() -> None:
    with pytest.raises(OverflowError):
        dechunked(bytearray(b"32\r\n" + b"x" * 50 + b"\r\n33\r\n"), 0, 100)
