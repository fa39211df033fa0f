"""Uploads from disk and downloads to it."""

import asyncio
import errno
import io
import os
from pathlib import Path

import pytest

from legato.abc import HttpRequest, MaybeSent
from legato.deploy import transport
from legato.deploy.transport import Transport
from tests.unit.deploy.servers import Peer, Server, clear_environment, echo


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    clear_environment(monkeypatch)


async def test_files_are_streamed_as_a_form(tmp_path: Path) -> None:
    photo = tmp_path / "p.jpg"
    photo.write_bytes(bytes(range(256)) * 4096)
    async with Server(echo) as server:
        client = Transport()
        answer = await client.send(
            HttpRequest(
                "POST",
                server.url(),
                files=(("photo", str(photo), 'a "quoted"\r\nname é.jpg'),),
                fields=(("chat_id", "5"), ("caption", "hé")),
            )
        )
        await client.close()
    head, _, body = answer.body.partition(b"\n\n")
    boundary = head.decode().partition("boundary=")[2].split("\n")[0]
    parts = body.split(f"--{boundary}".encode())
    assert parts[1] == b'\r\ncontent-disposition: form-data; name="chat_id"\r\n\r\n5\r\n'
    assert parts[2].endswith("\r\n\r\nhé\r\n".encode())
    assert 'filename="a %22quoted%22%0D%0Aname é.jpg"'.encode() in parts[3]
    assert b"content-type: image/jpeg\r\n\r\n" + photo.read_bytes() + b"\r\n" in parts[3]
    assert parts[4] == b"--\r\n"


async def test_a_file_that_is_not_there_is_an_os_error_and_nothing_is_sent(tmp_path: Path) -> None:
    async with Server(echo) as server:
        client = Transport()
        with pytest.raises(OSError, match="No such file"):
            await client.send(
                HttpRequest("POST", server.url(), files=(("f", str(tmp_path / "none"), "n"),))
            )
        assert server.connections == 0
        await client.close()


async def test_a_file_that_shrinks_meanwhile_is_an_os_error_and_ends_the_connection(
    tmp_path: Path,
) -> None:
    async def shrink(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        big.write_bytes(b"")
        await peer.reader.read()

    big = tmp_path / "big"
    big.write_bytes(b"x" * 30_000_000)
    async with Server(shrink) as server:
        client = Transport()
        with pytest.raises(OSError, match="became shorter"):
            await client.send(HttpRequest("POST", server.url(), files=(("f", str(big), "n"),)))
        await client.close()


async def test_an_answer_that_comes_before_the_upload_is_over_ends_it(tmp_path: Path) -> None:
    async def too_large(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.answer(b"no", "413 Too Large")
        while await peer.reader.read(1_000_000):
            pass

    big = tmp_path / "big"
    big.write_bytes(b"x" * 30_000_000)
    async with Server(too_large) as server:
        client = Transport()
        answer = await client.send(HttpRequest("POST", server.url(), files=(("f", str(big), "n"),)))
        assert (answer.status, answer.body) == (413, b"no")
        assert not any(client._idle.values())
        await client.close()


async def test_an_upload_to_a_server_that_stops_reading_ends_in_time(tmp_path: Path) -> None:
    async def stop(peer: Peer) -> None:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined] # an asyncio transport
        await asyncio.Event().wait()

    big = tmp_path / "big"
    big.write_bytes(b"x" * 30_000_000)
    async with Server(stop) as server:
        client = Transport()
        with pytest.raises(MaybeSent, match="in time"):
            await client.send(
                HttpRequest("POST", server.url(), files=(("f", str(big), "n"),), timeout_s=0.2)
            )
        await client.close()


async def test_a_download_is_a_whole_file_or_none(tmp_path: Path) -> None:
    async def files(peer: Peer) -> None:
        while True:
            first, _, _ = await peer.request()
            match first.split()[1]:
                case "/good":
                    await peer.answer(b"x" * 300_000)
                case "/missing":
                    await peer.answer(b"y" * 300, "404 Not Found")
                case _:
                    await peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")
                    return

    def names() -> list[str]:
        return [f"{path.name} {path.stat().st_size}" for path in tmp_path.iterdir()]

    async with Server(files) as server:
        client = Transport()
        target = str(tmp_path / "file")
        get = [HttpRequest("GET", server.url(path)) for path in ("/good", "/missing", "/broken")]
        with pytest.raises(ValueError, match="longer than 200000 bytes"):
            await client.download(get[0], target, 200_000)
        with pytest.raises(ValueError, match="HTTP 404"):
            await client.download(get[1], target, 400_000)
        with pytest.raises(MaybeSent):
            await client.download(get[2], target, 400_000)
        with pytest.raises(OSError, match="No such file"):
            await client.download(get[0], str(tmp_path / "no" / "file"), 400_000)
        assert names() == []
        assert await client.download(get[0], target, 300_000) == 300_000
        assert names() == ["file 300000"]
        await client.close()


async def test_a_download_to_a_full_disk_is_an_os_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FullDisk(io.BytesIO):
        def write(self, data: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(transport, "open", lambda name, mode: FullDisk(), raising=False)
    async with Server(echo) as server:
        client = Transport()
        with pytest.raises(OSError, match="No space left"):
            await client.download(HttpRequest("GET", server.url()), str(tmp_path / "f"), 1000)
        await client.close()
