"""New jobs from the browser: a form, a look, a try, a question."""

__all__ = [
    "views",
]
