"""The adapters that a process runs, by the bots they are for."""

from __future__ import annotations

from collections.abc import Sequence

from legato.abc import Offered, Platform
from legato.app.nowhere import NAME, Nowhere
from legato.model.events import Address

NOWHERE = Nowhere()


class Adapters:
    """Finds a bot's adapter. Some learn which bot they are for only when they are loaded or set up,
    so whoever is not found is looked for once more.

    Args:
        platforms: The adapters.
        commands: What the bot offers, for their menus.

    Attributes:
        by_bot: The adapters by (platform, bot), as far as was known.
    """

    __slots__ = ("by_bot",)

    def __init__(self, platforms: Sequence[Platform], commands: Sequence[Offered] = ()) -> None:
        for platform in platforms:
            platform.offer(commands)
        self.by_bot: dict[tuple[str, str], Platform] = {(p.name, p.bot): p for p in platforms}

    def __call__(self, place: Address) -> Platform | None:
        """The adapter of a place, None if this process does not run that bot."""
        found = self.by_bot.get((place.platform, place.bot))
        if found is None and place.platform == NAME:
            return NOWHERE
        if found is None:
            for (name, bot), platform in list(self.by_bot.items()):
                if platform.bot != bot:
                    del self.by_bot[name, bot]
                    self.by_bot[name, platform.bot] = platform
            found = self.by_bot.get((place.platform, place.bot))
        return found
