"""What people read in a terminal, a module a screen."""

__all__ = [
    "compare",
    "end",
    "estimate",
    "job",
    "plan",
    "shares",
    "spent",
    "text",
    "trial",
]
