"""The rows of a job as people take them away: source columns, answer columns, status, error.

Reads in steps. Each is short and leaves no cursor open, so that a slow client, or a slow pipe,
blocks nobody who writes to the file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence, Sized
from typing import Any, TypeVar

from .. import store
from ..answers.schema import AnswerSchema, stored_cells, stored_columns
from ..base.errors import SourceError, UsageError
from ..base.text import listed, meant
from ..store import Job, outcomes, reviews
from ..tables.columns import fold
from ..tables.output import Output
from ..tables.source import Source, source_of_job
from ..tables.sql import ROW_BYTES, SIZED, decode_key, quote, weight

Row = tuple[Any, ...]
Made = TypeVar("Made", bound=Sized)
Link = Callable[[Any, str], str]

# Rows that the slower way (views, queries, compound keys) reads at once, at most: rows with images
# make it fewer.
STEP_ROWS = 500
FIRST_ROWS = 50
PAGE_BYTES = 8_000_000
# Bytes of rows that `rows` reads in a step.
ROWS_BYTES = 1_000_000
# Requests that one step passes at most: few may have the outcome that is wanted, and whoever
# writes to the file waits for the end of a step.
STRETCH = 20_000
# What is noted beside an answer (a code fence that was taken off) is no error.
ERROR = "CASE WHEN r.status <> 'ok' THEN coalesce(r.error_message, r.error_code) END"


class Reader:
    """Rows of one job in the order in which they were asked, some at a time.

    Source columns come from the rows as they are now, answers from the job itself, so they are
    right also where they were not written back. A row that is gone keeps its key and its answer.
    `link` gives the address of a BLOB by row key and column; without it BLOBs are read.
    """

    def __init__(
        self,
        conn: sqlite3.Connection,
        job: Job,
        statuses: Sequence[str] = (),
        link: Link | None = None,
        columns: Sequence[str] = (),
        people: bool = True,
    ) -> None:
        self.conn = conn
        self.job = job
        self.statuses = tuple(statuses)
        self.link = link
        self.results = Results(conn, job, status=statuses, columns=columns, people=people)
        self.headers: list[str] = self.results.headers
        self.answers = stored_cells(job.answer_schema, len(self.results.output.answers))
        self.columns = stored_columns(job.answer_schema)
        first, self.last = outcomes.id_range(conn, job.id)
        self.after = first - 1
        self.text: Any = str
        self.blobs: list[tuple[int, str]] = list(enumerate(self.results.read))
        self.page_rows = FIRST_ROWS
        self.sql = self.join_sql() if is_plain(self.results, job) else None

    def close(self) -> None:
        """Drop what was read of a view or query. The connection is the caller's."""
        self.results.close()

    def blob_headers(self) -> list[str]:
        """The columns that hold BLOBs by their declaration."""
        declared = {
            row["name"]
            for row in store.rows(
                self.conn,
                "SELECT name FROM pragma_table_xinfo(?) WHERE upper(type) LIKE '%BLOB%'",
                [self.job.source],
            )
        }
        declared |= {one.name for one in self.results.output.columns if one.type == "BLOB"}
        return [name for name in self.headers if name in declared]

    def rows(self) -> Iterator[Row]:
        """All rows that are left."""
        while (found := self.step(Weighed, ROWS_BYTES)) is not None:
            yield from found

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
        answers, judged = self.answers, self.results.judged
        cursor = self.conn.execute(self.sql, self.params)
        try:
            for row in cursor:
                # A key is not NULL, so this is a row that is gone.
                cells: Row = row[6:] if row[5] is not None else self.results.only_key(row[1])
                if self.blobs:
                    cells = self.linked(row[1], cells)
                said = answers(row[2], row[3])
                if judged:
                    said = (*said, *self.results.judgements(row[0], said))
                made = form(self.chosen((*cells, *said, row[2], row[4])))
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
        for place, name in enumerate(self.results.read):
            cell = f"t.{quote(name)}"
            if self.link and ("BLOB" in kinds.get(name, "") or kinds.get(name) == ""):
                cell = f"CASE typeof({cell}) WHEN 'blob' THEN x'' ELSE {cell} END"
                self.blobs.append((place, name))
            cells.append(cell)
        return (
            f"SELECT r.id, r.row_key, r.status, r.answer, {ERROR}, "
            f"{', '.join([f't.{quote(key)}', *cells])} {self.walk()}"
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
        names = [f"t.{quote(name)}" for name in self.results.read]
        kinds = ", ".join(f"typeof({name})" for name in ("r.answer", *names))
        return (
            f"SELECT r.id, CASE WHEN t.{quote(key)} IS NULL OR 'blob' IN ({kinds}) THEN NULL "
            f"ELSE r.status END, {', '.join(['r.answer', ERROR, *names])} {self.walk()}"
        )

    def looked_up(self, form: Callable[[Row], Made]) -> list[Made]:
        """Rows of a view or query, or by a compound key: requests first, then their rows."""
        page: list[Row] = self.conn.execute(
            f"SELECT id, row_key, status, answer, {ERROR} FROM openai_batch_requests AS r "
            f"WHERE id > ? AND id <= ? AND +job_id = ?{self.condition} ORDER BY id LIMIT ?",
            [*self.params, self.page_rows],
        ).fetchall()
        source, keys = self.results.source, [request[1] for request in page]
        rows = source.fetch(self.results.read, keys) if source else {}
        found = []
        for request, key, status, answer, error in page:
            cells = self.linked(key, rows.get(key) or self.results.only_key(key))
            said = self.answers(status, answer)
            said = (*said, *self.results.judgements(request, said))
            found.append(form(self.chosen((*cells, *said, status, error))))
        self.after = page[-1][0] if len(page) == self.page_rows else self.end
        heavy = max(weight(list(rows.values())), 1)
        self.page_rows = max(
            1, min(STEP_ROWS, 4 * self.page_rows, PAGE_BYTES * self.page_rows // heavy)
        )
        return found

    def chosen(self, cells: Row) -> Row:
        """The columns that were asked for, of all that were read."""
        places = self.results.places
        return cells if places is None else tuple([cells[place] for place in places])

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


class Weighed(tuple[Any, ...]):
    """A row whose length is about that of its values, in bytes: as `weight`, which is for many."""

    __slots__ = ()

    def __len__(self) -> int:
        return ROW_BYTES + sum([len(cell) for cell in self if cell.__class__ in SIZED])


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


# Which columns the rows have.


class Results:
    """Which columns the rows of a job have. `headers` names them; a `Reader` reads the rows.

    Source columns come from the rows as they are now, answers from the job itself, so they are
    right also where they were not written back. A row that is gone keeps its key and its answer.
    """

    def __init__(
        self,
        conn: sqlite3.Connection,
        job: store.Job,
        *,
        status: Sequence[str] = (),
        columns: Sequence[str] = (),
        people: bool = True,
    ):
        """Without `people` what they say of the rows is left out."""
        self.conn = conn
        self.job = job
        self.status = tuple(status)
        self.output = Output.of(job)
        self.schema = AnswerSchema.from_json(job.answer_schema) if job.answer_schema else None
        self.source = self.open_source()
        self.source_columns = self.shown_source_columns()
        self.labels = reviews.reviewed(reviews.of_job(conn, job.id)) if people else {}
        """What people say, by request and column of the answer."""
        self.judged = self.judged_columns()
        self.every = self.all_headers()
        self.chosen = self.choose(columns)
        self.headers = [self.every[index] for index in self.chosen]
        shown = set(self.chosen)
        self.read = [name for n, name in enumerate(self.source_columns) if n in shown]
        left_out = len(self.source_columns) - len(self.read)
        places = [
            self.read.index(self.every[n]) if n < len(self.source_columns) else n - left_out
            for n in self.chosen
        ]
        """Places of the chosen columns among those read, the answers, status and error."""
        self.places = None if self.chosen == list(range(len(self.every))) else places

    def open_source(self) -> Source | None:
        """The source, or None where it is gone: the answers are still here."""
        job = self.job
        try:
            return source_of_job(self.conn, job)
        except SourceError:
            # Dropped or renamed since: keys and answers are in the job's own tables.
            return None

    def shown_source_columns(self) -> list[str]:
        """The key first where it is not a column, then the source's columns but the answers."""
        keys = list(self.job.keys)
        if self.source is None:
            return keys
        written = set()
        if self.output.table is None and self.output.write:
            written = {fold(name) for name in self.output.names}
        columns = [name for name in self.source.columns if fold(name) not in written]
        return [key for key in keys if key not in columns] + columns

    def judged_columns(self) -> list[tuple[int, str]]:
        """The answer columns that people judged: place among the answers, and property."""
        names = [column.name for column in self.schema.columns] if self.schema else ["answer"]
        judged = {name for values in self.labels.values() for name in values}
        return [(place, name) for place, name in enumerate(names) if name in judged]

    def judgements(self, request_id: int, answer: Row) -> Row:
        """What people say of a row, and what counts, for each column that they judged."""
        said = self.labels.get(request_id, {})
        found: list[Any] = []
        for place, name in self.judged:
            found += [said.get(name), said[name] if name in said else answer[place]]
        return tuple(found)

    def all_headers(self) -> list[str]:
        """Every column, no two of one name: where the source has it, ours say whose they are."""
        headers = list(self.source_columns)
        taken = {fold(name) for name in headers}
        judged = [
            f"{self.output.answer_names[place]}_{word}"
            for place, _ in self.judged
            for word in ("reviewed", "final")
        ]
        for name in (*self.output.answer_names, *judged, "status", "error"):
            free = name
            while fold(free) in taken:
                free = f"batch_{free}"
            taken.add(fold(free))
            headers.append(free)
        return headers

    def choose(self, columns: Sequence[str]) -> list[int]:
        """Places of the columns wanted. Raises UsageError for one that isn't there."""
        if not columns:
            return list(range(len(self.every)))
        for column in columns:
            if column not in self.every:
                raise UsageError(
                    f"No column '{column}' in the results of job {self.job.id}. "
                    f"{meant(column, self.every)}Columns: {listed(self.every)}"
                )
        return [self.every.index(column) for column in columns]

    def close(self) -> None:
        """Drop what was read from a view or query."""
        if self.source is not None:
            self.source.close()

    def count(self) -> int:
        """How many rows there are, by the sums of the parts."""
        counts = store.outcome_counts(store.list_parts(self.conn, self.job.id))
        return sum(n for status, n in counts.items() if not self.status or status in self.status)

    def lists(self) -> list[str]:
        """The headers of answers that are lists, kept as JSON arrays."""
        kinds = [column.kind for column in self.schema.columns] if self.schema else []
        first = len(self.source_columns)
        return [self.every[first + n] for n, kind in enumerate(kinds) if kind == "array"]

    def only_key(self, row_key: Any) -> Row:
        """The cells of a row that is gone: its key, and nothing else."""
        key = dict(zip(self.job.keys, decode_key(row_key, len(self.job.keys)), strict=True))
        return tuple(key.get(column) for column in self.read)
