"""The ugly parts of the real API, by name, for those who test against them."""

__all__ = [
    "answers",
    "connections",
    "files",
    "registry",
]
