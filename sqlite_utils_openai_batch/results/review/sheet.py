"""A sheet for people who label in a spreadsheet: written as CSV, and read back.

A sheet has the row key, the source's columns, and an empty `mood_review` for each answer `mood`.
Where the sample is blind nothing in it tells what a model said: no answer of this job, and no
column that another job wrote.
"""

from __future__ import annotations

import csv
import io
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from ... import store
from ...answers.schema import stored_cells
from ...base.errors import FileError, OpenAIBatchError
from ...base.text import counted, listed, size
from ...base.text_files import decoded
from ...requests.template import Template
from ...store import reviews
from ...store.reviews import Review, Sample
from ...tables.columns import fold
from ...tables.output import Output
from ...tables.source import Source, source_of_job
from ...tables.sql import decode_key, encode_key
from .columns import Question, questions

#: Rows whose source is read together.
PAGE = 200
#: Mistakes that are told at once.
TOLD = 10
SUFFIX = "_review"


def source_columns(conn: sqlite3.Connection, job: store.Job, *, blind: bool) -> list[str]:
    """The columns of the source that a coder is shown; the keys aren't among them.

    What a job wrote is left out, unless this job's own prompt reads it.
    """
    with closing(source_of_job(conn, job)) as source:
        return shown_columns(conn, job, source, blind=blind)


def shown_columns(
    conn: sqlite3.Connection, job: store.Job, source: Source, *, blind: bool
) -> list[str]:
    """The same of a source that is open."""
    columns, keys = source.columns, {fold(key) for key in source.key_columns}
    is_table = source.kind == "table"
    hidden = {fold(name) for name in Output.from_json(job.output).names}
    if blind:
        hidden |= {
            fold(name)
            for other in store.list_jobs(conn)
            if not is_table or other.source == job.source
            for name in Output.from_json(other.output).names
        }
        hidden -= {fold(name) for name in read_columns(job, columns)}
    return [name for name in columns if fold(name) not in hidden | keys]


def read_columns(job: store.Job, columns: Sequence[str]) -> list[str]:
    """The columns that a job's prompt reads; all where that can't be said."""
    try:
        return list(Template.from_json(job.template, job.endpoint).bind(columns).columns)
    except OpenAIBatchError:
        # A column was renamed since.
        return list(columns)


def headers(keys: Sequence[str], shown: Sequence[str], asked: Sequence[Question]) -> list[str]:
    """Names of a sheet's last columns, one for each question, that no other column has."""
    taken = {fold(name) for name in (*keys, *shown)}
    names = []
    for question in asked:
        name = question.name + SUFFIX
        while fold(name) in taken:
            name = f"batch_{name}"
        taken.add(fold(name))
        names.append(name)
    return names


def sheet(
    conn: sqlite3.Connection, job: store.Job, sample: Sample, asked: Sequence[Question]
) -> Iterator[list[Any]]:
    """The lines of a sheet: names first, then a row for each request of the sample."""
    shown = source_columns(conn, job, blind=sample.blind)
    answers = [] if sample.blind else [question.name for question in asked]
    free = [name for name in answers if fold(name) not in map(fold, shown)]
    told = free if len(free) == len(answers) else [f"batch_{name}" for name in answers]
    yield [*job.keys, *shown, *told, *headers(job.keys, shown, asked)]
    read = stored_cells(job.answer_schema, len(Output.from_json(job.output).answers))
    with closing(source_of_job(conn, job)) as source:
        for start in range(0, len(sample.requests), PAGE):
            found = [
                reviews.row_of(conn, job.id, one) for one in sample.requests[start : start + PAGE]
            ]
            rows = source.fetch(shown, [key for key, _, _ in found])
            for key, status, answer in found:
                cells = rows.get(key) or (None,) * len(shown)
                said = read(status, answer)
                yield [
                    *decode_key(key, len(job.keys)),
                    *map(plain_cell, cells),
                    *([] if sample.blind else [said[question.place] for question in asked]),
                    *([None] * len(asked)),
                ]


def plain_cell(cell: Any) -> Any:
    """A cell for a sheet: a BLOB is named, not written out."""
    return f"({size(len(cell))} of bytes)" if isinstance(cell, bytes) else cell


# Reading a sheet back.


@dataclass(frozen=True)
class Imported:
    """What a sheet held, and what of it was new."""

    labels: int
    added: int
    empty: int
    """Rows without a label."""


