"""Lists of a server, a page at a time, whatever it makes of paging."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from .refused import explained


def pages(base_url: str, call: Callable[..., Any], **options: Any) -> Iterator[list[Any]]:
    """The pages of a list, none of them empty.

    Stops by itself where a server ignores `after` and sends the same page for ever.
    """
    seen: set[str] = set()
    while True:
        with explained(base_url):
            page = call(**options)
            fresh = [one for one in page.data or [] if one.id not in seen]
        if fresh:
            yield fresh
        seen.update(one.id for one in fresh)
        if not fresh or page.has_more is False:
            return
        options["after"] = fresh[-1].id


def ends_before(unix: float, times: Sequence[float]) -> bool:
    """Whether a page of a list is newest first and ends before that time; 0 is a time not told."""
    in_order = all(one >= other for one, other in pairwise(times))
    return in_order and 0 < times[-1] < unix
