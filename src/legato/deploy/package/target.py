"""The function services that a package can be made for.

Read on 2026-11-29: https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html (python3.11 runs on
Amazon Linux 2 with glibc 2.26, later ones on Amazon Linux 2023 with glibc 2.34),
https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html,
https://yandex.cloud/en/docs/functions/concepts/limits, https://cloud.google.com/functions/quotas
"""

from __future__ import annotations

import sys

from msgspec import Struct

from legato.errors import ConfigError

MB = 1024 * 1024
ARCHES = {"arm64": "aarch64", "x86_64": "x86_64"}
"""Machines, by the name that AWS gives them; and as wheels name them."""
OLDEST_GLIBC = 5
"""Minor version of the oldest glibc that wheels name: manylinux_2_5 is manylinux1."""
_ALIASES = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


class Service(Struct, frozen=True):
    """One kind of function service.

    Attributes:
        name: "aws", "yandex" or "google".
        pythons: Versions that it runs, and the minor version of glibc that they run on.
        arches: Machines that it has.
        method: Of App: what makes the handler.
        module: The module that it calls, without ".py".
        zipped: Bytes that a zip may have at most.
        unzipped: The same for what is in it.
    """

    name: str
    pythons: dict[str, int]
    arches: tuple[str, ...]
    method: str
    module: str
    zipped: int
    unzipped: int


SERVICES = {
    "aws": Service(
        "aws",
        {"3.11": 26, "3.12": 34, "3.13": 34, "3.14": 34},
        ("arm64", "x86_64"),
        "aws_lambda",
        "legato_handler",
        250 * MB,  # from a bucket; what is in it counts
        250 * MB,
    ),
    "yandex": Service(
        "yandex",
        {"3.11": 31, "3.12": 31},
        ("x86_64",),
        "yandex",
        "legato_handler",
        128 * MB,
        500 * MB,
    ),
    "google": Service(
        "google",
        {"3.11": 35, "3.12": 35, "3.13": 35},
        ("x86_64",),
        "google",
        "main",
        100 * MB,
        500 * MB,
    ),
}


class Target(Struct, frozen=True):
    """What a package is for.

    Attributes:
        service: Which one.
        arch: "arm64" or "x86_64".
        python: "3.13" ...
    """

    service: Service
    arch: str
    python: str

    @property
    def machine(self) -> str:
        """As wheels name it: "aarch64" or "x86_64"."""
        return ARCHES[self.arch]

    @property
    def glibc(self) -> int:
        """The minor version of the service's glibc."""
        return self.service.pythons[self.python]

    @property
    def platforms(self) -> list[str]:
        """Tags of wheels that run there, the newest C library first."""
        oldest = OLDEST_GLIBC if self.arch == "x86_64" else 17
        found = []
        for minor in range(self.glibc, oldest - 1, -1):
            found.append(f"manylinux_2_{minor}_{self.machine}")
            if minor in _ALIASES:
                found.append(f"{_ALIASES[minor]}_{self.machine}")
        return found

    @property
    def text(self) -> str:
        """For people."""
        return f"{self.service.name}, {self.arch}, Python {self.python}"


def target_of(service: str, arch: str = "", python: str = "") -> Target:
    """A target by its names.

    Args:
        service: "aws", "yandex" or "google".
        arch: The service's first one by default.
        python: By default the version that runs this, whose bytecode can be made here; 3.12 where
            that is older or unknown to the service.

    Raises:
        ConfigError: The service has no such machine or Python.
    """
    found = SERVICES.get(service)
    if found is None:
        raise ConfigError(f"--target {service}: there are {', '.join(SERVICES)}")
    arch = arch or found.arches[0]
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    python = python or (here if here in found.pythons and here != "3.11" else "3.12")
    if arch not in found.arches:
        raise ConfigError(f"--arch {arch}: {service} has {', '.join(found.arches)}")
    if python not in found.pythons:
        raise ConfigError(f"--python {python}: {service} has {', '.join(found.pythons)}")
    return Target(found, arch, python)


__all__ = ["ARCHES", "MB", "SERVICES", "Service", "Target", "target_of"]
