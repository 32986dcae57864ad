"""What is said of a plan: what it reads, asks and writes, and what to know before paying."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from typing import Any

from ...base.parameters import RESPONSES
from ...base.text import counted, cut, key_words, meant, oneline, size
from ...pricing.estimate import CAPPED, Estimate
from ...pricing.prices import known_models
from ...provider.places import Place
from ...requests.attachments import read_attached
from ...requests.body import elsewhere
from ..first_part import wanted
from ..first_part import words as first_part_words
from ..queue import queue_figures
from .plan import Plan
from .prepare import is_shown
from .render import Tally


def said(body: dict[str, Any]) -> Iterable[tuple[str, str]]:
    """Who says what in a request's body."""
    if "instructions" in body:
        yield "system", str(body["instructions"])
    for message in body.get("messages", []):
        yield from told(str(message.get("role")), message.get("content"))
    if "input" in body:
        value = body["input"]
        if isinstance(value, list) and all(isinstance(one, dict) for one in value):
            for message in value:
                yield from told(str(message.get("role")), message.get("content"))
        else:
            yield from told("input", value)


def told(role: str, content: Any) -> Iterable[tuple[str, str]]:
    """What one message says: its text, and the images that it shows."""
    parts = content if isinstance(content, list) else [content]
    if not all(isinstance(part, str | dict) for part in parts):
        parts = [json.dumps(content, ensure_ascii=False)]
    for part in parts:
        if isinstance(part, str):
            yield role, part
        elif "image_url" in part:
            given = part["image_url"]
            yield "image", image_words(str(given.get("url") if isinstance(given, dict) else given))
        elif (words := attached_words(part)) is not None:
            yield words
        else:
            yield role, str(part.get("text") or json.dumps(part, ensure_ascii=False))


