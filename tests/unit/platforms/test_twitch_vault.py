"""What the store keeps encrypted, and with which keys."""

import os
import sys
from base64 import b64encode, urlsafe_b64encode

import pytest
from cryptography.fernet import Fernet

from legato.errors import ConfigError, MissingExtra
from legato.platforms.twitch.vault import NotOurs, Vault

RAW = bytes(range(200, 232))
STANDARD = b64encode(RAW).decode()


@pytest.mark.parametrize(
    "key",
    [
        STANDARD,
        STANDARD.rstrip("="),
        urlsafe_b64encode(RAW).decode(),
        f" {STANDARD}\n",
        "a passphrase that somebody remembers",
        "k" * 32,
    ],
)
def test_a_key_opens_what_it_sealed_and_what_is_kept_shows_nothing(key: str) -> None:
    sealed = Vault(key).seal(b"canary")

    assert b"canary" not in sealed
    assert Vault(key).open(sealed) == b"canary"
    assert Vault(key).seal(b"canary") != sealed
    with pytest.raises(NotOurs):
        Vault(Fernet.generate_key().decode()).open(sealed)


def test_base64_of_32_bytes_is_the_fernet_key_itself() -> None:
    sealed = Vault(STANDARD).seal(b"canary")

    assert Fernet(urlsafe_b64encode(RAW)).decrypt(sealed) == b"canary"


def test_a_new_key_before_the_old_one_seals_and_both_open() -> None:
    old, new = Vault("the old passphrase"), Vault("the new passphrase")
    both = Vault("the new passphrase, the old passphrase")

    assert both.open(old.seal(b"x")) == b"x"
    assert new.open(both.seal(b"x")) == b"x"


def test_a_changed_byte_is_noticed() -> None:
    vault = Vault(STANDARD)
    sealed = bytearray(vault.seal(b"canary"))
    sealed[40] ^= 1

    with pytest.raises(NotOurs):
        vault.open(bytes(sealed))


@pytest.mark.parametrize(
    "key", ["", " ", ",", "short", "x" * 15, "a passphrase that is fine,short"]
)
def test_no_key_and_a_short_one_are_refused_without_being_shown(key: str) -> None:
    with pytest.raises(ConfigError, match="openssl rand -base64 32") as caught:
        Vault(key)
    assert "xxx" not in str(caught.value)


def test_without_the_package_its_pip_line_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.fernet", None)

    with pytest.raises(MissingExtra, match=r"legato\[twitch\]"):
        Vault(b64encode(os.urandom(32)).decode())
