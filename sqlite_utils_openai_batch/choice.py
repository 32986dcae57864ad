"""The SQL of chosen rows: a source with --where, --order and --limit (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .keys import quote
from .relation import Relation


@dataclass(frozen=True)
class Choice:
    """Which rows of a relation are asked about, in which order, by which key."""

    relation: Relation
    key_columns: tuple[str, ...]
    where: str | None = None
    order: str | None = None
    limit: int | None = None

    @property
    def keys(self) -> str:
        """The key columns as SQL."""
        return names(self.key_columns)

    @property
    def everything(self) -> bool:
        """Whether no row is left out."""
        return self.where is None and self.limit is None

    def rows(self, select_list: str) -> str:
        """Return the SELECT of all chosen rows, in order.

        The key settles the order of a table; a view or query has its own unless --order is
        given. Conditions end with a newline, so that a comment in them ends there too.
        """
        sql = f"SELECT {select_list} FROM {self.relation.origin}"
        if self.where is not None:
            sql += f" WHERE ({self.where}\n)"
        order = [f"{self.order}\n"] if self.order is not None else []
        if self.relation.kind == "table":
            order.append(self.keys)
        if order:
            sql += f" ORDER BY {', '.join(order)}"
        if self.limit is not None:
            sql += f" LIMIT {self.limit}"
        return sql

    def count(self) -> str:
        """Return the SELECT that counts the chosen rows."""
        if self.limit is None:
            where = "" if self.where is None else f" WHERE ({self.where}\n)"
            return f"SELECT count(*) FROM {self.relation.origin}{where}"
        return f"SELECT count(*) FROM ({self.rows('1')})"

    def ends(self) -> str:
        """Return the SELECT of the first and the last key, of one column."""
        first, last = (
            f"(SELECT {end}({self.keys}) FROM {self.relation.origin})" for end in ("min", "max")
        )
        return f"SELECT {first}, {last}"

    def total(self) -> str:
        """Return the SELECT that counts all rows."""
        return f"SELECT count(*) FROM {self.relation.origin}"

    def key_params(self) -> list[str]:
        """Return the names of the parameters that hold the last key of a page."""
        return [f"openai_batch_key{n}" for n in range(len(self.key_columns))]

    def page(
        self, columns: Sequence[str], *, after: bool, blobs: bool = False, last: str | None = None
    ) -> str:
        """Return the SELECT of key and columns along the key, from the start or after a key.

        With `blobs`, one more column says whether any of them is a BLOB. `last` is the name of
        the parameter with the last key that is wanted.
        """
        conditions = []
        if after:
            marks = ", ".join(f":{name}" for name in self.key_params())
            conditions.append(f"({self.keys}) > ({marks})")
        if last is not None:
            conditions.append(f"{self.keys} <= :{last}")
        if self.where is not None:
            conditions.append(f"({self.where}\n)")
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        chosen = names([*self.key_columns, *columns])
        if blobs:
            chosen += ", " + self._blobs(columns)
        return f"SELECT {chosen} FROM {self.relation.origin}{where} ORDER BY {self.keys}"

    def between(self, columns: Sequence[str], first: str, last: str) -> str:
        """Return the SELECT of key, columns and whether any is a BLOB, for keys of a range.

        `first` and `last` are the names of its parameters.
        """
        chosen = f"{names([*self.key_columns, *columns])}, {self._blobs(columns)}"
        return (
            f"SELECT {chosen} FROM {self.relation.origin} "
            f"WHERE {self.keys} BETWEEN :{first} AND :{last} ORDER BY {self.keys}"
        )

    def _blobs(self, columns: Sequence[str]) -> str:
        """Whether any value of a row is a BLOB, as SQL: they sort after everything else."""
        return " OR ".join(f"{quote(name)} >= x''" for name in (*self.key_columns, *columns))


def names(columns: Sequence[str]) -> str:
    """Return column names as an SQL list."""
    return ", ".join(map(quote, columns))
