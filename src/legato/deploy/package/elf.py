"""For which machine, and for which C library, a shared object was made.

pip takes the wheels that it is told to take; a file that a bot brings itself, or a wheel with a wrong tag,
would be found out by the function only.
"""

from __future__ import annotations

import re

from legato.errors import ConfigError

MAGIC = b"\x7fELF"
MACHINES = {62: "x86_64", 183: "aarch64", 3: "i386", 40: "arm"}
"""e_machine of the ELF header."""
_GLIBC = re.compile(rb"GLIBC_2\.(\d+)")


def check_elf(name: str, data: bytes, machine: str, glibc: int) -> None:
    """Checks a file of a package; what is no ELF file passes.

    Args:
        name: Of the file.
        data: What is in it.
        machine: "x86_64" or "aarch64".
        glibc: Minor version of the C library that it will find.

    Raises:
        ConfigError: It would not load there.
    """
    if not data.startswith(MAGIC):
        return
    number = int.from_bytes(data[18:20], "big" if data[5:6] == b"\x02" else "little")
    found = MACHINES.get(number, f"machine {number}")
    if found != machine:
        raise ConfigError(f"{name} was made for {found}, but the function runs on {machine}")
    wants = max((int(minor) for minor in _GLIBC.findall(data)), default=0)
    if wants > glibc:
        raise ConfigError(
            f"{name} needs glibc 2.{wants}, but the function has 2.{glibc}: choose a newer --python, or an older "
            "version of the library"
        )


__all__ = ["check_elf"]
