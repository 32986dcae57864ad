"""How to start: a command for a database that has no jobs yet, about a table that it has."""

from __future__ import annotations

import json
import shlex
import sqlite3
from typing import Any

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.base.text import COMMAND

from .. import compat

# Where there is no table with text that the actor may see.
TABLE = ("TABLE", "title")


async def first_command(datasette: Any, db: Any, actor: Any, file: str) -> str:
    """A command that would work here: it asks about the first column of text that one may see."""
    hidden = set(await db.hidden_table_names())
    for table, column in await db.execute_fn(texts):
        if table not in hidden and await compat.may_view_table(datasette, actor, db.name, table):
            return command(file, table, column)
    return command(file, *TABLE)


def texts(conn: sqlite3.Connection) -> list[tuple[str, str]]:
    """Tables with the first column of text that is no key, in their order."""
    found = store.rows(
        conn,
        "SELECT tables.name AS name, min(columns.cid), columns.name AS first "
        "FROM sqlite_master AS tables, pragma_table_info(tables.name) AS columns "
        "WHERE tables.type = 'table' AND upper(columns.type) = 'TEXT' AND columns.pk = 0 "
        "AND tables.sql NOT LIKE 'CREATE VIRTUAL%' GROUP BY 1 ORDER BY tables.rootpage LIMIT 50",
    )
    return [(row["name"], row["first"]) for row in found]


def command(file: str, table: str, column: str) -> str:
    """The command about one column, quoted for a shell."""
    name = column if column.isidentifier() else f"row[{json.dumps(column, ensure_ascii=False)}]"
    asked = shlex.join(["--prompt", f"Summarise in one sentence: {{{{ {name} }}}}"])
    return (
        f"{COMMAND} run {shlex.join([file, table])} \\\n"
        f"    {asked} \\\n    --model gpt-4o-mini --output summary"
    )
