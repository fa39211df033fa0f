"""Which process is at the other end of a connection on this machine.

Any user of the machine may connect to a port of 127.0.0.1. The kernel knows the socket at the other end, by its
number and its user, and /proc shows who holds it.

Read on 2026-11-29: https://man7.org/linux/man-pages/man7/sock_diag.7.html. One question takes 0.03 ms; to read
/proc/net/tcp takes four, however few connections there are.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLMSG_ERROR = 2
ANY = 0xFFFFFFFF
ANSWER_S = 1.0
HEAD, MESSAGE = 16, 72
"""Bytes of a netlink header, and of what says which socket was found."""

Address = tuple[str, int]


class Peer(NamedTuple):
    """A socket at the other end.

    Attributes:
        inode: Its number; 0: nobody holds it any more.
        uid: Of the user who made it.
    """

    inode: int
    uid: int


def is_held(ours: Address, theirs: Address, pids: Iterable[int]) -> bool:
    """Whether the other end of a connection belongs to one of these processes.

    Where we may not see what a process has open (root without CAP_SYS_PTRACE, whose function runs as somebody
    else), it is enough that the socket is its user's.

    Args:
        ours: Where it came in.
        theirs: Where it comes from.
        pids: Looked at one after another, until one has it.
    """
    peer = peer_of(ours, theirs)
    return peer is not None and any(_holds(pid, peer) for pid in pids)


def peer_of(ours: Address, theirs: Address) -> Peer | None:
    """The socket at the other end; None: there is none."""
    try:
        return _asked(theirs, ours)
    except OSError:  # no netlink: a sandbox, or RestrictAddressFamilies of systemd
        return _listed(theirs, ours)


def members(leader: int) -> Iterator[int]:
    """The processes of a process group."""
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            try:
                if os.getpgid(int(path.name)) == leader:
                    yield int(path.name)
            except ProcessLookupError:
                continue


def _asked(source: Address, target: Address) -> Peer | None:
    ends = struct.pack("!HH4s12x4s12x", source[1], target[1], _bytes(source), _bytes(target))
    request = struct.pack("=BBBxI", socket.AF_INET, socket.IPPROTO_TCP, 0, ANY)
    body = request + ends + struct.pack("=III", 0, ANY, ANY)  # on any interface, with any cookie
    head = struct.pack("=IHHII", HEAD + len(body), SOCK_DIAG_BY_FAMILY, 1, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_SOCK_DIAG) as channel:
        channel.settimeout(ANSWER_S)
        channel.send(head + body)
        answer = channel.recv(8192)
    if struct.unpack_from("=4xH", answer)[0] == NLMSG_ERROR:
        (error,) = struct.unpack_from("=i", answer, HEAD)
        if error == -2:  # ENOENT
            return None
        raise OSError(-error, os.strerror(-error))
    uid, inode = struct.unpack_from("=II", answer, HEAD + MESSAGE - 8)
    return Peer(inode, uid)


def _listed(source: Address, target: Address) -> Peer | None:
    """The same out of /proc. A client may have come by IPv6, with an address that stands for one of IPv4."""
    wanted = [_hexadecimal(source), _hexadecimal(target)]
    for name in ("tcp", "tcp6"):
        try:
            lines = Path("/proc/net", name).read_text("ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            words = line.split()
            if [word[-13:] for word in words[1:3]] == wanted:
                return Peer(int(words[9]), int(words[7]))
    return None


def _bytes(address: Address) -> bytes:
    return socket.inet_aton(address[0])


def _hexadecimal(address: Address) -> str:
    """As /proc has it: the bytes of the address as the machine's own number, and the port."""
    return f"{struct.unpack('=I', _bytes(address))[0]:08X}:{address[1]:04X}"


def _holds(pid: int, peer: Peer) -> bool:
    wanted = f"socket:[{peer.inode}]"
    try:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                if str(descriptor.readlink()) == wanted:
                    return True
            except FileNotFoundError:
                continue  # it has just closed that one
    except PermissionError:
        return _user_of(pid) == peer.uid
    except OSError:
        return False  # it has just ended
    return False


def _user_of(pid: int) -> int:
    """Whose it is, -1 if it is gone. What setuid leaves belongs to root in /proc, except here."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("ascii", "replace").splitlines()
    except OSError:
        return -1
    return next((int(line.split()[2]) for line in lines if line.startswith("Uid:")), -1)


__all__ = ["Address", "Peer", "is_held", "members", "peer_of"]
