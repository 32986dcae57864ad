"""What the pages read from the database."""

__all__ = [
    "answers",
    "parts",
    "queries",
    "rows",
    "samples",
]
