"""How far a job agrees with others, and with what people said: what `compare` found and kept."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from sqlite_utils_openai_batch.base.text import counted, hundredths, kappa_words, percent

from ..access.job import Opened
from ..text import times

SHOWN = 3
# Events that are looked at: of two that compare the same, the newer counts.
LOOKED_AT = 50
NUMBERS = (
    ("mean_difference", "{} apart on the mean"),
    ("correlation", "r {}"),
    ("concordance", "concordance {}"),
)


@dataclass(frozen=True, slots=True)
class Table:
    """Which label of one side came with which of the other, with sums."""

    corner: str
    labels: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]


@dataclass(frozen=True, slots=True)
class Column:
    """One answer that was compared."""

    name: str
    sentence: str
    left_out: str
    table: Table | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """One comparison: what with, when, and each column of it."""

    title: str
    at: Markup
    columns: Sequence[Column]


def agreements(conn: sqlite3.Connection, opened: Opened) -> list[Comparison]:
    """The newest comparisons of a job, each with another partner."""
    found: dict[tuple[Any, ...], Comparison] = {}
    for at, own, text in events(conn, opened.job.id):
        detail = read(text)
        names = [str(column.get("name")) for column in columns_in(detail)]
        if detail.get("people"):
            continue  # these stand on the page by themselves, as they are now
        key = (own, str(detail.get("with")), *names)
        if key in found or not names or not may_show(conn, opened, own, detail):
            continue
        try:
            found[key] = comparison(own, detail, at)
        except (TypeError, ValueError):
            # Edited by hand, or by another version: the other sections are still of use.
            continue
        if len(found) == SHOWN:
            break
    return list(found.values())


def events(conn: sqlite3.Connection, job_id: int) -> list[tuple[str, int, str]]:
    """What was compared with a job, newest first: (when, the first job, detail)."""
    return conn.execute(
        "SELECT at, job_id, detail FROM openai_batch_log WHERE event = 'compared' "
        "AND (job_id = :id OR CASE WHEN json_valid(detail) "
        "THEN json_extract(detail, '$.with') = :id END) ORDER BY id DESC LIMIT :most",
        {"id": job_id, "most": LOOKED_AT},
    ).fetchall()


def read(text: str | None) -> dict[str, Any]:
    """The detail of an event; empty where it isn't one of ours."""
    try:
        detail = json.loads(text or "")
    except ValueError:
        return {}
    return detail if isinstance(detail, dict) else {}


def columns_in(detail: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The columns that an event tells of."""
    columns = detail.get("columns")
    found = columns if isinstance(columns, list) else []
    return [one for one in found if isinstance(one, dict)]


def may_show(conn: sqlite3.Connection, opened: Opened, own: int, detail: Mapping[str, Any]) -> bool:
    """Whether the other job is about the same source, and may be seen: where it writes as well."""
    other = detail.get("with")
    if other is None:
        return True
    if not isinstance(other, int):
        return False
    partner = other if own == opened.job.id else own
    if partner not in opened.visible:
        return False
    row = conn.execute(
        "SELECT source, source_sql FROM openai_batch_jobs WHERE id = ?", [partner]
    ).fetchone()
    return row is not None and tuple(row) == (opened.job.source, opened.job.source_sql)


def comparison(own: int, detail: Mapping[str, Any], at: str) -> Comparison:
    """One event as it is shown."""
    other = detail.get("with")
    names = (f"job {own}", f"job {other}" if other is not None else "gold")
    columns = columns_in(detail)
    if other is None:
        said = ", ".join(dict.fromkeys(str(column.get("other")) for column in columns))
        title = f"Job {own} and the column {said}"
    else:
        title = f"Job {own} and job {other}"
    return Comparison(
        title, times.moment(at, zone=True), [column_of(column, names) for column in columns]
    )


def column_of(column: Mapping[str, Any], names: tuple[str, str]) -> Column:
    """One column as it is shown."""
    compared, same = number(column, "compared"), number(column, "same")
    pieces = [f"{percent(same, compared)} the same ({same:,} of {compared:,})"]
    kappa = column.get("kappa")
    if isinstance(kappa, list) and len(kappa) == 3:
        pieces.append(kappa_words(*map(float, kappa)))
    if column.get("kind") == "number":
        for name, words in NUMBERS:
            if isinstance(column.get(name), int | float):
                pieces.append(words.format(hundredths(column[name])))
    if column.get("kind") == "list" and compared:
        share = 100 * float(column.get("overlap") or 0) / compared
        pieces.append(f"{share:.1f} % of their elements in common")
    name, other = str(column.get("name")), str(column.get("other"))
    title = name if name == other else f"{name} / {other}"
    return Column(title, " · ".join(pieces), left_out(column, names), table_of(column, names))


def left_out(column: Mapping[str, Any], names: tuple[str, str]) -> str:
    """How many rows could not be compared, and why."""
    first, second = names
    kinds = (
        ("no_first", f"without an answer in {first}"),
        (
            "no_second",
            f"without a value in {second}" if second == "gold" else f"without one in {second}",
        ),
        ("neither", "without either"),
        ("only_first", f"asked by {first} only"),
        ("only_second", f"asked by {second} only"),
    )
    said = [f"{number(column, key):,} {words}" for key, words in kinds if number(column, key)]
    total = sum(number(column, key) for key in ("compared", *(key for key, _ in kinds)))
    return f"{counted(total, 'row')} in all; left out: {', '.join(said)}." if said else ""


def table_of(column: Mapping[str, Any], names: tuple[str, str]) -> Table | None:
    """The table of labels, without the row and column of others where these are empty."""
    labels, cells = column.get("labels"), column.get("table")
    if not isinstance(labels, list) or not isinstance(cells, list):
        return None
    counts = [[int(count) for count in line] for line in cells]
    words = [str(label) for label in labels] + ["others"]
    if len(counts) != len(words) or any(len(line) != len(words) for line in counts):
        return None
    if not any(counts[-1]) and not any(line[-1] for line in counts):
        words, counts = words[:-1], [line[:-1] for line in counts[:-1]]
    sums = [sum(line) for line in zip(*counts, strict=True)]
    rows = [(word, [*line, sum(line)]) for word, line in zip(words, counts, strict=True)]
    rows.append(("sum", [*sums, sum(sums)]))
    return Table(
        f"{names[0]} ↓ {names[1]} →",
        [*words, "sum"],
        [(word, [f"{count:,}" for count in line]) for word, line in rows],
    )


def number(column: Mapping[str, Any], key: str) -> int:
    """A count that an event tells."""
    value = column.get(key)
    return value if isinstance(value, int) else 0
