"""What the published API says: bodies, answers, errors, shapes."""

__all__ = [
    "answers",
    "bodies",
    "errors",
    "events",
    "lines",
    "shapes",
]
