"""What people download: CSV, Excel, raw responses, streamed from the database."""

__all__ = [
    "views",
]
