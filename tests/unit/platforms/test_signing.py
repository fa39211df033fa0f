"""Secrets are compared as bytes."""

import pytest

from legato.platforms._signing import same


@pytest.mark.parametrize(
    "other", [b"", b"secre", b"secrets", b"Secret", b"secret\x00", b"s\xc3\xa9cret"]
)
def test_only_the_secret_itself_is_the_same(other: bytes) -> None:
    assert same(b"secret", b"secret")
    assert not same(b"secret", other)
    assert not same(other, b"secret")
