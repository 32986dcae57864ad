"""What the pages read from the database."""

__all__ = [
    "parts",
    "queries",
    "rows",
    "samples",
]
