"""A job's life: planned, sent, collected, written back, mended."""

__all__ = [
    "account",
    "apply",
    "files",
    "first_part",
    "manage",
    "new_job",
    "plan",
    "queue",
    "revert",
    "sync",
    "trial",
    "trust",
    "vote",
    "writeback",
]
