"""The replay engine and the Turn."""
