"""The filters, search and sort of Datasette's own table page, as --where, -p and --order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from datasette.filters import Filters
from datasette.utils import escape_fts

from sqlite_utils_openai_batch.base.errors import SourceError
from sqlite_utils_openai_batch.tables.sql import quote

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a table page's address chooses."""

    where: str | None = None
    params: dict[str, str] = field(default_factory=dict)
    order: str | None = None
    words: str = ""


def read_pairs(query: str) -> Pairs:
    """The pairs of a query string."""
    return parse_qsl(query, keep_blank_values=True)


async def chosen_by(datasette: Any, db: Any, table: str, query: str, *, sql: bool) -> Chosen:
    """What the query string of a table's page chooses; `sql` is whether SQL of one's own counts.

    Raises SourceError for what can't be taken over.
    """
    pairs = read_pairs(query)
    columns = await db.table_columns(table)
    filters = Filters([pair for pair in pairs if is_filter(pair[0])])
    unknown = sorted({name for name, _, _ in filters.selections() if name not in columns})
    if unknown:
        raise SourceError(f"{table} has no column {unknown[0]} to filter by.")
    clauses, params = filters.build_where_clauses(table)
    words = filters.human_description_en().removeprefix("where ")
    said = [words] if words else []
    order = None
    for name, value in pairs:
        if name == "_search" and value:
            clauses.append(await search_clause(db, table))
            params["search"] = escape_fts(value)
            said.append(f'search matches "{value}"')
        elif name == "_where" and value:
            if not sql:
                raise SourceError("A condition in SQL needs the permission execute-sql.")
            clauses.append(f"({value})")
            said.append(value)
        elif name in ("_sort", "_sort_desc") and value in columns:
            down = " desc" if name == "_sort_desc" else ""
            order = quote(value) + down
            said.append(f"sorted by {value}{' descending' if down else ''}")
        elif name.startswith("_search_") and value:
            raise SourceError("A search in one column can't be taken over: search in all of them.")
    return Chosen(
        where=" and ".join(clauses) or None,
        params={name: str(value) for name, value in params.items()},
        order=order,
        words=", ".join(said),
    )


def is_filter(name: str) -> bool:
    """Whether Datasette takes a parameter for a filter by a column."""
    return not name.startswith("_") or "__" in name[1:]


async def search_clause(db: Any, table: str) -> str:
    """The condition of a search in all columns. Raises SourceError where there is no index."""
    index = await db.fts_table(table)
    if index is None:
        raise SourceError(f"{table} has no full-text index to search in.")
    name = quote(index)
    return f"rowid in (select rowid from {name} where {name} match :search)"
