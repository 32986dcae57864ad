"""Which address leads where."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .views import all_jobs_page, jobs_page

DATABASE = r"(?P<database>[^/]+)"

ROUTES: list[tuple[str, Callable[..., Any]]] = [
    (r"^/-/openai-batch$", all_jobs_page),
    (rf"^/{DATABASE}/-/openai-batch$", jobs_page),
]
