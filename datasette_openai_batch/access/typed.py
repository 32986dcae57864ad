"""The fields of a form as they came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

#: Fields that a form may have.
MOST = 2_000


class Typed:
    """The fields of a form as they came."""

    def __init__(self, values: Mapping[str, Sequence[str]]) -> None:
        self.values = {name: list(found) for name, found in values.items()}

    def one(self, name: str) -> str:
        """The text of a field, without the spaces around it; empty where it wasn't there."""
        found = self.values.get(name)
        return found[-1].replace("\r\n", "\n").strip() if found else ""

    def all(self, name: str) -> list[str]:
        """The texts of a field that may come several times."""
        return [value.strip() for value in self.values.get(name, [])]

    def ticked(self, name: str) -> bool:
        """Whether a box is ticked."""
        return self.one(name).lower() not in ("", "0", "off", "false", "no")


async def posted(request: Any) -> Typed:
    """The form that a request posts."""
    body = (await request.post_body()).decode("utf-8", "replace")
    return Typed(parse_qs(body, keep_blank_values=True, max_num_fields=MOST))


def in_address(request: Any) -> Typed:
    """The same of its address, for forms that only look."""
    return Typed({name: request.args.getlist(name) for name in request.args})
