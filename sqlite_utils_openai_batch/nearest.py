"""Names in error messages: the ones that exist, the nearest to what was typed first."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher

SHOWN = 20


def nearest_first(typed: str, names: Iterable[str]) -> list[str]:
    """Return `names` by likeness to `typed`, capitals not counted; equals keep their order."""
    wanted = typed.casefold()
    return sorted(names, key=lambda name: -SequenceMatcher(None, wanted, name.casefold()).ratio())


def meant(typed: str, names: Iterable[str]) -> str:
    """Return "Did you mean x? " for the name that is near to `typed`, or nothing."""
    for name in nearest_first(typed, names)[:1]:
        if SequenceMatcher(None, typed.casefold(), name.casefold()).ratio() >= 0.6:
            return f"Did you mean {name}? "
    return ""


def listed(names: Iterable[str]) -> str:
    """Join names with commas; of a long list the first 20 and how many more there are."""
    every = list(names)
    text = ", ".join(every[:SHOWN])
    more = len(every) - SHOWN
    return f"{text} and {more} more" if more > 0 else text
