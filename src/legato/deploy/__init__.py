"""Shells: how an App is run."""
