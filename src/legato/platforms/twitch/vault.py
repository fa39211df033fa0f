"""Encryption of what the store keeps of an account: whoever reads the store's file or a backup of it
learns no token.

The key comes from the environment (LEGATO_KEY) and never reaches the store. Fernet (AES-128-CBC with an
HMAC-SHA256 over it) is a format that other programs can read: https://github.com/fernet/spec.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from legato.errors import ConfigError, MissingExtra

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

PASSPHRASE = 16
"""Characters that a passphrase has at least."""
NO_KEY = (
    "LEGATO_KEY is not set, and tokens are kept encrypted or not at all: make a key with "
    "`openssl rand -base64 32`, set LEGATO_KEY to it wherever the bot runs, and keep it"
)

_SALT = b"legato LEGATO_KEY passphrase 1"
"""The same for everybody: a key must open the store on another machine, where nothing but it is known."""


class NotOurs(Exception):
    """Something sealed that none of the keys opens: another key's, or damaged."""


class Vault:
    """Seals bytes and opens them again.

    Args:
        keys: LEGATO_KEY: 32 bytes in Base64, as `openssl rand -base64 32` prints them, or a passphrase of
            16 characters or more. Several are separated by commas: the first one seals, each of them
            opens, so that a key can be replaced.

    Raises:
        ConfigError: There is no key, or it is too short to be one.
        MissingExtra: The package `cryptography` is not installed.
    """

    __slots__ = ("_fernet",)

    def __init__(self, keys: str) -> None:
        found = [key.strip() for key in keys.split(",") if key.strip()]
        if not found:
            raise ConfigError(NO_KEY)
        try:
            from cryptography.fernet import Fernet, MultiFernet
        except ImportError as error:
            raise MissingExtra("keeping a Twitch account's tokens", "twitch") from error
        self._fernet: MultiFernet = MultiFernet([Fernet(_fernet_key(key)) for key in found])

    def seal(self, plain: bytes) -> bytes:
        """`plain`, encrypted and signed; different each time."""
        return self._fernet.encrypt(plain)

    def open(self, sealed: bytes) -> bytes:
        """What was sealed.

        Raises:
            NotOurs: None of the keys opens it.
        """
        from cryptography.fernet import InvalidToken

        try:
            return self._fernet.decrypt(sealed)
        except InvalidToken as error:
            raise NotOurs from error


def _fernet_key(text: str) -> bytes:
    """The key as Fernet takes it.

    Raises:
        ConfigError: It is neither a key nor a passphrase of enough characters.
    """
    from base64 import b64decode, urlsafe_b64encode

    try:
        standard = text.replace("-", "+").replace("_", "/").rstrip("=")
        key = b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except ValueError:
        key = b""
    if len(key) != 32:
        if len(text) < PASSPHRASE:
            raise ConfigError(
                f"LEGATO_KEY is too short to protect anything: use what `openssl rand -base64 32` prints, "
                f"or a passphrase of {PASSPHRASE} characters or more"
            )
        from hashlib import scrypt

        key = scrypt(text.encode(), salt=_SALT, n=1 << 14, r=8, p=1, dklen=32)
    return urlsafe_b64encode(key)


__all__ = ["NO_KEY", "NotOurs", "Vault"]
