"""`from sqlite_utils_openai_batch import Batches`: what notebooks and scripts call."""

__all__ = [
    "batches",
    "job",
    "preview",
    "results",
]
