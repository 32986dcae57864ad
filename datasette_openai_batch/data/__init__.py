"""What the pages read from the database."""

__all__ = [
    "found",
    "parts",
    "queries",
    "rows",
    "samples",
]
