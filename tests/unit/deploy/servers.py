"""Servers that behave, and servers that do not."""

import asyncio
import datetime as dt
import ipaddress
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from legato.abc import HttpRequest, HttpResponse
from legato.deploy.transport import Transport

Handler = Callable[["Peer"], Awaitable[None]]


class Peer:
    """The server's side of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def request(self) -> tuple[str, dict[str, str], bytes]:
        """The next request: first line, headers (lower-case), body."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.rstrip("\r\n").split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return first, headers, body

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, body: bytes = b"ok", status: str = "200 OK", extra: str = "") -> None:
        head = f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n{extra}\r\n"
        await self.write(head.encode() + body)

    def reset(self) -> None:
        """Ends the connection with RST."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class Server:
    """Runs `handler` for each connection; stops all of it at the end."""

    def __init__(self, handler: Handler, tls: ssl.SSLContext | None = None) -> None:
        self._handler = handler
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *failure: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()
        accepting = [t for t in asyncio.all_tasks() if "_accept_connection" in str(t.get_coro())]
        if accepting:  # asyncio's own, after a handshake that failed
            await asyncio.wait(accepting)

    def url(self, path: str = "/bot123:secret/call", host: str = "127.0.0.1") -> str:
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}{path}"

    def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._run(Peer(reader, writer)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, peer: Peer) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._handler(peer)
        finally:
            peer.writer.close()
            with suppress(OSError, asyncio.CancelledError):
                await peer.writer.wait_closed()


async def echo(peer: Peer) -> None:
    """Answers each request with its first line, a header line and its body."""
    while True:
        first, headers, body = await peer.request()
        text = first + "".join(f"\n{name}={value}" for name, value in headers.items())
        await peer.answer(text.encode() + b"\n\n" + body, extra="X-Kind: echo\r\n")


def clear_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forgets the proxies and roots that this machine may need."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ssl_cert_file"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def post(url: str, body: bytes = b"{}", timeout_s: float = 30.0) -> HttpRequest:
    return HttpRequest("POST", url, {"content-type": "application/json"}, body, timeout_s=timeout_s)


async def once(url: str, body: bytes = b"{}", timeout_s: float = 30.0) -> HttpResponse:
    client = Transport()
    try:
        return await client.send(post(url, body, timeout_s))
    finally:
        await client.close()


def authority(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """An authority of our own: its certificate's file, and a server's side of TLS for
    localhost and 127.0.0.1."""
    now = dt.datetime.now(dt.UTC)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("ours", "localhost")
    ]

    def certificate(subject: int, *, ca: bool) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(names[subject])
            .issuer_name(names[0])
            .public_key(keys[subject].public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )

    alternatives = x509.SubjectAlternativeName(
        [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    )
    root = certificate(0, ca=True).sign(keys[0], hashes.SHA256())
    leaf = certificate(1, ca=False).add_extension(alternatives, critical=False)
    root_file, leaf_file, key_file = (folder / name for name in ("ca.pem", "leaf.pem", "key.pem"))
    pem = serialization.Encoding.PEM
    root_file.write_bytes(root.public_bytes(pem))
    leaf_file.write_bytes(leaf.sign(keys[0], hashes.SHA256()).public_bytes(pem))
    key_file.write_bytes(
        keys[1].private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(leaf_file, key_file)
    return root_file, context
