"""A response line becomes an outcome, and an answer the values of its schema's columns."""

__all__ = [
    "codebook",
    "confidence",
    "jsonl",
    "outcome",
    "reader",
    "schema",
    "strict",
    "wire",
]
