"""Files and batches as the server keeps them, and the work on their lines."""

__all__ = [
    "batches",
    "files",
    "runner",
    "store",
    "uploads",
    "webhooks",
]
