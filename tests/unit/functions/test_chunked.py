import pytest

from legato.functions.chunked import LINE_LIMIT, Chunks, Whole

SENT = b"4\r\nWiki\r\n5;name=x\r\npedia\r\n0\r\nX-Why: because\r\n\r\nGET"
WHOLE = Whole(b"Wikipedia", {"x-why": "because"})


class Counted(bytearray):
    """Counts how much of it was looked at."""

    seen = 0

    def find(self, what: object, start: object = 0, *ends: object) -> int:
        found = super().find(what, start, *ends)  # type: ignore[arg-type]
        self.seen += (found if found >= 0 else len(self)) - int(start)  # type: ignore[call-overload]
        return found


def test_chunks_and_what_stands_behind_them() -> None:
    buffer = bytearray(SENT)

    assert Chunks(100).take(buffer) == WHOLE
    assert buffer == b"GET"
    assert Chunks(2).take(bytearray(b"0\r\n\r\n")) == Whole(b"", {})


def test_they_may_come_in_any_pieces() -> None:
    for count in range(len(SENT) - 3):
        buffer, chunks = bytearray(SENT[:count]), Chunks(100)
        assert chunks.take(buffer) is None
        buffer += SENT[count:]
        assert chunks.take(buffer) == WHOLE
    buffer, chunks = bytearray(), Chunks(100)
    for byte in SENT[:-4]:
        buffer.append(byte)
        assert chunks.take(buffer) is None


def test_each_is_looked_at_once_however_many_there_are() -> None:
    """Ten of these chunks came in a read of a hundred bytes; those before were all looked at again."""
    buffer, chunks = Counted(), Chunks(1_000_000)

    for _ in range(1000):
        buffer += b"5\r\n12345\r\n" * 10
        assert chunks.take(buffer) is None
        assert not buffer

    assert buffer.seen <= 10_000


def test_a_trailer_may_be_as_long_as_a_body() -> None:
    """An error with its trace is one."""
    sent = b"0\r\nX-Error: " + b"a" * 50_000 + b"\r\n\r\n"

    found = Chunks(60_000).take(bytearray(sent))

    assert found is not None
    assert len(found.trailers["x-error"]) == 50_000


@pytest.mark.parametrize(
    "sent", [b"x\r\n", b"-1\r\n", b"\r\n", b"1\r\nab\r\n", b"1" * (LINE_LIMIT + 1)]
)
def test_what_is_none_is_refused(sent: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 # int's own words
        Chunks(100).take(bytearray(sent))


@pytest.mark.parametrize(
    "sent",
    [b"32\r\n" + b"x" * 50 + b"\r\n33\r\n", b"0\r\n" + b"a" * 101, b"0\r\n" + b"a: b\r\n" * 20],
)
def test_too_much_is_refused_before_it_has_come(sent: bytes) -> None:
    with pytest.raises(OverflowError):
        Chunks(100).take(bytearray(sent))
