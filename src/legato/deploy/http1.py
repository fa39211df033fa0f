"""HTTP/1.1 as seen by a client, without I/O: request heads out, responses in (RFC 9112)."""

from __future__ import annotations

import os
from collections.abc import Callable

from msgspec import Struct

HEAD_LIMIT = 32_768
"""Bytes that status line and headers, or one line of a chunked body, may have."""

_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_URL = frozenset(map(chr, range(0x21, 0x7F)))


class BadAnswer(Exception):
    """What came is no HTTP/1.1 response."""


class TooLong(BadAnswer):
    """The body is longer than was allowed."""


class Url(Struct, frozen=True):
    """Where a request goes.

    Attributes:
        secure: https.
        host, port: To connect to; the host without brackets.
        authority: What the Host header says.
        path: Path and query, at least "/".
    """

    secure: bool
    host: str
    port: int
    authority: str
    path: str

    @property
    def origin(self) -> tuple[bool, str, int]:
        """Connections are shared among requests of one origin."""
        return self.secure, self.host, self.port


def split_url(url: str) -> Url:
    """Takes an http(s) address apart.

    Raises:
        ValueError: It is none, or holds a user name, a space or a control character. The text does
            not hold the address, since it may hold a token.
    """
    scheme, mark, rest = url.partition("://")
    scheme = scheme.lower()
    if not mark or scheme not in {"http", "https"}:
        raise ValueError("the address is neither http:// nor https://")
    if not _URL.issuperset(rest):
        rest = _quoted(rest)
    rest = rest.partition("#")[0]
    authority, slash, path = rest.partition("/")
    path = slash + path
    if "?" in authority:
        authority, _, query = authority.partition("?")
        path = f"/?{query}{path}"
    host, port = _host_and_port(authority)
    return Url(
        scheme == "https",
        host,
        port or (443 if scheme == "https" else 80),
        authority,
        path or "/",
    )


def _quoted(text: str) -> str:
    if any(char <= " " or char == "\x7f" for char in text):
        raise ValueError("the address holds a space or a control character")
    from urllib.parse import quote

    return quote(text, safe="/?#[]@!$&'()*+,;=:%-._~")


def _host_and_port(authority: str) -> tuple[str, int]:
    if "@" in authority:
        raise ValueError("the address holds a user name; pass it as an authorization header")
    if authority.startswith("["):
        host, bracket, port = authority[1:].partition("]")
        valid = bracket and (not port or port.startswith(":"))
        port = port[1:]
    else:
        host, _, port = authority.partition(":")
        valid = bool(host)
    if not valid or not host or (port and not (port.isdecimal() and int(port) < 65_536)):
        raise ValueError("the address has no valid host and port")
    return host, int(port or 0)


def request_head(method: str, url: Url, headers: dict[str, str], length: int, via: str) -> bytes:
    """The head of a request whose body has `length` bytes.

    Args:
        method: "GET" ...
        url: Where to.
        headers: The caller's; they may override what is set here.
        length: Of the body; without one, only methods that usually have a body say so.
        via: Prefix of the path where a proxy wants the whole address, else "".

    Raises:
        ValueError: A method or header holds what would break the framing.
    """
    if not method or not _TOKEN.issuperset(method):
        raise ValueError("the method is no token")
    lines = [f"{method} {via}{url.path} HTTP/1.1"]
    if "host" not in headers:
        lines.append(f"host: {url.authority}")
    for name, value in headers.items():
        if not name or not _TOKEN.issuperset(name):
            raise ValueError("a header's name is no token")
        if "\r" in value or "\n" in value or "\0" in value:
            raise ValueError(f"the header {name} holds a line break")
        lines.append(f"{name}: {value}")
    if length or method not in {"GET", "HEAD"}:
        lines.append(f"content-length: {length}")
    lines.append("\r\n")
    return "\r\n".join(lines).encode("latin-1", "replace")


class Part(Struct, frozen=True):
    """One part of a multipart body: its head, and what follows: bytes or a file of `size`."""

    head: bytes
    content: bytes = b""
    path: str = ""
    size: int = 0


class Form(Struct, frozen=True):
    """A multipart/form-data body, whose length is known before it is sent."""

    content_type: str
    parts: tuple[Part, ...]
    tail: bytes

    @property
    def length(self) -> int:
        """Bytes of the whole body, with the line break that ends each part."""
        return sum(len(p.head) + p.size + 2 for p in self.parts) + len(self.tail)


def multipart(fields: tuple[tuple[str, str], ...], files: tuple[tuple[str, str, str], ...]) -> Form:
    """Lays out a form of `fields` and `files` (field, path, file name). Looks at the files' sizes.

    Raises:
        OSError: A file is not there.
    """
    boundary = os.urandom(16).hex()
    parts = []
    for name, value in fields:
        content = value.encode("utf-8", "surrogatepass")
        head = f'--{boundary}\r\ncontent-disposition: form-data; name="{_name(name)}"\r\n\r\n'
        parts.append(Part(head.encode(), content, size=len(content)))
    for field, path, file_name in files:
        head = (
            f'--{boundary}\r\ncontent-disposition: form-data; name="{_name(field)}"; '
            f'filename="{_name(file_name)}"\r\ncontent-type: {_mime(file_name)}\r\n\r\n'
        )
        size = os.stat(path).st_size  # noqa: PTH116 - pathlib costs a cold start
        parts.append(Part(head.encode("utf-8", "replace"), path=path, size=size))
    return Form(
        f"multipart/form-data; boundary={boundary}", tuple(parts), f"--{boundary}--\r\n".encode()
    )


def _name(text: str) -> str:
    """As browsers write names (HTML, multipart/form-data encoding algorithm)."""
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _mime(file_name: str) -> str:
    from mimetypes import guess_type

    return guess_type(file_name)[0] or "application/octet-stream"