def attached_words(part: dict[str, Any]) -> tuple[str, str] | None:
    """A PDF or sound in a request: its name, how large it is, its pages; None for other parts."""
    found = read_attached(part)
    if found is None:
        return None
    holder = part.get("file") or part.get("input_audio") or part
    data = str(holder.get("file_data") or holder.get("data") or "").rpartition(",")[2]
    named = holder.get("filename") or holder.get("file_url") or holder.get("format") or ""
    words = [str(named), size(len(data) * 3 // 4)] if data else [str(named)]
    if found.pages is not None:
        words.append(counted(found.pages, "page"))
    return found.kind, f"{', '.join(words)}, tokens not estimated"


def image_words(url: str) -> str:
    """An image in a request: its address, or what its data URL holds."""
    kind, comma, data = url.partition(";base64,")
    if not comma:
        return url
    return f"{kind.removeprefix('data:')}, {size(len(data) * 3 // 4)}"


def reads_words(plan: Plan) -> str:
    """Which columns the requests are made of."""
    whole = len(plan.source.columns)
    used = plan.renderer.columns
    names = cut(", ".join(used), 80)
    return f"{names} ({len(used):,} of {counted(whole, 'column')})"


def source_name(plan: Plan) -> str:
    """The source, for a sentence."""
    return oneline(plan.source.name or "the query")


def writes_words(plan: Plan) -> str:
    """Which columns will be written, and where."""
    if not plan.output.write:
        return "nothing (--no-write): the answers stay in the job"
    table = plan.output.table or plan.source.name
    columns = ", ".join(f"{table}.{column.name} {column.type}" for column in plan.output.columns)
    if plan.output.table:
        return f"{columns} (table {plan.output.table})"
    return columns


def first_words(conn: sqlite3.Connection, plan: Plan, tally: Tally, place: Place) -> str | None:
    """What there is to say of the part that goes ahead; None where none does."""
    asked = wanted({"first_part": plan.ask.first_part, "first_wait": plan.ask.first_wait})
    limit = queue_figures(conn, plan.ask.money, plan.model)["limit"]
    found = tally.estimate
    cut = bool(limit and found and (found.input.tokens or 0) * 2 > limit)
    parts = 2 if cut else tally.parts
    shown = is_shown(conn, plan, place.provider, place.base_url) if parts > 1 else None
    return first_part_words(asked, parts, tally.first_requests, shown)


def all_warnings(plan: Plan, tally: Tally) -> list[str]:
    """What to say before anything is paid, about the source and about the money."""
    estimated = estimate_warnings(tally.estimate, plan) if tally.estimate else ()
    return [*plan.warnings, *capital_warnings(plan), *estimated]


def capital_warnings(plan: Plan) -> list[str]:
    """What to say of a model's name with capitals, which OpenAI's models haven't.

    Prices are found all the same, so nothing else tells.
    """
    ask, model = plan.ask, plan.model
    small = model.lower()
    if (
        model == small
        or model.startswith("ft:")
        or ask.provider != "openai"
        or elsewhere(ask.provider, ask.money.base_url)
    ):
        return []
    return [f"OpenAI has no model '{model}', its names have no capitals. Did you mean {small}?"]


def preview_warnings(plan: Plan, tally: Tally, place: Place, free: int) -> list[str]:
    """What only `preview` can say: `run` asks the server itself, and tries the disk."""
    warnings = []
    money = plan.ask.money
    if place.host == "api.openai.com" and money.prices is None and money.window is None:
        near = meant(plan.model, known_models()) or "Is it spelled so?"
        warnings.append(f"no model '{plan.model}' of OpenAI's is known here. {near.strip()}")
    if tally.largest_part > free:
        warnings.append(
            f"a part takes {size(tally.largest_part)} while it is sent, and {size(free)} are "
            "free where temporary files go. Set TMPDIR, or make parts smaller with --part-bytes."
        )
    return warnings


def nothing_to_ask(plan: Plan) -> str:
    """The sentence for a source without rows."""
    name = plan.source.name or "the query"
    if plan.ask.changed:
        return f"Nothing in {name} has changed since it was asked: nothing to ask."
    if plan.ask.missing:
        return f"No row of {name} lacks an answer that it could still get: nothing to ask."
    if plan.ask.where or plan.ask.limit is not None:
        return f"No rows of {name} match: nothing to ask."
    return f"{name} has no rows: nothing to ask."


def all_blank(plan: Plan, tally: Tally) -> str:
    """The sentence for a source none of whose rows has anything to ask about."""
    one = tally.blank == 1
    if plan.whole() not in (None, tally.blank):
        rows = "The one chosen row" if one else f"All {tally.blank:,} chosen rows"
    else:
        rows = "The only row" if one else f"All {tally.blank:,} rows"
    return (
        f"{rows} of {plan.source.name or 'the query'} {'is' if one else 'are'} blank "
        f"in {', '.join(plan.renderer.prompt_columns)}: nothing to ask. "
        "Ask all the same with --blanks send."
    )


def estimate_warnings(found: Estimate, plan: Plan) -> list[str]:
    """What a person should know before paying."""
    warnings = []
    if found.too_long:
        name = ".".join(
            part for part in (plan.source.name, "/".join(plan.source.key_columns)) if part
        )
        keys = plan.source.key_columns
        shown = ", ".join(
            f"{key_words(one.row_key, keys)} ({one.tokens:,} tokens)" for one in found.too_long[:3]
        )
        more = " …" if len(found.too_long) > 3 else ""
        one = len(found.too_long) == 1
        warnings.append(
            f"{counted(len(found.too_long), 'row')} {'is' if one else 'are'} longer than the "
            f"{found.money.window:,} tokens that {plan.model} holds, and would fail: "
            f"{name} {shown}{more}"
        )
    if found.requests and found.money.prices is not None and found.cap.source not in CAPPED:
        bound = f"up to {found.cap.tokens:,} tokens each" if found.cap.tokens else "without end"
        warnings.append(
            f"answers have no cap, so {plan.model} may write {bound}. "
            f"-o {cap_option(plan)} N bounds what they cost."
        )
    return warnings


def cap_option(plan: Plan) -> str:
    """The parameter that caps answers at the endpoint of a plan."""
    return "max_output_tokens" if plan.template.endpoint == RESPONSES else "max_tokens"


def row_words(plan: Plan, key: Any) -> str:
    """A row and its key: `movies.title = Heat`."""
    name = ".".join(filter(None, (plan.source.name, "/".join(plan.source.key_columns))))
    return f"{oneline(name)} = {key_words(key, plan.source.key_columns)}"
