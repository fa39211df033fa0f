"""Opens connections: TLS roots, proxies from the environment, and the first address that answers."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct

from legato.abc import NotSent
from legato.deploy.http1 import Url
from legato.errors import ConfigError

if TYPE_CHECKING:
    import ssl

P = TypeVar("P", bound=asyncio.Protocol)

HEAD_START_S = 0.25
"""How long one address may take before the next is tried beside it (RFC 8305)."""


class Proxy(Struct, frozen=True):
    """An HTTP proxy. `authorization` is the Proxy-Authorization header's value, "" for none."""

    host: str
    port: int
    authorization: str = ""


def check_environment() -> None:
    """Refuses settings that would fail at the first request.

    Raises:
        ConfigError: SSL_CERT_FILE cannot be read, or a proxy is none that we can use.
    """
    path = os.environ.get("SSL_CERT_FILE")
    if path and not os.path.isfile(path):  # noqa: PTH113 - pathlib costs a cold start
        raise ConfigError(f"SSL_CERT_FILE names {path}, which is no file")
    for scheme in ("http", "https"):
        proxy_for(Url(scheme == "https", "any.invalid", 1, "", "/"))


def tls_context() -> ssl.SSLContext:
    """Verifies certificates against the system's roots and those of SSL_CERT_FILE.

    OpenSSL by itself takes SSL_CERT_FILE in place of the system's roots: then a private authority
    for one service would cut off all others.
    """
    import ssl

    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    paths = ssl.get_default_verify_paths()
    extra = os.environ.get("SSL_CERT_FILE")
    try:
        if extra and os.path.isfile(paths.openssl_cafile):  # noqa: PTH113 - as above
            context.load_verify_locations(paths.openssl_cafile)
        if extra:
            context.load_verify_locations(extra)
            # Python 3.13 began to ask for extensions that private authorities seldom write
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    except ssl.SSLError as error:
        raise ConfigError(f"SSL_CERT_FILE names {extra}, which holds no certificates") from error
    return context


def proxy_for(url: Url) -> Proxy | None:
    """The proxy that the environment names for `url` (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY,
    NO_PROXY, in either case), None for a direct connection.

    Raises:
        ConfigError: It is no http:// proxy.
    """
    if not any(name[-6:].lower() == "_proxy" and value for name, value in os.environ.items()):
        return None
    from urllib.parse import unquote, urlsplit
    from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined] # is documented, but not in typeshed

    proxies = getproxies_environment()
    named = proxies.get("https" if url.secure else "http") or proxies.get("all")
    if not named or proxy_bypass_environment(f"{url.host}:{url.port}", proxies):
        return None
    try:
        split = urlsplit(named if "://" in named else f"http://{named}")
        if split.scheme != "http" or not split.hostname:
            raise ValueError("another scheme")
        port = split.port or 80
    except ValueError as error:
        raise ConfigError(
            "the proxy of the environment must look like http://[user:password@]host:port"
        ) from error
    authorization = ""
    if split.username is not None:
        from base64 import b64encode

        pair = f"{unquote(split.username)}:{unquote(split.password or '')}"
        authorization = "Basic " + b64encode(pair.encode()).decode()
    return Proxy(split.hostname, port, authorization)


async def connect(
    protocol: Callable[[], P], url: Url, proxy: Proxy | None, context: ssl.SSLContext | None
) -> P:
    """Opens a connection for `url`, verified and encrypted if it is https.

    Raises:
        NotSent: It could not be opened; the text says in which phase.
    """
    host, port = (proxy.host, proxy.port) if proxy else (url.host, url.port)
    loop = asyncio.get_running_loop()
    sock = await _first_to_answer(host, port)
    if proxy is not None and url.secure:
        try:
            await _tunnel(sock, proxy, url)
        except BaseException:
            sock.close()
            raise
    # from here on the socket is the loop's, which closes it on every failure
    try:
        _, made = await loop.create_connection(
            protocol,
            sock=sock,
            ssl=context if url.secure else None,
            server_hostname=url.host if url.secure else None,
        )
    except OSError as error:
        raise NotSent(f"TLS: {_tls_reason(error)}") from error
    return made


def _tls_reason(error: OSError) -> str:
    reason = getattr(error, "verify_message", "")
    if reason:
        return (
            f"the certificate is not trusted ({reason}); SSL_CERT_FILE may name a file with the "
            "authority's certificate"
        )
    return getattr(error, "reason", "") or error.strerror or "the handshake was cut off"


async def _first_to_answer(host: str, port: int) -> socket.socket:
    """A socket connected to whichever address of the host answers first, each getting a head
    start before the next.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise NotSent(f"the host's name could not be resolved: {error.strerror}") from error
    # most hosts are listed by family: alternate, so that a dead family costs one head start
    first = [one for one in found if one[0] == found[0][0]]
    other = [one for one in found if one[0] != found[0][0]]
    addresses = [one for pair in zip(first, other, strict=False) for one in pair]
    addresses += first[len(other) :] + other[len(first) :]
    tries: set[asyncio.Task[socket.socket]] = set()
    failure: BaseException | None = None
    try:
        while addresses or tries:
            if addresses:
                family, kind, number, _, address = addresses.pop(0)
                tries.add(loop.create_task(_open(family, kind, number, address)))
            done, tries = await asyncio.wait(
                tries,
                timeout=HEAD_START_S if addresses else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for one in done:
                failure = one.exception() or failure
            winners = [one.result() for one in done if one.exception() is None]
            for late in winners[1:]:
                late.close()
            if winners:
                return winners[0]
    finally:
        await _give_up(tries)
    code = getattr(failure, "errno", None)
    raise NotSent(f"no connection: {os.strerror(code) if code else 'no address'}") from failure


async def _open(family: int, kind: int, number: int, address: object) -> socket.socket:
    sock = socket.socket(family, kind, number)
    try:
        sock.setblocking(False)  # noqa: FBT003 - the standard library's signature
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(sock, address)  # type: ignore[arg-type]
    except BaseException:
        sock.close()
        raise
    return sock


async def _give_up(tries: set[asyncio.Task[socket.socket]]) -> None:
    for one in tries:
        one.cancel()
    for result in await asyncio.gather(*tries, return_exceptions=True):
        if isinstance(result, socket.socket):
            result.close()


async def _tunnel(sock: socket.socket, proxy: Proxy, url: Url) -> None:
    """Asks the proxy for a way through to the host."""
    loop = asyncio.get_running_loop()
    host = f"[{url.host}]" if ":" in url.host else url.host
    ask = f"CONNECT {host}:{url.port} HTTP/1.1\r\nhost: {host}:{url.port}\r\n"
    if proxy.authorization:
        ask += f"proxy-authorization: {proxy.authorization}\r\n"
    answer = b""
    try:
        await loop.sock_sendall(sock, f"{ask}\r\n".encode())
        # byte by byte at its end would be needed if the server spoke first; with TLS it does not
        while b"\r\n\r\n" not in answer and len(answer) < 65_536:
            more = await loop.sock_recv(sock, 4096)
            if not more:
                break
            answer += more
    except OSError as error:
        raise NotSent(f"the proxy hung up: {error.strerror}") from error
    status = answer[9:12].decode("latin-1")
    if not answer.startswith(b"HTTP/1.") or b"\r\n\r\n" not in answer or status[:1] != "2":
        raise NotSent(f"the proxy let nothing through: {status or 'no answer'}")