class ResponseParser:
    """Reads one response, fed in pieces of any size.

    Attributes:
        status: 0 until the head of the final response was read (1xx are skipped).
        headers: Lower-case names; of repeated ones the last.
        done: Everything was read.
        keep: After `done`: the connection may be used again.
    """

    __slots__ = (
        "_bodyless",
        "_buffer",
        "_left",
        "_limit",
        "_put",
        "_read",
        "_size",
        "done",
        "headers",
        "keep",
        "status",
    )

    def __init__(self, method: str, put: Callable[[bytes], None], limit: int) -> None:
        """Reads the answer to a `method` request; hands the body to `put`, `limit` bytes at most."""
        self.status: int = 0
        self.headers: dict[str, str] = {}
        self.done: bool = False
        self.keep: bool = False
        self._bodyless = method == "HEAD"
        self._put = put
        self._limit = limit
        self._size = 0
        self._buffer = b""
        self._left = 0
        self._read = self._head

    def feed(self, data: bytes) -> None:
        """Takes the next bytes from the connection.

        Raises:
            BadAnswer: They are no HTTP/1.1, or the body is too long.
        """
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        while data and not self.done:
            rest = self._read(data)
            if rest is None:
                self._buffer = data
                return
            data = rest
        if data:  # more than the answer: nobody knows what it belongs to
            self.keep = False

    def end(self) -> bool:
        """The connection has ended; returns whether the response is complete."""
        if self._read == self._until_end:
            self.done = True
        return self.done

    # Each reader takes what is there, sets the next reader, and returns what is left over; None:
    # it needs more than `data`.

    def _head(self, data: bytes) -> bytes | None:
        end = data.find(b"\r\n\r\n")
        if end < 0 or end > HEAD_LIMIT:
            if len(data) > HEAD_LIMIT:
                raise BadAnswer("the head of the answer is too long")
            if not data.startswith(b"HTTP/1."[: len(data)]):
                raise BadAnswer("the answer is no HTTP/1.1")
            return None
        lines = data[:end].decode("latin-1").split("\r\n")
        version, _, code = lines[0][:12].partition(" ")
        if version not in {"HTTP/1.1", "HTTP/1.0"} or not (code.isdecimal() and len(code) == 3):
            raise BadAnswer("the answer is no HTTP/1.1")
        if lines[0][12:13] not in {"", " "}:
            raise BadAnswer("the answer is no HTTP/1.1")
        status = int(code)
        if 100 <= status < 200:
            if status == 101:
                raise BadAnswer("the server switched protocols, which nobody asked for")
            return data[end + 4 :]
        headers: dict[str, str] = {}
        lengths: list[str] = []
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            name = name.lower()
            if not colon or not name or name[-1] in " \t" or name[0] in " \t":
                raise BadAnswer("a header of the answer is malformed")
            headers[name] = value = value.strip(" \t")
            if name == "content-length":
                lengths.append(value)
        self.status = status
        self.headers = headers
        self._frame(version, lengths)
        return data[end + 4 :]

    def _frame(self, version: str, lengths: list[str]) -> None:
        """Decides from the head where the body ends."""
        headers = self.headers
        connection = headers.get("connection", "").lower()
        self.keep = version == "HTTP/1.1" and "close" not in connection
        if self._bodyless or self.status in {204, 304}:
            self.done = True
        elif coding := headers.get("transfer-encoding", "").lower():
            if lengths:  # two opinions on where the body ends: smuggling, or a broken proxy
                self.keep = False
            if coding != "chunked":
                raise BadAnswer("the answer has a transfer encoding we did not ask for")
            self._read = self._chunk_size
        elif lengths:
            length = lengths[0]
            if len(set(lengths)) > 1 or not (length.isdecimal() and length.isascii()):
                raise BadAnswer("the answer's content-length is no number")
            self._left = int(length)
            self._allow(self._left)
            self.done = not self._left
            self._read = self._body
        else:
            self.keep = False
            self._read = self._until_end

    def _allow(self, more: int) -> None:
        self._size += more
        if self._size > self._limit:
            raise TooLong(f"the answer is longer than {self._limit} bytes")

    def _body(self, data: bytes) -> bytes:
        piece = data[: self._left]
        self._left -= len(piece)
        self._put(piece)
        self.done = not self._left
        return data[len(piece) :]

    def _until_end(self, data: bytes) -> bytes:
        self._allow(len(data))
        self._put(data)
        return b""

    def _line(self, data: bytes) -> tuple[bytes, bytes] | None:
        line, end, rest = data.partition(b"\r\n")
        if len(line) > HEAD_LIMIT:
            raise BadAnswer("a line of the answer is too long")
        return (line, rest) if end else None

    def _chunk_size(self, data: bytes) -> bytes | None:
        found = self._line(data)
        if found is None:
            return None
        size = found[0].partition(b";")[0].strip(b" \t")
        if not size or len(size) > 15 or size.strip(b"0123456789abcdefABCDEF"):
            raise BadAnswer("the answer's chunks are malformed")
        self._left = int(size, 16)
        self._allow(self._left)
        self._read = self._chunk if self._left else self._trailer
        return found[1]

    def _chunk(self, data: bytes) -> bytes | None:
        if self._left:
            piece = data[: self._left]
            self._left -= len(piece)
            self._put(piece)
            return data[len(piece) :]
        if len(data) < 2:
            return None
        if data[:2] != b"\r\n":
            raise BadAnswer("the answer's chunks are malformed")
        self._read = self._chunk_size
        return data[2:]

    def _trailer(self, data: bytes) -> bytes | None:
        found = self._line(data)
        if found is None:
            return None
        self.done = not found[0]
        return found[1]
