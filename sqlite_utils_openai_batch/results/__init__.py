"""What people take away: rows with answers, a report, a comparison, months."""

__all__ = [
    "agreement",
    "compare",
    "months",
    "recipe",
    "report",
    "results",
    "words",
    "xlsx",
]
