"""OpenAI, and whoever speaks its API: client, batches, errors, accounts, places."""

__all__ = [
    "accounts",
    "azure",
    "batch",
    "client",
    "errors",
    "lazy_types",
    "places",
]
