"""Who is at the other end, by both ways of asking the kernel."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from legato.functions import peers
from legato.functions.peers import Address, Peer, is_held, members, peer_of

Asks = Callable[[Address, Address], Peer | None]
ASKS = pytest.mark.parametrize("ask", [peers._asked, peers._listed], ids=["netlink", "proc"])


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def ends(listener: socket.socket) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Theirs and ours."""
    with socket.create_connection(listener.getsockname()) as theirs:
        ours, _ = listener.accept()
        with ours:
            yield theirs, ours


def inode(one: socket.socket) -> int:
    return os.fstat(one.fileno()).st_ino


@ASKS
def test_the_socket_at_the_other_end_is_found(
    ask: Asks, ends: tuple[socket.socket, socket.socket]
) -> None:
    theirs, ours = ends
    found = ask(theirs.getsockname(), ours.getsockname())
    assert found == Peer(inode(theirs), os.getuid())
    assert ask(("127.0.0.1", 1), ours.getsockname()) is None


@ASKS
def test_a_client_that_speaks_version_6_is_found_as_well(
    ask: Asks, listener: socket.socket
) -> None:
    with socket.socket(socket.AF_INET6) as theirs:
        try:
            theirs.connect((f"::ffff:{listener.getsockname()[0]}", listener.getsockname()[1]))
        except OSError:
            pytest.skip("there is no version 6 here")
        ours, address = listener.accept()
        with ours:
            assert ask(address, ours.getsockname()) == Peer(inode(theirs), os.getuid())


def test_where_netlink_is_forbidden_the_list_of_connections_is_read(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: Address) -> Peer | None:
        raise PermissionError

    monkeypatch.setattr(peers, "_asked", forbidden)
    theirs, ours = ends
    assert peer_of(ours.getsockname(), theirs.getsockname()) == Peer(inode(theirs), os.getuid())


def test_a_connection_is_held_by_who_has_it_open_and_by_nobody_else(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    theirs, ours = ends
    here, there = ours.getsockname(), theirs.getsockname()
    with subprocess.Popen(["sleep", "60"]) as other:
        try:
            assert is_held(here, there, [os.getpid()])
            assert is_held(here, there, [other.pid, os.getpid()])
            assert not is_held(here, there, [other.pid])
            assert not is_held(here, there, [999_999_999])
            assert not is_held(here, ("127.0.0.1", 1), [os.getpid()])
        finally:
            other.kill()


@pytest.mark.parametrize(("uid", "held"), [(os.getuid(), True), (12_345, False)])
def test_where_we_may_not_look_the_user_decides(
    ends: tuple[socket.socket, socket.socket],
    monkeypatch: pytest.MonkeyPatch,
    uid: int,
    held: bool,
) -> None:
    def forbidden(_: Path) -> Iterator[Path]:
        raise PermissionError

    theirs, ours = ends
    monkeypatch.setattr(peers, "_asked", lambda *_: Peer(inode(theirs), uid))
    monkeypatch.setattr(Path, "iterdir", forbidden)
    here, there = ours.getsockname(), theirs.getsockname()
    assert is_held(here, there, [os.getpid()]) is held
    assert not is_held(here, there, [999_999_999])


def test_the_members_of_a_process_group_are_known() -> None:
    code = "import subprocess; subprocess.run(['sleep', '60'])"
    with subprocess.Popen([sys.executable, "-c", code], start_new_session=True) as leader:
        try:
            while len(found := set(members(leader.pid))) < 2:
                assert leader.poll() is None
            assert leader.pid in found
            assert os.getpid() not in found
        finally:
            os.killpg(leader.pid, 9)
