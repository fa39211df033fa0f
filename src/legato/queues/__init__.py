"""Queues between gateways and workers."""
