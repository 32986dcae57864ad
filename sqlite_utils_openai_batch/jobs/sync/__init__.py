"""One pass over jobs: reconcile, send what fits, poll, collect, write back."""

__all__ = [
    "collect",
    "context",
    "engine",
    "lookup",
    "outgoing",
    "send",
    "settle",
    "staging",
    "watch",
]
