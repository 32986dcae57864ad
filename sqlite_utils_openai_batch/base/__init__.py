"""What all rooms stand on: errors, the clock, text, JSON, statuses, endpoints, waits."""

__all__ = [
    "clock",
    "endpoints",
    "errors",
    "json",
    "outcome",
    "statuses",
    "text",
    "waits",
]
