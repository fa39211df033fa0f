"""HTTP as plain data, and the client the relay and the platforms are given."""

from __future__ import annotations

from abc import ABC, abstractmethod

from msgspec import Struct


class HttpRequest(Struct, frozen=True):
    """An HTTP request, incoming or outgoing.

    Attributes:
        method: "GET", "POST" ...
        url: Outgoing: the whole URL (it may hold a token: never log it). Incoming: path and query.
        headers: Lower-case names; the last of repeated ones wins.
        body: The raw bytes.
        files: Outgoing only: (field, path of a local file, file name); makes the request
            multipart/form-data with `fields` beside them, streamed from disk.
        fields: Outgoing only: the other multipart fields.
        timeout_s: Outgoing only: for the whole exchange.
    """

    method: str
    url: str
    headers: dict[str, str] = {}
    body: bytes = b""
    files: tuple[tuple[str, str, str], ...] = ()
    fields: tuple[tuple[str, str], ...] = ()
    timeout_s: float = 30.0


class HttpResponse(Struct, frozen=True):
    """An HTTP response. Header names are lower-case."""

    status: int
    headers: dict[str, str] = {}
    body: bytes = b""


class NotSent(Exception):
    """The request certainly did not reach the server (connect, DNS, TLS failed): safe to retry.

    Its text holds no URL and no secret.
    """


class MaybeSent(Exception):
    """The request may have been carried out (timeout or broken connection after sending began).

    Its text holds no URL and no secret.
    """


class HttpClient(ABC):
    """Keep-alive HTTP/1.1 with verified TLS (SSL_CERT_FILE adds to the trusted roots)."""

    __slots__ = ()

    @abstractmethod
    async def send(self, request: HttpRequest) -> HttpResponse:
        """Performs one exchange; never retries by itself, never follows redirects.

        Raises:
            NotSent: It certainly did not reach the server.
            MaybeSent: It may have.
        """

    @abstractmethod
    async def download(self, request: HttpRequest, path: str, limit: int) -> int:
        """Streams the response body of a 200 into a new file `path`, atomically (a temporary
        name first); returns its size in bytes.

        Raises:
            NotSent, MaybeSent: As for `send`.
            ValueError: Another status than 200, or more than `limit` bytes; nothing is kept.
        """

    @abstractmethod
    async def close(self) -> None:
        """Closes all connections. Idempotent."""
