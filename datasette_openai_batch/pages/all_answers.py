"""All rows of a job as a table: filtered by links, searched, and counted against a column."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from sqlite_utils_openai_batch.base.statuses import OUTCOMES
from sqlite_utils_openai_batch.base.text import cut

from ..access.job import Opened
from ..access.request import Typed
from ..data import found, rows, samples
from ..data.found import Filter, Walk, as_text, rows_of
from ..data.samples import cells_of
from ..text import urls
from .answers import COLUMNS, LABELS, TIMES, AnswerColumn, Shown, is_enumeration, shown

PAGE = 50
#: Seconds that a crosstab counts.
PATIENCE = 1.0
STEP = 400
#: Different values of a column that a crosstab has room for.
WIDE, LONG = 12, 40
OTHERS = "(others)"


@dataclass(frozen=True, slots=True)
class Link:
    """A filter as a link; `chosen` where it holds already, and the link takes it away."""

    text: str
    count: str
    href: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class Crosstab:
    """How often each answer came with each value of a column."""

    answer: str
    by: str
    columns: list[str]
    lines: list[tuple[str, list[str]]]
    counted: int
    whole: bool


@dataclass(frozen=True, slots=True)
class Table:
    """The page of answers."""

    asked_columns: list[str]
    answer_columns: list[AnswerColumn]
    requests: list[Shown]
    statuses: list[Link]
    answers: list[tuple[str, list[Link]]]
    next_href: str | None
    first_href: str
    turned_href: str
    down: bool
    looked: str | None
    source_columns: list[str]
    crosstab: Crosstab | None


def table(opened: Opened, typed: Typed) -> Callable[[sqlite3.Connection], Table]:
    """What reads the page that an address asks for."""

    def read(conn: sqlite3.Connection) -> Table:
        return read_table(conn, opened, typed)

    return read


def filter_of(opened: Opened, typed: Typed) -> Filter:
    """What an address looks for; what isn't there is left out."""
    names = opened.output.names
    return Filter(
        statuses=tuple(one for one in typed.all("_status") if one in OUTCOMES),
        answers={name: typed.one(name) for name in names if name in typed.values},
        text=typed.one("_search"),
    )


def read_table(conn: sqlite3.Connection, opened: Opened, typed: Typed) -> Table:
    """The rows of the page, its filters, and the crosstab where one is asked for."""
    wanted = filter_of(opened, typed)
    source = rows.open_rows(conn, opened.job)
    renderer = rows.bind(opened.job, source)
    asked = list(renderer.prompt_columns[:COLUMNS]) if renderer else []
    reader = cells_of(opened.job)
    after = typed.one("_after")
    down = typed.one("_order") == "desc"
    page = found.find(
        conn,
        opened.job.id,
        wanted,
        opened.output.names,
        reader,
        source,
        asked,
        after=int(after[:18]) if after.isascii() and after.isdigit() else None,
        down=down,
        count=PAGE,
    )
    address = Address(opened, wanted, down)
    few = len(page.requests) < PAGE and page.last is not None
    return Table(
        asked_columns=asked,
        answer_columns=[
            AnswerColumn(name, sorted_by(opened, name)) for name in opened.output.names
        ],
        requests=[
            shown(
                opened,
                row,
                asked,
                page.now.get(row["row_key"]),
                reader(row["status"], row["answer"]),
                columns=source.columns if source else (),
            )
            for row in page.requests
        ],
        statuses=status_links(opened, wanted, address),
        answers=answer_links(conn, opened, wanted, address),
        next_href=address.href(after=page.last) if page.last is not None else None,
        first_href=address.href(),
        turned_href=Address(opened, wanted, not down).href(),
        down=down,
        looked=f"{page.looked:,}" if few else None,
        source_columns=list(source.columns) if source else [],
        crosstab=crosstab(conn, opened, typed),
    )


def sorted_by(opened: Opened, name: str) -> str | None:
    """The page of the table that was written to, sorted by a column; None where none was."""
    if opened.table is None:
        return None
    return urls.table(opened.datasette, opened.db, opened.table, ("_sort", name))


