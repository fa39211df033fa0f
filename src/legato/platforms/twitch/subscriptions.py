"""Makes the subscriptions of a webhook be what they should be."""

from __future__ import annotations

import asyncio
import logging

from msgspec import Struct

from legato.abc import HttpClient, HttpResponse, Store
from legato.errors import ConfigError, Unavailable
from legato.platforms.twitch import eventsub
from legato.platforms.twitch.events import CHAT_MESSAGE
from legato.platforms.twitch.eventsub import Subscription
from legato.platforms.twitch.helix import Helix, problem_of

log: logging.Logger = logging.getLogger("legato.twitch")

PAGES = 100
AT_ONCE = 8
"""Requests side by side."""


class Reconciled(Struct, frozen=True):
    """What became of it.

    Attributes:
        created, deleted: How many.
        refused: Why not, by channel.
        waiting: Channels whose callback Twitch has yet to verify.
    """

    created: int
    deleted: int
    refused: dict[str, str]
    waiting: tuple[str, ...]


async def reconcile(
    helix: Helix,
    http: HttpClient,
    store: Store,
    *,
    channels: tuple[str, ...],
    callback: str,
    secret: str,
    renew: bool = False,
) -> Reconciled:
    """Deletes what is dead, doubled or not wanted any more, and creates what is missing. Idempotent.

    Raises:
        BadToken: The application is not taken.
        Unavailable: Twitch does not answer; perhaps only a part was done.
    """
    found = await listed(helix, http, store)
    plan = eventsub.plan(found, channels, helix.bot, callback, renew=renew)
    for one in found:
        if one.id in plan.delete and one.status not in eventsub.ALIVE:
            log.warning("Twitch had ended the messages of channel %s (%s)", one.channel, one.status)
    gate = asyncio.Semaphore(AT_ONCE)

    async def delete(subscription_id: str) -> None:
        async with gate:
            params: dict[str, object] = {"id": subscription_id}
            response = await helix.ask(
                "delete_eventsub_subscription", params, http, store, as_app=True
            )
            if response.status not in (204, 404):
                raise Unavailable(f"a subscription could not be deleted: {_said(response)}")

    async def create(channel: str) -> tuple[str, str]:
        async with gate:
            transport: dict[str, object] = {
                "method": "webhook",
                "callback": callback,
                "secret": secret,
            }
            return channel, await subscribe(helix, http, store, channel, transport, as_app=True)

    await asyncio.gather(*(delete(one) for one in plan.delete))
    made = await asyncio.gather(*(create(channel) for channel in plan.create))
    refused = {channel: why for channel, why in made if why}
    for channel, why in refused.items():
        log.error("Twitch will not tell what is said in channel %s: %s", channel, why)
    waiting = tuple(one.channel for one in plan.keep if one.status == eventsub.PENDING)
    return Reconciled(len(made) - len(refused), len(plan.delete), refused, waiting)


async def listed(helix: Helix, http: HttpClient, store: Store) -> list[Subscription]:
    """All subscriptions of the application to what is said in channels.

    Raises:
        BadToken, Unavailable: As `reconcile`.
    """
    found: list[Subscription] = []
    params: dict[str, object] = {"type": CHAT_MESSAGE}
    for _ in range(PAGES):
        response = await helix.ask("get_eventsub_subscriptions", params, http, store, as_app=True)
        if response.status != 200:
            raise ConfigError(f"Twitch does not list the subscriptions: {_said(response)}")
        try:
            data, cursor = eventsub.page(response.body)
        except ValueError as error:
            raise Unavailable("Twitch's list of subscriptions cannot be read") from error
        found += data
        if not cursor:
            break
        params = params | {"after": cursor}
    return found


async def subscribe(
    helix: Helix,
    http: HttpClient,
    store: Store,
    channel: str,
    transport: dict[str, object],
    *,
    as_app: bool = False,
) -> str:
    """Subscribes to what is said in a channel; returns why not, "" if it is done (or was before).

    Raises:
        BadToken, Unavailable: As `reconcile`.
    """
    params = eventsub.subscription_to(channel, helix.bot, transport)
    response = await helix.ask("create_eventsub_subscription", params, http, store, as_app=as_app)
    if response.status in (200, 202, 409):
        return ""
    cure = ""
    if response.status == 403:
        cure = " (the broadcaster must let the bot in: make it a moderator, or grant channel:bot)"
    return _said(response) + cure


def _said(response: HttpResponse) -> str:
    problem = problem_of(response)
    return f"HTTP {response.status} {problem.message or problem.error}"[:300]
