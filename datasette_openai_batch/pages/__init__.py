"""The pages, a module a page or a section of one."""

__all__ = [
    "attachments",
    "images",
    "on_datasette",
    "views",
]
