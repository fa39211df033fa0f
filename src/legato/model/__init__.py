"""Frozen data without I/O: events, messages, records, and the codec of journaled values."""
