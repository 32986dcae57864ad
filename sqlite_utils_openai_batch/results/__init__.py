"""What people take away: rows with answers, a report, a comparison, months."""

__all__ = [
    "advice",
    "again",
    "agreement",
    "calibration",
    "compare",
    "csv",
    "months",
    "reader",
    "report",
    "review",
    "several",
    "shares",
    "words",
    "xlsx",
]
