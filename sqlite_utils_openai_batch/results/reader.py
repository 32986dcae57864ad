"""The rows of a job for its files: source columns, answer columns, status, error.

Reads in steps on a connection of its own. Each step is short and leaves no cursor open, so that
a slow client blocks neither Datasette's threads nor anybody who writes to the file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence, Sized
from typing import Any, TypeVar

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.results.results import Results
from sqlite_utils_openai_batch.store import Job
from sqlite_utils_openai_batch.tables.sql import quote

from ..data.answers import answer_columns, answer_reader

Row = tuple[Any, ...]
Made = TypeVar("Made", bound=Sized)
Link = Callable[[Any, str], str]

# Rows that the slower way (views, queries, compound keys) reads at once.
STEP_ROWS = 500
# Requests that one step passes at most: few may have the outcome that is wanted, and whoever
# writes to the file waits for the end of a step.
STRETCH = 20_000
# What is noted beside an answer (a code fence that was taken off) is no error.
ERROR = "CASE WHEN r.status <> 'ok' THEN coalesce(r.error_message, r.error_code) END"


class Reader:
    """Rows of one job in the order in which they were asked, some at a time.

    `link` gives the address of a BLOB by row key and column; without it BLOBs are read.
    """

    def __init__(
        self,
        conn: sqlite3.Connection,
        job: Job,
        statuses: Sequence[str] = (),
        link: Link | None = None,
    ) -> None:
        self.conn = conn
        self.job = job
        self.statuses = tuple(statuses)
        self.link = link
        self.results = Results(conn, job, status=statuses)
        self.headers: list[str] = self.results.headers
        self.answers = answer_reader(job)
        self.columns = answer_columns(job)
        self.after, self.last = bounds(conn, job.id)
        self.text: Any = str
        self.blobs: list[tuple[int, str]] = list(enumerate(self.results.source_columns))
        self.sql = self.join_sql() if is_plain(self.results, job) else None

    def close(self) -> None:
        """Drop what was read of a view or query. The connection is the caller's."""
        self.results.close()

    def step(self, form: Callable[[Row], Made], most: int) -> list[Made] | None:
        """The next rows, each as `form` makes it, until their lengths add up to `most`.

        The list may be empty where none of this stretch was wanted; None is the end.
        """
        return self.attempt(lambda: self.joined(form, most) if self.sql else self.looked_up(form))

    def attempt(self, read: Callable[[], list[Made]]) -> list[Made] | None:
        """What `read` gives, with TEXT that isn't UTF-8 forgiven; None at the end of the rows."""
        if self.after >= self.last:
            return None
        try:
            return read()
        except sqlite3.OperationalError as error:
            if self.text is not str or "Could not decode to UTF-8" not in str(error):
                raise
        # SQLite stores any bytes as TEXT; most files hold none that aren't UTF-8.
        self.text = self.conn.text_factory = lambda value: value.decode("utf-8", "replace")
        return read()

    def joined(self, form: Callable[[Row], Made], most: int) -> list[Made]:
        """Rows of a table by its own single key: one walk along the ids of the requests."""
        assert self.sql is not None
        found: list[Made] = []
        size = 0
        answers = self.answers
        cursor = self.conn.execute(self.sql, self.params)
        try:
            for row in cursor:
                # A key is not NULL, so this is a row that is gone.
                cells: Row = row[6:] if row[5] is not None else self.results.only_key(row[1])
                if self.blobs:
                    cells = self.linked(row[1], cells)
                made = form((*cells, *answers(row[2], row[3]), row[2], row[4]))
                found.append(made)
                size += len(made)
                if size >= most:
                    self.after = row[0]
                    return found
        finally:
            cursor.close()
        self.after = self.end
        return found

    def join_sql(self) -> str:
        """Requests beside their source rows. BLOBs of columns declared so stay in the file."""
        (key,) = self.job.keys
        kinds = {
            row["name"]: (row["type"] or "").upper()
            for row in store.rows(
                self.conn, "SELECT name, type FROM pragma_table_xinfo(?)", [self.job.source]
            )
        }
        cells = []
        self.blobs = []
        for place, name in enumerate(self.results.source_columns):
            cell = f"t.{quote(name)}"
            if self.link and ("BLOB" in kinds.get(name, "") or kinds.get(name) == ""):
                cell = f"CASE typeof({cell}) WHEN 'blob' THEN x'' ELSE {cell} END"
                self.blobs.append((place, name))
            cells.append(cell)
        return (
            f"SELECT r.id, r.row_key, r.status, r.answer, {ERROR}, "
            f"t.{quote(key)}, {', '.join(cells)} {self.walk()}"
        )

    def walk(self) -> str:
        """The requests of the job by id, beside their source rows."""
        (key,) = self.job.keys
        return (
            "FROM openai_batch_requests AS r "
            f"LEFT JOIN {quote(str(self.job.source))} AS t ON t.{quote(key)} = r.row_key "
            f"WHERE r.id > ? AND r.id <= ? AND +r.job_id = ?{self.condition} ORDER BY r.id"
        )

    def bytes_sql(self) -> str:
        """The same for who reads TEXT as bytes: id, status, answer, error, cells.

        The status is NULL where a row is odd: gone, or with a BLOB among its cells.
        """
        (key,) = self.job.keys
        names = [f"t.{quote(name)}" for name in self.results.source_columns]
        kinds = ", ".join(f"typeof({name})" for name in ("r.answer", *names))
        return (
            f"SELECT r.id, CASE WHEN t.{quote(key)} IS NULL OR 'blob' IN ({kinds}) THEN NULL "
            f"ELSE r.status END, r.answer, {ERROR}, {', '.join(names)} {self.walk()}"
        )

    def looked_up(self, form: Callable[[Row], Made]) -> list[Made]:
        """Rows of a view or query, or by a compound key: requests first, then their rows."""
        page: list[Row] = self.conn.execute(
            f"SELECT id, row_key, status, answer, {ERROR} FROM openai_batch_requests AS r "
            f"WHERE id > ? AND id <= ? AND +job_id = ?{self.condition} ORDER BY id LIMIT ?",
            [*self.params, STEP_ROWS],
        ).fetchall()
        rows = self.results.joined(page)
        found = [
            form(self.linked(request[1], row)) for request, row in zip(page, rows, strict=True)
        ]
        self.after = page[-1][0] if len(page) == STEP_ROWS else self.end
        return found

    def linked(self, row_key: Any, cells: Row) -> Row:
        """Cells with the addresses of BLOBs in their places."""
        if self.link is None:
            return cells
        found = list(cells)
        for place, name in self.blobs:
            if isinstance(found[place], bytes):
                found[place] = self.link(row_key, name)
        return tuple(found)

    @property
    def end(self) -> int:
        """Where the next step ends at the latest."""
        return min(self.last, self.after + STRETCH)

    @property
    def params(self) -> list[Any]:
        """Where the next step begins, and what it is to find."""
        return [self.after, self.end, self.job.id, *self.statuses]

    @property
    def condition(self) -> str:
        """The outcomes that are wanted, as SQL."""
        if not self.statuses:
            return ""
        return f" AND r.status IN ({', '.join('?' for _ in self.statuses)})"


def bounds(conn: sqlite3.Connection, job_id: int) -> tuple[int, int]:
    """One less than the first request id of a job, and the last: two look-ups a part."""
    first, last = store.rows(
        conn,
        "SELECT min((SELECT min(id) FROM openai_batch_requests WHERE part_id = parts.id)), "
        "max((SELECT max(id) FROM openai_batch_requests WHERE part_id = parts.id)) "
        "FROM openai_batch_parts AS parts WHERE job_id = ?",
        [job_id],
    )[0]
    return (first - 1, last) if first is not None else (0, 0)


def is_plain(results: Results, job: Job) -> bool:
    """Whether the source is a table whose rows are found by its own single key."""
    source = results.source
    if source is None or source.kind != "table" or len(job.keys) != 1:
        return False
    if source.uses_rowid:
        return True
    own = store.rows(
        results.conn, "SELECT name FROM pragma_table_info(?) WHERE pk > 0", [job.source]
    )
    return [row["name"].lower() for row in own] == [job.keys[0].lower()]
