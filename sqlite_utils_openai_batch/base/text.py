"""How figures and texts are written for people, the same on every screen and page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from typing import Any

COMMAND = "sqlite-utils openai-batch"

#: Characters of text that are written at once: about what a processor's cache holds, and less than
#: what the C library asks the system for anew each time (128 KB).
PIECE_CHARACTERS = 64_000

# What rewrites a screen instead of being shown on it: control characters (C0, DEL, C1), overrides
# of the direction of writing, and half a character that no stream can encode. Tabs and the ends of
# lines are our own layout.
_HIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """`1 row`, `39,012 rows`."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def size(count: int) -> str:
    """A number of bytes: `812 B`, `41.2 MB`."""
    if count < 1_000:
        return f"{count} B"
    amount = float(count)
    for unit in ("KB", "MB", "GB"):
        amount /= 1_000
        if amount < 999.95:
            return f"{amount:.1f} {unit}"
    return f"{amount / 1_000:.1f} TB"


def duration(seconds: float) -> str:
    """A span of time: `4.7 s`, `12 min`, `1 h 39 min`, `3 days`."""
    if seconds < 59.5:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        hours, rest = divmod(minutes, 60)
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"{round(minutes / 1440)} days"


def hundredths(value: float) -> str:
    """A coefficient: `0.87`, never `-0.00`."""
    return f"{round(float(value), 2) + 0.0:.2f}"


def kappa_words(value: float, low: float, high: float) -> str:
    """κ and its interval, without one where it has no width: `κ 0.71 (95 %: 0.63 to 0.79)`."""
    ends = hundredths(low), hundredths(high)
    interval = f" (95 %: {ends[0]} to {ends[1]})" if ends[0] != ends[1] else ""
    return f"κ {hundredths(value)}{interval}"


def percent(part: int, whole: int) -> str:
    """A share: `99.7 %`; nothing of nothing is 0."""
    return f"{100 * part / whole if whole else 0:.1f} %"


def cut(text: str, width: int) -> str:
    """One line of at most `width` characters; `…` stands for what was left out."""
    # A cell may hold megabytes; white space rarely makes more than a fraction of its beginning.
    line = visible(" ".join(text[: 50 * width].split()))
    return line if len(line) <= width else line[: width - 1] + "…"


def visible(text: str, *, json: bool = False) -> str:
    r"""Text with what would act on a terminal written out: `\x1b`, `\x9b`, `\u202e`.

    Line breaks and tabs stay. With `json` the escapes are those of JSON.
    """
    form = (lambda found: rf"\u{ord(found[0]):04x}") if json else _escaped
    return _HIDDEN.sub(form, text.replace("\r\n", "\n"))


def oneline(text: str) -> str:
    r"""A name or value for a place within a line: as `visible`, and its line breaks as `\n`."""
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code == 13:
        return r"\r"
    return rf"\x{code:02x}" if code < 256 else rf"\u{code:04x}"


# Text as Markdown that shows just this text.


def plain(text: str) -> str:
    """Text on one line, with the characters escaped that Markdown or HTML would act on."""
    line = " ".join(text.split())
    return "".join(
        f"\\{letter}" if letter in "\\`*[]|#~" else {"<": "&lt;", "&": "&amp;"}.get(letter, letter)
        for letter in line
    )


def code(text: str) -> str:
    """Text on one line as code, whatever it holds."""
    line = " ".join(text.split()).replace("|", "\\|")
    ticks = "`"
    while ticks in line:
        ticks += "`"
    space = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{ticks}{space}{line}{space}{ticks}"


def fenced(text: str, language: str = "") -> str:
    """Text in a code block whose fence is longer than any in the text."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text}\n{fence}"


# Names in error messages: the ones that exist, the nearest to what was typed first.

SHOWN = 20
#: How alike two names are, from 0 to 1, where one may be meant by the other.
ALIKE = 0.6


def nearest_first(typed: str, names: Iterable[str]) -> list[str]:
    """Return `names` by likeness to `typed`, capitals not counted; equals keep their order."""
    wanted = typed.casefold()
    return sorted(names, key=lambda name: -SequenceMatcher(None, wanted, name.casefold()).ratio())


def near(typed: str, names: Iterable[str], most: int = 3) -> list[str]:
    """Return the few of `names` that are near to `typed`, the nearest first."""
    wanted = typed.casefold()
    return [
        name
        for name in nearest_first(typed, names)[:most]
        if SequenceMatcher(None, wanted, name.casefold()).ratio() >= ALIKE
    ]


def nearest(typed: str, names: Iterable[str]) -> str | None:
    """Return the name that is nearest to `typed`, if it is near at all."""
    return next(iter(near(typed, names, 1)), None)


def meant(typed: str, names: Iterable[str]) -> str:
    """Return "Did you mean x? " for the name that is near to `typed`, or nothing."""
    name = nearest(typed, names)
    return "" if name is None else f"Did you mean {named(name)}? "


def named(name: str) -> str:
    """A name in a sentence: in quotes where nobody would see where it begins or ends."""
    plain = name == " ".join(name.split()) and name and "," not in name
    return name if plain else f"'{name}'"


def listed(names: Iterable[str]) -> str:
    """Join names with commas; of a long list the first 20 and how many more there are."""
    every = list(names)
    text = ", ".join(map(named, every[:SHOWN]))
    more = len(every) - SHOWN
    return f"{text} and {more} more" if more > 0 else text


def key_words(key: Any, columns: Sequence[str]) -> str:
    """A row's key as people read it, given its columns."""
    if len(columns) > 1:
        key = "/".join(str(value) for value in json.loads(key))
    return oneline(str(key))
