"""Bodies of a length that was not known beforehand: HTTP's chunks, with the trailers behind them (RFC 9112, 7.1)."""

from __future__ import annotations

from msgspec import Struct

LINE_LIMIT = 8192
"""Bytes of the line before a chunk."""


class Whole(Struct, frozen=True):
    """A body that has come as a whole.

    Attributes:
        body: What was in the chunks.
        trailers: Fields behind it, by their names in lower case.
    """

    body: bytes
    trailers: dict[str, str]


class Chunks:
    """Reads one body as it comes, each byte once: one of a hundred thousand chunks must keep nobody else waiting.

    Args:
        limit: Bytes that the body may have, and that its trailers may: one holds all of an error.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._body = bytearray()
        self._trailers: dict[str, str] = {}
        self._behind = 0  # bytes of trailers
        self._ended = False

    def take(self, buffer: bytearray) -> Whole | None:
        """Takes from the buffer what belongs to the body; None: it has not come as a whole.

        Raises:
            ValueError: These are no chunks.
            OverflowError: They, or the trailers, hold more than `limit` bytes.
        """
        at = 0
        while not self._ended:
            after = self._chunk(buffer, at)
            if after < 0:
                break
            at = after
        done = False
        while self._ended and not done:
            line, after = _line(buffer, at, self._limit - self._behind)
            if line is None:
                break
            self._behind += after - at
            at, done = after, not line
            if line:
                name, _, value = line.decode("latin-1").partition(":")
                self._trailers[name.strip().lower()] = value.strip()
        del buffer[:at]
        return Whole(bytes(self._body), self._trailers) if done else None

    def _chunk(self, buffer: bytearray, start: int) -> int:
        """Where the next one begins, -1 if this has not come."""
        line, at = _line(buffer, start, LINE_LIMIT, ValueError)
        if line is None:
            return -1
        length = int(line.partition(b";")[0].strip(), 16)
        if length < 0:
            raise ValueError("a chunk of less than nothing")
        if length == 0:
            self._ended = True
            return at
        if len(self._body) + length > self._limit:
            raise OverflowError
        if len(buffer) < at + length + 2:
            return -1
        if buffer[at + length : at + length + 2] != b"\r\n":
            raise ValueError("a chunk does not end where it should")
        self._body += buffer[at : at + length]
        return at + length + 2


def _line(
    buffer: bytearray, at: int, most: int, error: type[Exception] = OverflowError
) -> tuple[bytes | None, int]:
    """The line at a place and where the next begins; None: its end has not come."""
    end = buffer.find(b"\r\n", at)
    if (end if end >= 0 else len(buffer)) - at > most:
        raise error("a line without an end")
    return (None, at) if end < 0 else (bytes(buffer[at:end]), end + 2)


__all__ = ["Chunks", "Whole"]
