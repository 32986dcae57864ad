"""People's labels beside the answers: samples, sheets, turns, columns."""

__all__ = [
    "coders",
    "columns",
    "sample",
    "sheet",
    "turns",
]
