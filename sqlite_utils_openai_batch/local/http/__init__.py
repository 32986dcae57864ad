"""Addresses, keys and downloads: requests in, replies out."""

__all__ = [
    "app",
    "gate",
    "thread",
]
