"""The App, its triggers and the runtime that joins all parts."""
