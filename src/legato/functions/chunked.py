"""Bodies of a length that was not known beforehand: HTTP's chunks, with the trailers behind them (RFC 9112, 7.1)."""

from __future__ import annotations

from msgspec import Struct

LINE_LIMIT = 8192
"""Bytes of the line before a chunk, or of a trailer."""


class Whole(Struct, frozen=True):
    """A body that has come as a whole.

    Attributes:
        body: What was in the chunks.
        trailers: Fields behind it, by their names in lower case.
        end: Where what comes next begins.
    """

    body: bytes
    trailers: dict[str, str]
    end: int


def dechunked(buffer: bytearray, start: int, limit: int) -> Whole | None:
    """The body that begins at `start`; None: it has not come as a whole.

    Raises:
        ValueError: These are no chunks.
        OverflowError: They hold more than `limit` bytes.
    """
    pieces: list[slice] = []
    size, at = 0, start
    while True:
        line, at = _line(buffer, at)
        if line is None:
            return None
        length = int(line.partition(b";")[0].strip(), 16)
        if length < 0:
            raise ValueError("a chunk of less than nothing")
        if length == 0:
            return _trailers(buffer, at, pieces)
        size += length
        if size > limit:
            raise OverflowError
        if len(buffer) < at + length + 2:
            return None
        if buffer[at + length : at + length + 2] != b"\r\n":
            raise ValueError("a chunk does not end where it should")
        pieces.append(slice(at, at + length))
        at += length + 2


def _trailers(buffer: bytearray, at: int, pieces: list[slice]) -> Whole | None:
    found: dict[str, str] = {}
    while True:
        line, at = _line(buffer, at)
        if line is None:
            return None
        if not line:
            return Whole(b"".join([buffer[piece] for piece in pieces]), found, at)
        name, _, value = line.decode("latin-1").partition(":")
        found[name.strip().lower()] = value.strip()


def _line(buffer: bytearray, at: int) -> tuple[bytes | None, int]:
    """The line at a place and where the next begins; None: its end has not come."""
    end = buffer.find(b"\r\n", at)
    if (end if end >= 0 else len(buffer)) - at > LINE_LIMIT:
        raise ValueError("a line without an end")
    return (None, at) if end < 0 else (bytes(buffer[at:end]), end + 2)


__all__ = ["Whole", "dechunked"]
