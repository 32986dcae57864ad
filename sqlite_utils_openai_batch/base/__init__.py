"""What all rooms stand on: errors, the clock, text, JSON, statuses, endpoints, waits."""

__all__ = [
    "clock",
    "endpoints",
    "errors",
    "file_kinds",
    "json",
    "outcome",
    "parameters",
    "scratch",
    "statuses",
    "text",
    "text_files",
    "waits",
]
