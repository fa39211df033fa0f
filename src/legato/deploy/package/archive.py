"""A zip that has the same bytes for the same files, and how large it is."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

from msgspec import Struct

from legato.deploy.package.target import MB, Service
from legato.errors import ConfigError

MOMENT = (1980, 1, 1, 0, 0, 0)
"""The time of every file: the oldest that a zip can tell."""
SHOWN = MB // 20
"""Bytes of the smallest part that is named."""


class Size(Struct, frozen=True):
    """How large a package is.

    Attributes:
        zipped: Bytes of the zip.
        unzipped: Bytes of what is in it.
        parts: The largest folders and files at its top, with their bytes.
    """

    zipped: int
    unzipped: int
    parts: tuple[tuple[str, int], ...]

    @property
    def text(self) -> str:
        """For people."""
        return f"{_mb(self.zipped)} zipped, {_mb(self.unzipped)} unzipped ({self.largest})"

    @property
    def largest(self) -> str:
        """The parts that make it large."""
        shown = [(name, size) for name, size in self.parts if size >= SHOWN] or self.parts[:1]
        return ", ".join(f"{name} {_mb(size)}" for name, size in shown)


def packed(files: Mapping[str, bytes], programs: Collection[str] = ()) -> bytes:
    """The zip of {path: content}: in order, without the times that files have here. Of their rights it keeps which
    of them are programs.
    """
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, MOMENT)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3  # Unix, wherever it is made
            info.external_attr = (0o100755 if name in programs else 0o100644) << 16
            archive.writestr(info, files[name])
    return out.getvalue()


def digest(archive: bytes) -> str:
    """SHA-256 of a zip, in hex."""
    return hashlib.sha256(archive).hexdigest()


def sized(archive: bytes, files: Mapping[str, bytes]) -> Size:
    """How large a package is."""
    parts: Counter[str] = Counter()
    for name, data in files.items():
        parts[name.partition("/")[0]] += len(data)
    return Size(len(archive), sum(parts.values()), tuple(parts.most_common(5)))


def check_size(size: Size, service: Service) -> None:
    """Refuses what the service would refuse.

    Raises:
        ConfigError: It is too large; the message names the largest parts.
    """
    for what, found, most in (
        ("zipped", size.zipped, service.zipped),
        ("unzipped", size.unzipped, service.unzipped),
    ):
        if found > most:
            raise ConfigError(
                f"the package is too large for {service.name}: {_mb(found)} {what}, {_mb(most)} at most. "
                f"Largest: {size.largest}. Leave files out in "
                ".legatoignore, or libraries out of requirements.txt"
            )


@contextmanager
def writing() -> Iterator[None]:
    """Tells in a line what cannot be written on this machine.

    Raises:
        ConfigError: Something could not be.
    """
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{error.filename} cannot be written: {error.strerror}") from error


def _mb(size: int) -> str:
    return f"{size / MB:.1f} MB"


__all__ = ["Size", "check_size", "digest", "packed", "sized", "writing"]
