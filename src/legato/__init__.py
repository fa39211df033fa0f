"""Legato: durable straight-line chat dialogs."""
