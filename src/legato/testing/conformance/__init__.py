"""Suites that every implementation must pass."""
