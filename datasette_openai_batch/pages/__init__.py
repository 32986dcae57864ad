"""The pages, a module a page or a section of one."""

__all__ = [
    "on_datasette",
    "views",
]
