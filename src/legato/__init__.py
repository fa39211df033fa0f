"""Legato: write a chat conversation as one plain async function and run it anywhere."""
