"""Files and batches as the server keeps them, and the work on their lines."""

__all__ = [
    "answering",
    "batches",
    "files",
    "runner",
    "store",
    "uploads",
    "webhooks",
]
