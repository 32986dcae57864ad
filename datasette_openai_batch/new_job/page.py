"""What the pages of a new job show: tables, columns, models with prices, the draft in words."""

from __future__ import annotations

import json
import shlex
import sqlite3
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from datasette.utils import sqlite_timelimit

from sqlite_utils_openai_batch.base.text import COMMAND, counted, cut
from sqlite_utils_openai_batch.jobs.plan.options import words_of
from sqlite_utils_openai_batch.pricing.prices import find_prices
from sqlite_utils_openai_batch.provider.client import OPENAI_URL
from sqlite_utils_openai_batch.store.drafts import Draft
from sqlite_utils_openai_batch.tables.sql import quote

from .. import compat
from ..access import permissions
from ..access.request import Typed
from ..access.settings import Settings
from ..actions import follow
from .counts import count_words
from .filters import Chosen
from .form import CHOICES, KINDS, MORE, lines_of

#: Models that are offered where the settings name none; any other may be typed.
MODELS = ("gpt-4o-mini", "gpt-4.1-nano", "gpt-4.1-mini", "gpt-4.1", "gpt-4o", "gpt-5-nano",
          "gpt-5-mini", "gpt-5")  # fmt: skip
#: Lines of answers that an empty form has, and how many more a button adds.
LINES = 3
COUNT_MS = 500


@dataclass(frozen=True, slots=True)
class Model:
    """A model with what it costs."""

    name: str
    price: str


@dataclass(frozen=True, slots=True)
class Column:
    """A column with an example of what it holds."""

    name: str
    placeholder: str
    example: str


def placeholder(column: str) -> str:
    """What stands in a prompt for a column."""
    if column.isidentifier():
        return f"{{{{ {column} }}}}"
    return f"{{{{ row[{json.dumps(column, ensure_ascii=False)}] }}}}"


def models(settings: Settings) -> list[Model]:
    """The models that may be asked, those that are known with their prices."""
    return [Model(name, price(name)) for name in settings.models or MODELS]


@lru_cache(maxsize=200)
def price(model: str) -> str:
    """What a million tokens cost in a batch, in words; empty where that isn't known."""
    found = find_prices(model, OPENAI_URL)
    if found is None:
        return ""
    band = found.bands[0]
    return f"${band.input:g} in, ${band.output:g} out, per million tokens"


async def tables(datasette: Any, db: Any, actor: Any) -> list[str]:
    """The tables and views that somebody may ask about."""
    hidden = set(await db.hidden_table_names())
    found = [*await db.table_names(), *await db.view_names()]
    return [
        name
        for name in found
        if name not in hidden
        and not permissions.is_ours(name)
        and await compat.may_view_table(datasette, actor, db.name, name)
    ]


async def form(
    datasette: Any, db: Any, actor: Any, typed: Typed, chosen: Chosen, settings: Settings
) -> dict[str, Any]:
    """What the form needs beside what was typed."""
    table = typed.one("table")
    found = await tables(datasette, db, actor)
    columns: list[Column] = []
    keyless = False
    rows_words = ""
    if table:
        columns = await db.execute_fn(lambda conn: columns_of(conn, table))
        keyless = table in await db.view_names()
        path = str(db.path) if db.path else None
        rows_words = await db.execute_fn(lambda conn: count_words(conn, path, table, chosen))
    wanted = LINES if typed.one("do") != "more" else len(lines_of(typed)) + LINES
    lines = lines_of(typed)
    lines += [("", "text", "", "")] * max(wanted - len(lines), 0)
    return {
        "tables": found,
        "table": table,
        "columns": columns,
        "keyless": keyless or bool(typed.one("sql")),
        "rows_words": rows_words,
        # the list of prices is slow to load: not where other pages wait for it
        "models": await db.execute_fn(lambda conn: models(settings)),
        "kinds": KINDS,
        "more": any(typed.one(name) not in ("", CHOICES.get(name)) for name in MORE),
        "more_names": MORE,
        "lines": lines,
        "no_key": settings.no_key,
        "goes_to": settings.goes_to,
    }


def columns_of(conn: sqlite3.Connection, table: str) -> list[Column]:
    """The columns of a table, each with the value of its first row."""
    cursor = conn.cursor()
    cursor.row_factory = None
    try:
        with sqlite_timelimit(conn, COUNT_MS):
            cursor.execute(f"SELECT * FROM {quote(table)} LIMIT 1")
            first = cursor.fetchone()
    except sqlite3.Error:
        # a view that is broken or slow: Look says what is wrong with it
        return []
    finally:
        described = cursor.description or ()
        cursor.close()
    values = first or [None] * len(described)
    return [
        Column(one[0], placeholder(one[0]), example(value))
        for one, value in zip(described, values, strict=True)
    ]


def example(value: Any) -> str:
    """A value, for the title of its column."""
    if value is None:
        return ""
    return f"{len(value):,} bytes" if isinstance(value, bytes) else cut(str(value), 80)


def draft(settings: Settings, draft: Draft, path: str, db: Any) -> dict[str, Any]:
    """What the page of a draft shows."""
    look = draft.look
    local = bool(draft.options.get("local"))
    no_key = None if local else settings.no_key
    ceiling = draft.options.get("max_cost")
    return {
        "look": look,
        "tried": draft.tried,
        "no_key": no_key,
        "sentence": sentence(settings, draft, local) if look else "",
        "max_cost": ceiling,
        "command": command(Path(path).name, draft),
        "local": local,
        "nobody": None if follow.comes_by_itself(path, local=local) else follow.NOBODY,
    }


def sentence(settings: Settings, draft: Draft, local: bool) -> str:
    """What sending means, in one sentence."""
    look = draft.look
    rows = counted(int(look.get("asked") or 0), "row")
    source = f"{rows} of {look['source']}"
    if local:
        return f"Ask the small model on this machine about {source}. It costs nothing."
    goes = f"Send {source} to {look['model']} at {settings.goes_to}"
    if look.get("own"):
        return f"{goes}. It costs nothing (own server)."
    most = draft.options.get("max_cost")
    return f"{goes} with the key of this Datasette. At most ${most}."


def command(file: str, draft: Draft) -> str:
    """The command line that asks the same, to copy."""
    options = draft.options
    begin = [COMMAND, "run", shlex.quote(file)]
    if options.get("table"):
        begin.append(shlex.quote(options["table"]))
    return " \\\n    ".join([" ".join(begin), *map(shlex.join, words_of(options))])
