"""The names of everything that belongs to one bot in an account and region."""

from __future__ import annotations

from msgspec import Struct

from legato.errors import ConfigError

ALIAS = "live"
"""Of the function: where requests go."""
LONGEST = 40


class Place(Struct, frozen=True):
    """One bot.

    Attributes:
        name: Letters, digits and "-".
    """

    name: str

    @property
    def stack(self) -> str:
        """Of the stack, and of the function in it."""
        return f"legato-{self.name}"

    @property
    def parameters(self) -> str:
        """Where its secrets stand in Parameter Store."""
        return f"/legato/{self.name}/"

    @property
    def prefix(self) -> str:
        """Of its zips in the bucket."""
        return f"{self.stack}/"

    def key(self, sha256: str) -> str:
        """Of one zip in the bucket."""
        return f"{self.prefix}{sha256}.zip"


def place_of(name: str) -> Place:
    """The place of a bot by its name: an App's, or what --name says.

    Raises:
        ConfigError: Nothing is left of the name.
    """
    text = "".join(c if c.isascii() and c.isalnum() else "-" for c in name.lower()).strip("-")
    while "--" in text:
        text = text.replace("--", "-")
    if not text or len(text) > LONGEST or not text[0].isalpha():
        raise ConfigError(
            f"{name!r:.60} makes no name of a stack: give one of letters, digits and '-', up to {LONGEST}, with "
            "--name"
        )
    return Place(text)


__all__ = ["ALIAS", "Place", "place_of"]
