"""A job's life: planned, sent, collected, written back, mended."""

__all__ = [
    "apply",
    "files",
    "manage",
    "plan",
    "queue",
    "revert",
    "sync",
    "trial",
]
