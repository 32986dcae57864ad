"""Batch files by hand: out, back in, checked, cut, read."""

__all__ = [
    "export",
    "extract",
    "import_",
    "split",
    "survey",
    "validate",
]
