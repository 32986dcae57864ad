"""The person's own tables: rows are read, answer columns written, and both undone."""

__all__ = [
    "brought",
    "columns",
    "files",
    "hashing",
    "lines",
    "output",
    "relation",
    "source",
    "sql",
    "stale",
    "target",
    "triggers",
    "undo",
]
