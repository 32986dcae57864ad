"""Names that the rest of the plugin shares."""

from __future__ import annotations

# The tables and the view of the core package, which hold every job.
TABLES = (
    "openai_batch_jobs",
    "openai_batch_parts",
    "openai_batch_batches",
    "openai_batch_requests",
    "openai_batch_responses",
    "openai_batch_limits",
    "openai_batch_log",
    "openai_batch_samples",
    "openai_batch_reviews",
    "openai_batch_reviewed",
    "openai_batch_drafts",
    "openai_batch_results",
)


def is_ours(table: str) -> bool:
    """Whether a table holds jobs; SQLite's names ignore ASCII case."""
    return table.lower() in TABLES
