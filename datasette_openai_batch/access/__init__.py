"""Who may see what: permissions, the jobs of a database, the job of an address."""

__all__ = [
    "courtesy",
    "forgery",
    "job",
    "labels",
    "limits",
    "lists",
    "permissions",
    "request",
    "settings",
]
