"""The names of everything that belongs to one bot in an account and region."""

from __future__ import annotations

from msgspec import Struct

from legato.errors import ConfigError

ALIAS = "live"
"""Of the function: where requests go."""
LONGEST = 40
RULE = f"lower-case letters, digits and single '-', a letter first, up to {LONGEST} of them"


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
    """The place of a bot by the name of its App, which may hold other characters.

    Raises:
        ConfigError: Nothing is left of the name.
    """
    text = _plain(name)
    if not _fits(text):
        raise ConfigError(
            f"the App's name {name!r:.60} makes no name of a stack: give one by --name, {RULE}"
        )
    return Place(text)


def place_named(name: str) -> Place:
    """The place that --name says: as it is written, or not at all, since another bot could be meant.

    Raises:
        ConfigError: It is no name.
    """
    text = _plain(name)
    if text != name or not _fits(text):
        like = f", as in {text}" if _fits(text) else ""
        raise ConfigError(f"--name {name!r:.60} is no name of a stack: write {RULE}{like}")
    return Place(text)


def _plain(name: str) -> str:
    text = "".join(c if c.isascii() and c.isalnum() else "-" for c in name.lower()).strip("-")
    while "--" in text:
        text = text.replace("--", "-")
    return text


def _fits(text: str) -> bool:
    return 0 < len(text) <= LONGEST and text[0].isalpha()


__all__ = ["ALIAS", "Place", "place_named", "place_of"]