@dataclass(frozen=True, slots=True)
class Address:
    """The address of the page with its filters."""

    opened: Opened
    wanted: Filter
    down: bool

    def href(
        self,
        *,
        after: int | None = None,
        statuses: Sequence[str] | None = None,
        answers: Mapping[str, str] | None = None,
    ) -> str:
        """The address of a page, with other filters where those are given."""
        pairs: list[tuple[str, Any]] = []
        pairs += [("_status", one) for one in self.wanted.statuses if statuses is None]
        pairs += [("_status", one) for one in statuses or ()]
        pairs += list((self.wanted.answers if answers is None else answers).items())
        if self.wanted.text:
            pairs.append(("_search", self.wanted.text))
        if self.down:
            pairs.append(("_order", "desc"))
        if after is not None:
            pairs.append(("_after", after))
        base = urls.job(self.opened.datasette, self.opened.db, self.opened.job.id, "/answers")
        return f"{base}?{urlencode(pairs)}" if pairs else base


def status_links(opened: Opened, wanted: Filter, address: Address) -> list[Link]:
    """The outcomes of the job, each a filter."""
    links = []
    for status, count in opened.outcomes.items():
        chosen = status in wanted.statuses
        links.append(
            Link(status, f"{count:,}", address.href(statuses=[] if chosen else [status]), chosen)
        )
    return links


def answer_links(
    conn: sqlite3.Connection, opened: Opened, wanted: Filter, address: Address
) -> list[tuple[str, list[Link]]]:
    """The labels of each column that holds labels, each a filter; counted in a sample."""
    reader = cells_of(opened.job)
    cells = [reader("ok", answer) for answer in samples.answers(conn, opened.parts)]
    links = []
    for place, column in enumerate(opened.output.columns):
        counts = Counter(
            as_text(row[place])
            for row in cells
            if row[place] is not None and not isinstance(row[place], bytes)
        )
        labels = is_enumeration(opened, column.property)
        few = len(counts) <= LABELS and (labels or TIMES * len(counts) <= len(cells))
        if counts and few:
            links.append((column.name, label_links(column.name, counts, wanted, address)))
    return links


def label_links(name: str, counts: Counter[str], wanted: Filter, address: Address) -> list[Link]:
    """The labels of one column."""
    others = {other: value for other, value in wanted.answers.items() if other != name}
    made = []
    for label, count in counts.most_common():
        chosen = wanted.answers.get(name) == label
        answers = others if chosen else {**others, name: label}
        made.append(Link(cut(label, 40), f"{count:,}", address.href(answers=answers), chosen))
    return made


def crosstab(conn: sqlite3.Connection, opened: Opened, typed: Typed) -> Crosstab | None:
    """The answers of a column counted against a column of the source; None where none is asked."""
    answer, by = typed.one("_answer"), typed.one("_by")
    source = rows.open_rows(conn, opened.job)
    if answer not in opened.output.names or source is None or by not in source.columns:
        return None
    place = list(opened.output.names).index(answer)
    reader = cells_of(opened.job)
    counts: Counter[tuple[str, str]] = Counter()
    walk = Walk(conn, opened.job.id, ("ok",))
    deadline = time.monotonic() + PATIENCE
    while not walk.ended and time.monotonic() < deadline:
        page = walk.step(STEP)
        now = rows_of(conn, source, [by], page)
        for row in page:
            value = now.get(row["row_key"], (None,))[0]
            said = reader("ok", row["answer"])[place]
            counts[short(value), short(said)] += 1
    return laid_out(answer, by, counts, walk.ended)


def short(value: Any) -> str:
    """A value as a label of a crosstab."""
    if value is None:
        return "(none)"
    return f"{len(value):,} bytes" if isinstance(value, bytes) else cut(str(value), 40)


def laid_out(answer: str, by: str, counts: Counter[tuple[str, str]], whole: bool) -> Crosstab:
    """Counts as lines and columns with their sums, the most frequent first."""
    down, across = Counter[str](), Counter[str]()
    for (value, said), count in counts.items():
        down[value] += count
        across[said] += count
    lines = [label for label, _ in down.most_common(LONG)]
    columns = [label for label, _ in across.most_common(WIDE)]
    folded: Counter[tuple[str, str]] = Counter()
    for (value, said), count in counts.items():
        line = value if value in lines else OTHERS
        column = said if said in columns else OTHERS
        folded[line, column] += count
    lines += [OTHERS] if len(down) > LONG else []
    columns += [OTHERS] if len(across) > WIDE else []
    total = sum(counts.values())
    told = [
        (
            line,
            [f"{folded[line, column]:,}" for column in columns]
            + [f"{sum(folded[line, column] for column in columns):,}"],
        )
        for line in lines
    ]
    sums = [f"{sum(folded[line, column] for line in lines):,}" for column in columns]
    return Crosstab(
        answer, by, [*columns, "sum"], [*told, ("sum", [*sums, f"{total:,}"])], total, whole
    )
