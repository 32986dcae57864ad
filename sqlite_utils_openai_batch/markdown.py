"""Text as Markdown that shows just this text."""

from __future__ import annotations


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
