"""The strings of a request body: where each stands, and what it is there for (pure)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .compiled import Slot

Path = tuple[str | int, ...]

#: Parts of a body whose placeholders ask nothing.
_ASIDE = frozenset({"model", "metadata", "user", "safety_identifier", "prompt_cache_key"})
_SYSTEM_ROLES = frozenset({"system", "developer"})


def strings_of(value: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Yield each string value of a body with its path, in order; keys aren't rendered."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from strings_of(one, (*path, key))
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from strings_of(one, (*path, index))


def is_image(path: Path) -> bool:
    """Whether a string of a body is an image's URL, in chat completions or in responses."""
    return path[-2:] == ("image_url", "url") or path[-1] == "image_url"


def asking_columns(body: dict[str, Any], slots: dict[Path, Slot]) -> frozenset[str]:
    """Return the columns that say what is asked of a row: a row where they are blank is blank.

    They are those of the prompt; where it has none, those of the system text.
    """
    texts = {path: slot for path, slot in slots.items() if path[0] not in _ASIDE}
    prompts = [slot for path, slot in texts.items() if not is_system(path, body)]
    for some in (prompts, texts.values()):
        shows = frozenset[str]().union(*(slot.shows for slot in some))
        if shows := shows or frozenset[str]().union(*(slot.reads for slot in some)):
            return shows
    return frozenset()


def is_system(path: Path, body: dict[str, Any]) -> bool:
    """Whether a string tells the model how to behave, and asks nothing itself."""
    return path == ("instructions",) or _role(path, body) in _SYSTEM_ROLES


def _role(path: Path, body: dict[str, Any]) -> Any:
    """Return the role of the message that a string stands in, None outside messages."""
    if path[0] in ("messages", "input") and len(path) > 2:
        message = body[str(path[0])][path[1]]
        return message.get("role") if isinstance(message, dict) else None
    return None


def place_of(path: Path, body: dict[str, Any]) -> str:
    """Name a string for a person: the prompt, the system text, or its path."""
    role = _role(path, body)
    if is_system(path, body) and len(path) in (1, 3):
        return "The system text"
    if path in (("input",), ("prompt",)) or (role == "user" and len(path) == 3):
        return "The prompt"
    steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return steps[1:]
