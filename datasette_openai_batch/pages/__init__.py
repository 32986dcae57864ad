"""The pages, a module a page or a section of one."""

__all__ = [
    "images",
    "on_datasette",
    "views",
]
