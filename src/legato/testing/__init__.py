"""The test kit that Legato ships for bots and for adapters; nothing else in Legato imports it."""
