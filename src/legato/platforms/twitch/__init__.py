"""Twitch: chat over IRC or EventSub, answers over IRC or Helix."""
