"""The person's own tables: rows are read, answer columns written, and both undone."""

__all__ = [
    "columns",
    "hashing",
    "output",
    "source",
    "sql",
    "stale",
    "target",
    "triggers",
    "undo",
]
