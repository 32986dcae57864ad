"""Batch files by hand: out, back in, checked, cut, read."""

__all__ = [
    "beside",
    "export",
    "extract",
    "import_",
    "own",
    "split",
    "survey",
    "validate",
]