def import_sheet(
    conn: sqlite3.Connection, job: store.Job, path: str, coder: str, wanted: Sequence[str] = ()
) -> Imported:
    """Take in the labels of a sheet; all of them, or none where one is wrong.

    Raises FileError that names the lines, and UsageError for columns that aren't there.
    """
    lines = read_file(path)
    names = [name.strip() for name in next(lines)[1]]
    asked = questions(job, wanted)
    places = label_places(names, asked, bool(wanted), path, job)
    keys = key_places(names, job, path)
    blind = blindness(conn, job, names, asked)
    found: list[Review] = []
    wrong: list[str] = []
    empty = 0
    for number, cells in lines:
        cells = cells + [""] * (len(names) - len(cells))
        labels = [(question, cells[place]) for question, place in places if cells[place].strip()]
        if not labels:
            empty += any(cells)
            continue
        request = find_request(conn, job, [cells[place] for place in keys])
        if request is None:
            pairs = zip(job.keys, [cells[place] for place in keys], strict=True)
            key = ", ".join(f"{name} {cell}" for name, cell in pairs)
            wrong.append(f"Line {number}: job {job.id} didn't ask about a row with {key}.")
            continue
        for question, text in labels:
            try:
                value = question.read(text)
            except FileError as error:
                wrong.append(f"Line {number}: {error}")
                continue
            found.append(Review(request, question.column, value, coder, blind.get(request)))
    if wrong:
        raise FileError(mistakes(path, wrong))
    return Imported(len(found), reviews.record(conn, job.id, found), empty)


def blindness(
    conn: sqlite3.Connection, job: store.Job, names: Sequence[str], asked: Sequence[Question]
) -> dict[int, bool]:
    """Whether the answer was hidden from who filled in a sheet, by request of a sample."""
    there = set(map(fold, names))
    hides = not any(fold(question.name) in there for question in asked)
    return {
        request: sample.blind and hides
        for sample in reversed(reviews.samples(conn, job.id))
        for request in sample.requests
    }


def mistakes(path: str, wrong: Sequence[str]) -> str:
    """What is wrong in a sheet, line by line."""
    more = len(wrong) - TOLD
    rest = [f"and {counted(more, 'more mistake')}."] if more > 0 else []
    return "\n".join([f"Nothing of '{path}' was taken in.", *wrong[:TOLD], *rest])


def label_places(
    names: Sequence[str], asked: Sequence[Question], strict: bool, path: str, job: store.Job
) -> list[tuple[Question, int]]:
    """Where the labels stand in a sheet."""
    folded = [fold(name) for name in names]
    found = []
    for question in asked:
        for name in (question.name + SUFFIX, question.column + SUFFIX):
            # Where the source has a column of that name ours comes behind it.
            ours = [place for place, one in enumerate(folded)
                    if one == fold(name) or one.endswith(fold(f"batch_{name}"))]  # fmt: skip
            if ours:
                found.append((question, ours[-1]))
                break
        else:
            if strict:
                raise FileError(f"'{path}' has no column '{question.name}{SUFFIX}'.")
    if not found:
        wanted = listed(question.name + SUFFIX for question in asked)
        raise FileError(
            f"'{path}' has no column of labels for job {job.id}: one of {wanted}. "
            f"It has: {listed(names)}"
        )
    return found


def key_places(names: Sequence[str], job: store.Job, path: str) -> list[int]:
    """Where the key columns stand in a sheet."""
    folded = [fold(name) for name in names]
    for key in job.keys:
        if fold(key) not in folded:
            raise FileError(
                f"'{path}' has no column '{key}', which tells the rows of job {job.id} apart. "
                f"It has: {listed(names)}"
            )
    return [folded.index(fold(key)) for key in job.keys]


def find_request(conn: sqlite3.Connection, job: store.Job, texts: Sequence[str]) -> int | None:
    """The request about the row with a key as a sheet shows it."""
    for values in readings(texts):
        request = reviews.request_of(conn, job.id, encode_key(values))
        if request is not None:
            return request
    return None


def readings(texts: Sequence[str]) -> list[list[Any]]:
    """What the cells of a key may stand for: text, or a number where it looks like one."""
    found: list[list[Any]] = [[]]
    for text in texts:
        values: list[Any] = [text]
        for kind in (int, float):
            try:
                values.append(kind(text))
            except ValueError:
                continue
        if text.startswith("'"):
            values.append(text[1:])  # put there for spreadsheets, which may run formulas
        found = [[*before, value] for before in found for value in values]
    return found


def read_file(path: str) -> Iterator[tuple[int, list[str]]]:
    """The lines of a CSV file, numbered as a spreadsheet shows them; names first.

    Spreadsheets write commas, semicolons or tabs, and UTF-8, UTF-16 or Windows' own letters.
    """
    text = decoded(path, FileError)
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows = enumerate(reader, start=1)
    if not first.strip():
        raise FileError(f"'{path}' has no column names in its first line.")
    try:
        yield from rows
    except csv.Error as error:
        raise FileError(f"'{path}' is not CSV: {error} (line {reader.line_num}).") from error
