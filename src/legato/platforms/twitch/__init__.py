"""Twitch: chat over IRC or EventSub, answers over IRC or Helix."""

from legato.platforms.twitch.platform import Twitch as Twitch

__all__ = ["Twitch"]
