"""The wire format, without sockets."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from legato.deploy.http1 import BadAnswer, ResponseParser, TooLong, request_head, split_url

Outcome = tuple[int, dict[str, str], bytes, bool, bool]


def read(data: bytes, cuts: tuple[int, ...] = (), method: str = "POST") -> Outcome | str:
    """Feeds `data` cut at `cuts` and ends the connection: (status, headers, body, done, keep), or
    the error's text."""
    pieces: list[bytes] = []
    parser = ResponseParser(method, pieces.append, 1000)
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    try:
        for start, end in pairwise(edges):
            if not parser.done:
                parser.feed(data[start:end])
        done = parser.end()
    except BadAnswer as bad:
        return str(bad)
    return parser.status, parser.headers, b"".join(pieces), done, parser.keep


ANSWERS = {
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: 1\r\nx-a:  2 \r\n\r\nok": (
        200,
        {"content-length": "2", "x-a": "2"},
        b"ok",
        True,
        True,
    ),
    b"HTTP/1.1 200\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\n0A\r\n0123456789\r\n0\r\nt: 1\r\n\r\n": (
        200,
        {"transfer-encoding": "Chunked"},
        b"abc0123456789",
        True,
        True,
    ),
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n": (
        204,
        {"content-length": "5"},
        b"",
        True,
        True,
    ),
    b"HTTP/1.1 304 Not Modified\r\n\r\n": (304, {}, b"", True, True),
    b"HTTP/1.1 500 \r\ncontent-length: 0\r\nconnection: Close\r\n\r\n": (
        500,
        {"content-length": "0", "connection": "Close"},
        b"",
        True,
        False,
    ),
    b"HTTP/1.0 200 OK\r\n\r\nall of it": (200, {}, b"all of it", True, False),
    b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf": (
        200,
        {"content-length": "9"},
        b"half",
        False,
        True,
    ),
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok": (
        200,
        {"content-length": "2"},
        b"ok",
        True,
        True,
    ),
    b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n": (
        200,
        {"content-length": "99", "transfer-encoding": "chunked"},
        b"",
        True,
        False,
    ),
    b"HTTP/1.1 200 OK\r\ncontent-le": (0, {}, b"", False, False),
    b"": (0, {}, b"", False, False),
    b"SSH-2.0-OpenSSH\r\n": "the answer is no HTTP/1.1",
    b"HTTP/2 200 OK\r\n\r\n": "the answer is no HTTP/1.1",
    b"HTTP/1.1 20 OK\r\n\r\n": "the answer is no HTTP/1.1",
    b"HTTP/1.1 2000 OK\r\n\r\n": "the answer is no HTTP/1.1",
    b"HTTP/1.1 101 Switching\r\n\r\n": "the server switched protocols, which nobody asked for",
    b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n": "a header of the answer is malformed",
    b"HTTP/1.1 200 OK\r\na: b\r\n folded\r\n\r\n": "a header of the answer is malformed",
    b"HTTP/1.1 200 OK\r\na : b\r\n\r\n": "a header of the answer is malformed",
    b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n": "the answer's content-length is no number",
    b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n": "the answer's content-length is no number",
    b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n": (
        "the answer's content-length is no number"
    ),
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n": (
        "the answer has a transfer encoding we did not ask for"
    ),
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n": (
        "the answer's chunks are malformed"
    ),
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-1\r\n": (
        "the answer's chunks are malformed"
    ),
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab\r\n": (
        "the answer's chunks are malformed"
    ),
    b"HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n": "the answer is longer than 1000 bytes",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfff\r\n": (
        "the answer is longer than 1000 bytes"
    ),
    b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 1001: "the answer is longer than 1000 bytes",
    b"HTTP/1.1 200 OK\r\nx: " + b"y" * 40_000: "the head of the answer is too long",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"1" * 40_000: (
        "a line of the answer is too long"
    ),
}


@pytest.mark.parametrize("data", ANSWERS)
def test_an_answer_is_read_or_refused(data: bytes) -> None:
    assert read(data) == ANSWERS[data]


@pytest.mark.parametrize("data", [data for data in ANSWERS if len(data) < 1000])
def test_an_answer_may_come_in_single_bytes(data: bytes) -> None:
    assert read(data, tuple(range(len(data)))) == ANSWERS[data]


@given(st.sampled_from([data for data in ANSWERS if len(data) < 1000]), st.data())
def test_where_the_network_cuts_an_answer_makes_no_difference(
    data: bytes, more: st.DataObject
) -> None:
    cuts = more.draw(st.lists(st.integers(0, len(data)), max_size=len(data)))
    assert read(data, tuple(cuts)) == ANSWERS[data]


@given(st.binary(max_size=300))
@example(b"HTTP/1.1 200 OK\r\ncontent-length: \xb2\r\n\r\n")
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    read(data)
    read(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + data)


def test_the_answer_to_head_has_no_body() -> None:
    data = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"
    assert read(data, method="HEAD") == (200, {"content-length": "5"}, b"", True, True)


def test_what_follows_an_answer_ends_the_connections_use() -> None:
    data = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n"
    outcome = read(data)
    assert isinstance(outcome, tuple)
    assert outcome[2:] == (b"ok", True, False)


def test_too_long_is_told_apart() -> None:
    parser = ResponseParser("GET", print, 1)
    with pytest.raises(TooLong):
        parser.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("http://h", (False, "h", 80, "h", "/")),
        ("HTTPS://h:8443/a?b#c", (True, "h", 8443, "h:8443", "/a?b")),
        ("https://h?x=/y", (True, "h", 443, "h", "/?x=/y")),
        ("http://[::1]:81/a", (False, "::1", 81, "[::1]:81", "/a")),
        ("http://[::1]", (False, "::1", 80, "[::1]", "/")),
        ("http://h/é%20", (False, "h", 80, "h", "/%C3%A9%20")),
    ],
)
def test_an_address_is_taken_apart(text: str, parts: tuple[bool, str, int, str, str]) -> None:
    url = split_url(text)
    assert (url.secure, url.host, url.port, url.authority, url.path) == parts


@pytest.mark.parametrize(
    "text",
    ["http://h/a b", "http://h/\x7fé", "http://h:x/", "http://h:80:80/", "http://[x/", "//h/"],
)
def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="the address"):
        split_url(text)


def test_a_head_names_the_length_where_a_body_is_usual() -> None:
    url = split_url("http://h/x")
    assert request_head("GET", url, {}, 0, "") == b"GET /x HTTP/1.1\r\nhost: h\r\n\r\n"
    assert request_head("POST", url, {"host": "other"}, 0, "") == (
        b"POST /x HTTP/1.1\r\nhost: other\r\ncontent-length: 0\r\n\r\n"
    )
    assert b"GET http://h/x HTTP/1.1\r\n" in request_head("GET", url, {}, 5, "http://h")
