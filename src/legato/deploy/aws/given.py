"""What a version of the function was given: its settings, with the secrets that it reads; and what platforms must
be told when another version is to be live.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress

from legato.app.app import App
from legato.app.settings import VARIABLES, Settings, load_settings
from legato.deploy.aws import secrets, versions, webhook
from legato.deploy.aws.cloud import Cloud
from legato.deploy.aws.deploying import connected
from legato.deploy.aws.place import Place
from legato.deploy.function.parameters import WHICH
from legato.errors import BadToken, ConfigError, Unavailable


def settings_of(cloud: Cloud, place: Place, number: int) -> Settings:
    """The settings of a version, as it reads them itself when it starts.

    Raises:
        ConfigError: A secret of it is gone.
    """
    variables = versions.variables(cloud, place, number)
    wanted = [one for one in variables.get(WHICH, "").split(",") if one]
    found = secrets.read(cloud, place, wanted)
    gone = [one for one in wanted if one.partition(":")[0] not in found]
    if gone:
        raise ConfigError(
            f"Parameter Store has no {place.parameters}{gone[0]}, which version {number} reads"
        )
    known = {name: value for name, value in (variables | found).items() if name in VARIABLES}
    return load_settings(environ=known)


def live(cloud: Cloud, place: Place) -> Settings | None:
    """The same of the live version, None if there is none."""
    number = cloud.maybe(lambda: versions.live(cloud, place), versions.ABSENT)
    return None if number is None else settings_of(cloud, place, number)


# -- another version is to be live -----------------------------------------------------------------


def wiring(
    cloud: Cloud,
    place: Place,
    app: App | None,
    outputs: Mapping[str, str],
    change: tuple[int, int],
) -> Callable[[], None] | None:
    """What lets the platforms send as a version expects it, None if they do: one with another secret would refuse
    what they send.

    Args:
        cloud: Where.
        place: Which bot.
        app: The bot, None if its code is not here.
        outputs: Of its stack.
        change: Numbers of the versions that are and will be live.

    Raises:
        ConfigError: It cannot be done: the token is not valid any more, say.
    """
    old, new = change
    then = settings_of(cloud, place, new)
    try:
        now = settings_of(cloud, place, old)
    except ConfigError:
        now = Settings()  # it cannot start any more
    if _of_platforms(now) == _of_platforms(then):
        return None
    if app is None:
        raise ConfigError(
            f"version {new} has other tokens or secrets than {old}, so the webhook must be set for it: name the bot's "
            "file instead of --name"
        )
    base = asyncio.run(_base(now, then, outputs["Url"]))

    def wire() -> None:
        try:
            asyncio.run(connected(app, then, cloud, outputs, base))
        except (ConfigError, Unavailable) as error:
            raise ConfigError(f"version {new} is live, but {error}") from error

    return wire


def _of_platforms(settings: Settings) -> dict[str, object]:
    fields = [variable.field for variable in VARIABLES.values()]
    return {
        field: getattr(settings, field)
        for field in fields
        if field.startswith(("telegram_", "twitch_"))
    }


async def _base(now: Settings, then: Settings, own: str) -> str:
    """Where platforms send to: an address of one's own may stand before the function's. Tries the token, too."""
    from legato.deploy.transport import Transport

    found = ""
    http = Transport()
    try:
        if now.telegram_token:
            with suppress(BadToken):  # that may be why there is a rollback
                info = await webhook.webhook_info(now, http)
                found = str(info.get("url", "")).removesuffix("/telegram")
        if then.telegram_token:
            await webhook.webhook_info(then, http)
    except Unavailable as error:
        raise ConfigError(f"{error}: it must be told of another secret") from error
    finally:
        await http.close()
    return found or own.rstrip("/")


__all__ = ["live", "settings_of", "wiring"]
