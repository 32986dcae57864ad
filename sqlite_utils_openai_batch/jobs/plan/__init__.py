"""What was asked for becomes a job: checked, chosen, rendered, stored."""

__all__ = [
    "ask",
    "conflicts",
    "options",
    "plan",
    "prepare",
    "render",
    "words",
]
