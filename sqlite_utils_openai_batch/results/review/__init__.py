"""People's labels beside the answers: samples, sheets, turns, columns."""

__all__ = [
    "columns",
    "sample",
    "sheet",
    "turns",
]
