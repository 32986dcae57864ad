"""People label a job's rows in the browser: which rows, one at a time, and what came of it."""

__all__ = [
    "views",
]
