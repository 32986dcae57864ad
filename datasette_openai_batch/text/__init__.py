"""Words, times, addresses and charts, for all pages."""

__all__ = [
    "charts",
    "times",
    "urls",
]
