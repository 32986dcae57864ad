"""Two readings of the same rows side by side: of two jobs, or of a job and a column of its source.

Rows are read page by page along the first job's requests; what is kept are counts.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import compress, count, repeat
from operator import and_, itemgetter, not_
from typing import Any, cast

from .. import store
from ..answers.codebook import Variable, job_codebook
from ..answers.schema import (
    AnswerSchema,
    quick_check,
    quick_check_all,
    quick_check_lines,
    unsure,
)
from ..base.errors import JobError, UsageError
from ..base.outcome import picked
from ..base.statuses import UNSENT
from ..base.text import listed, meant
from ..store import outcomes, reviews
from ..tables.columns import fold
from ..tables.output import Output
from ..tables.source import source_of_job
from ..tables.sql import is_blank
from .agreement import Agreement, alpha, folded, interval, macro_f1, nominal, table_of

# What answers and cells say, as values that can be compared.

TRUE, FALSE = ("1", "true", "yes", "y"), ("0", "false", "no", "n")

Values = tuple[Any, ...]


class Answers:
    """The answers of one job, as the values of their columns."""

    def __init__(self, job: store.Job) -> None:
        self.job = job
        schema = AnswerSchema.from_json(job.answer_schema) if job.answer_schema else None
        self.schema = schema
        # What stands beside the answers comes behind them, and is no answer to be compared.
        columns = [one for one in schema.columns if one.name not in job.beside] if schema else []
        self.names = [column.name for column in columns] if schema else ["answer"]
        self.kinds = [column.kind for column in columns] if schema else ["string"]
        self.quick: Callable[[Any], Values] = (schema and quick_check(schema)) or unsure
        self.quick_all = quick_check_all(schema) if schema else None
        self.quick_lines = quick_check_lines(schema) if schema else None
        self.repeated, self.pages = True, 0

    def values(self, status: str | None, answer: Any) -> Values | None:
        """The values of an answer; None where there is none."""
        return self.read(answer) if status == "ok" else None

    def sql(self, request: str) -> str:
        """What is read of an answer: of JSON the bytes, which are parsed as they are."""
        return f"CAST({request}.answer AS BLOB)" if self.schema else f"{request}.answer"

    def read(self, answer: Any) -> Values | None:
        """The values of an answer that is ok."""
        if self.schema is None:
            return (answer,)
        if isinstance(answer, bytes):
            answer = answer.decode("utf-8", "replace")
        try:
            return self.quick(answer)
        # What msgspec raises is a ValueError; an answer that somebody changed may be no text.
        except (ValueError, TypeError, RecursionError):
            return self.schema.check(answer).values

    def all_values(self, good: Sequence[int | None], answers: Sequence[Any]) -> list[Values | None]:
        """The values of many answers, of those that are good."""
        found = self.values_of(list(compress(answers, good)))
        if len(found) == len(answers):
            return found
        rest = iter(found)
        return [next(rest) if ok else None for ok in good]

    def values_of(self, texts: list[Any]) -> list[Values | None]:
        """The values of many answers that are ok."""
        try:
            return self.read_all(texts)
        except (ValueError, RecursionError, TypeError, AttributeError):
            # which of them isn't plain shows one by one
            return list(map(self.read, texts))

    def values_of_lines(self, lines: bytes, number: int) -> list[Values | None]:
        """The values of so many answers that are ok, one to a line."""
        # Where many are the same, as labels are, each is read once. Where they weren't, they are
        # looked at again now and then.
        self.pages += 1
        if self.quick_lines is not None and not self.repeated and self.pages % 16:
            try:
                found = self.quick_lines(lines, number)
            except (ValueError, RecursionError):
                found = None
            if found is not None:
                return list(found)
        texts = lines.split(b"\n")
        self.repeated = 2 * len(set(texts)) <= number
        return self.values_of(texts)

    def read_all(self, texts: list[Any]) -> list[Values | None]:
        """The values of answers that are plain. Raises ValueError and TypeError for others."""
        if self.schema is None:
            return list(zip(texts, strict=True))
        if self.quick_all is None:
            raise ValueError
        if set(map(type, texts)) != {bytes}:
            texts = [one if one.__class__ is bytes else one.encode() for one in texts]
        different = set(texts)
        if 2 * len(different) > len(texts):
            return list(self.quick_all(texts))
        # Many are the same, as labels are.
        known = dict(zip(different, self.quick_all(list(different)), strict=True))
        return list(map(known.get, texts))


def as_kind(value: Any, kind: str) -> Any:
    """A cell as the kind of value that an answer is, where it can be read so."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if kind in ("integer", "number"):
        try:
            return float(text)
        except ValueError:
            return value
    if kind == "boolean" and text.casefold() in (*TRUE, *FALSE):
        return int(text.casefold() in TRUE)
    return value


def as_list(text: str) -> list[str]:
    """The elements of a list: a JSON array, or text that is one element."""
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    found = value if isinstance(value, list) else [value]
    return [one if isinstance(one, str) else json.dumps(one, sort_keys=True) for one in found]


#: What the other side is called where it is people.
PEOPLE = "people"
#: Of bytes from 0 to 7: 1 for 7, else 0.
ALL_THREE = bytes(one == 7 for one in range(256))
# Rows that are read together; embeddings and long answers make it fewer.
PAGE = 1_000
KINDS = {"integer": "number", "number": "number", "array": "list"}


@dataclass
class Page:
    """Some rows: the key of each, and what both sides say of it, None where one says nothing."""

    row_keys: list[Any] = field(default_factory=list)
    own: list[Values | None] = field(default_factory=list)
    other: list[Values | None] = field(default_factory=list)
    asked: list[bool] = field(default_factory=list)
    """Whether the other side was asked about the row."""
    alike: list[Values] = field(default_factory=list)
    """What both sides say of other rows, of which they say the same."""


@dataclass
class Account:
    """What became of all rows in one column's comparison; the sum is all of them."""

    compared: int = 0
    no_first: int = 0
    no_second: int = 0
    neither: int = 0
    only_first: int = 0
    """Rows that only the first job asked about."""
    only_second: int = 0

    @property
    def total(self) -> int:
        """All rows."""
        return sum(vars(self).values())

    def add(self, kinds: Mapping[tuple[bool, bool, bool], int]) -> None:
        """Count rows by whether the second was asked, and whether the first and it answered."""
        self.compared += kinds.get((True, True, True), 0)
        self.no_first += kinds.get((True, False, True), 0)
        self.no_second += kinds.get((True, True, False), 0)
        self.neither += kinds.get((True, False, False), 0)
        self.only_first += kinds.get((False, True, False), 0) + kinds.get((False, False, False), 0)


@dataclass
class Compared:
    """One column of answers, and how both readings of it agree."""

    name: str
    other: str
    """What it is called on the other side."""
    place: int
    other_place: int
    kind: str
    agreement: Agreement
    account: Account = field(default_factory=Account)


class Comparison:
    """Compares a job with another one, or with columns of its source (`gold`).

    `gold` maps answer columns to columns of the source; an empty name stands for the only one.
    With `people` the other side is what people say of the rows (`review`): most of them, by the
    newest of each. With `fold_case` texts are the same whatever their capitals and white space.
    Read `differences` to the end, then `columns` has the figures. Raises UsageError and JobError.
    """

    def __init__(
        self,
        conn: sqlite3.Connection,
        first: store.Job,
        second: store.Job | None = None,
        *,
        gold: Mapping[str, str] | None = None,
        people: bool = False,
        wanted: Sequence[str] = (),
        fold_case: bool = False,
    ) -> None:
        self.conn = conn
        self.first = Answers(first)
        self.second = Answers(second) if second else None
        self.fold_case = fold_case
        self.wanted = tuple(wanted)
        self.said = reviews.of_job(conn, first.id) if people else []
        self.labels = reviews.reviewed(self.said)
        self.people = people
        if people:
            self.gold = self.judged_columns()
        else:
            self.gold = [] if self.second else self.gold_columns(gold or {})
        self.columns = self.pair_up(wanted)
        for job in filter(None, (first, second)):
            check_has_answers(conn, job)
        if second is not None:
            check_same_rows(first, second)

    # which columns

    def gold_columns(self, gold: Mapping[str, str]) -> list[tuple[str, str]]:
        """Pairs of an answer column and the source's column that holds what is right."""
        names = self.first.names
        found = []
        for name, column in gold.items():
            if not name and len(names) > 1:
                same = [own for own in names if fold(own) == fold(column)]
                if not same:
                    raise UsageError(
                        f"Which answer of job {self.first.job.id} is '{column}' to be compared "
                        f"with? Write --gold {names[0]}={column}. Answers: {listed(names)}"
                    )
                name = same[0]
            found.append((self.known(name or names[0], names), column))
        for _, column in found:
            self.refuse_own(column)
        return found

    def judged_columns(self) -> list[tuple[str, str]]:
        """The answer columns that people judged. Raises UsageError where there are none."""
        judged = {name for said in self.labels.values() for name in said}
        if not judged:
            raise UsageError(
                "Compare with what? Name another job, or --gold COLUMN: one of them. "
                f"Or label some rows first: review DB {self.first.job.id}"
            )
        return [(name, PEOPLE) for name in self.first.names if name in judged]

    def refuse_own(self, column: str) -> None:
        """Raise UsageError for a column that holds the job's own answers."""
        job = self.first.job
        output = Output.of(job)
        if output.write and output.table is None and fold(column) in map(fold, output.names):
            raise UsageError(
                f"{job.source}.{column} holds what job {job.id} wrote itself. "
                "Name the column that people filled in."
            )

    def pair_up(self, wanted: Sequence[str]) -> list[Compared]:
        """The columns that both sides have, or those of them that are wanted."""
        first, second = self.first, self.second
        if second is None:
            pairs = [(name, other, n) for n, (name, other) in enumerate(self.gold)]
        elif len(first.names) == len(second.names) == 1:
            pairs = [(first.names[0], second.names[0], 0)]
        else:
            others = {fold(name): n for n, name in enumerate(second.names)}
            pairs = [
                (name, second.names[others[fold(name)]], others[fold(name)])
                for name in first.names
                if fold(name) in others
            ]
        if not pairs and second is not None:
            raise UsageError(
                f"Jobs {first.job.id} and {second.job.id} have no answer in common: "
                f"{listed(first.names)}; {listed(second.names)}."
            )
        names = [name for name, _, _ in pairs]
        chosen = {self.known(name, names) for name in wanted} or set(names)
        return [self.column(*pair) for pair in pairs if pair[0] in chosen]

    def column(self, name: str, other: str, other_place: int) -> Compared:
        """One column to be compared."""
        place = self.first.names.index(name)
        kinds = {self.first.kinds[place]}
        if self.second is not None:
            kinds.add(self.second.kinds[other_place])
        mapped = {KINDS.get(kind, "label") for kind in kinds}
        kind = mapped.pop() if len(mapped) == 1 else "label"
        codebook = job_codebook(self.first.job.settings)
        variable = codebook.variable(name) if codebook else None
        if variable is not None and variable.labels and not variable.several:
            kind = "label"  # codes are numbers, and yet labels
        return Compared(
            name, other, place, other_place, kind, Agreement(kind, order=self.order_of(variable))
        )

    def order_of(self, variable: Variable | None) -> tuple[Any, ...]:
        """The labels of a column in the codebook's order, as they are compared."""
        order = variable.order if variable else ()
        return tuple(
            folded(one) if self.fold_case and isinstance(one, str) else one for one in order
        )

    def known(self, name: str, names: Sequence[str]) -> str:
        """The answer column of that name. Raises UsageError."""
        for one in names:
            if fold(one) == fold(name):
                return one
        raise UsageError(
            f"No answer '{name}' to be compared. {meant(name, names)}Answers: {listed(names)}"
        )

    # rows

    def differences(self) -> Iterator[tuple[Any, list[tuple[Any, Any]]]]:
        """Compare all rows; yield those that differ: (row key, [(first, second) by column])."""
        matched = 0
        for page in self.pages():
            matched += sum(page.asked) + len(page.alike)
            for n in self.compare(page):
                own, other = page.own[n], page.other[n]
                assert own is not None
                assert other is not None
                yield (
                    page.row_keys[n],
                    [(own[column.place], other[column.other_place]) for column in self.columns],
                )
        if self.second is not None:
            parts = store.list_parts(self.conn, self.second.job.id)
            rest = sum(store.outcome_counts(parts).values()) - matched
            for column in self.columns:
                column.account.only_second = rest

    def compare(self, page: Page) -> Iterable[int]:
        """Count the rows of a page; say which of them differ."""
        if self.second is None:
            rows = zip(page.own, page.other, page.asked, strict=True)
            return [n for n, row in enumerate(rows) if self.compare_row(*row)]
        for column in self.columns if page.alike else ():
            column.account.compared += len(page.alike)
            values = map(itemgetter(column.place), page.alike)
            if column.kind == "list" or self.fold_case:
                values = map(self.seen, repeat(column), values)
            column.agreement.add_same(values, len(page.alike))
        return self.compare_all(page) if page.own else ()

    def compare_all(self, page: Page) -> Iterable[int]:
        """Count the rows of a page of two jobs; say which of them differ."""
        has_own = [values is not None for values in page.own]
        has_other = [values is not None for values in page.other]
        kinds = Counter(zip(page.asked, has_own, has_other, strict=True))
        both = list(map(and_, has_own, has_other))
        own = cast("list[Values]", list(compress(page.own, both)))
        other = cast("list[Values]", list(compress(page.other, both)))
        same = [True] * kinds[True, True, True]
        for column in self.columns:
            column.account.add(kinds)
            if own:
                a = list(map(itemgetter(column.place), own))
                b = list(map(itemgetter(column.other_place), other))
                if column.kind == "list" or self.fold_case:
                    a, b = ([self.seen(column, one) for one in side] for side in (a, b))
                same = list(map(and_, same, column.agreement.add_all(a, b)))
        return compress(compress(count(), both), map(not_, same))

    def compare_row(self, own: Values | None, other: Values | None, asked: bool) -> bool:
        """Count one row; say whether both sides differ."""
        differs = False
        for column in self.columns:
            differs |= self.compare_cell(column, own, other, asked)
        return differs

    def compare_cell(
        self, column: Compared, own: Values | None, other: Values | None, asked: bool
    ) -> bool:
        """Count one row in one column; say whether both sides differ there."""
        account = column.account
        if not asked:
            account.only_first += 1
            return False
        has_other = other is not None and (
            self.second is not None or not is_blank(other[column.other_place])
        )
        if own is None or other is None or not has_other:
            account.neither += own is None and not has_other
            account.no_first += own is None and has_other
            account.no_second += own is not None and not has_other
            return False
        account.compared += 1
        a, b = own[column.place], other[column.other_place]
        if self.second is None:
            b = as_kind(b, self.first.kinds[column.place])
        return not column.agreement.add(self.seen(column, a), self.seen(column, b))

    def seen(self, column: Compared, value: Any) -> Any:
        """A value as it is compared: lists as sets, texts folded where that is wished for."""
        if column.kind == "list" and isinstance(value, str):
            return frozenset(as_list(value))
        if self.fold_case and isinstance(value, str):
            return folded(value)
        return value

    def pages(self) -> Iterator[Page]:
        """All rows of the first job, with what both sides say of them."""
        if self.people:
            return self.pages_with_people()
        return self.pages_of_jobs() if self.second else self.pages_with_source()

    def pages_with_people(self) -> Iterator[Page]:
        """The rows that people judged, with what the model and they say; the others aren't read."""
        page = Page()
        for request, said in sorted(self.labels.items()):
            row_key, status, answer = reviews.row_of(self.conn, self.first.job.id, request)
            page.row_keys.append(row_key)
            page.own.append(self.first.values(status, answer))
            page.other.append(tuple(said.get(name) for name, _ in self.gold))
            page.asked.append(True)
        yield page

    def coders(self, column: Compared) -> tuple[list[str], float | None]:
        """Who judged a column, and Krippendorff's α of what they say, where they are several."""
        units: dict[int, list[Any]] = {}
        coders = set()
        for review in self.said:
            if review.column == column.name and not review.skipped:
                units.setdefault(review.request_id, []).append(self.seen(column, review.value))
                coders.add(review.coder)
        distance = interval if column.kind == "number" else nominal
        return sorted(coders), alpha(units.values(), distance) if len(coders) > 1 else None

    def pages_of_jobs(self) -> Iterator[Page]:
        """Rows of the first job beside those of the second, where it asked about them too."""
        first, second = self.first, self.second
        assert second is not None
        # An answer that is the same is read once: most are.
        alike_sql, other_sql = "0", second.sql("r1")
        same_schema = first.job.answer_schema == second.job.answer_schema
        if same_schema:
            alike_sql = "r0.answer IS r1.answer"
            other_sql = f"CASE WHEN r0.answer IS NOT r1.answer THEN {other_sql} END"
        # One number for three questions: each column of a row takes its time.
        told_sql = f"(r0.status IS 'ok') + 2 * (r1.status IS 'ok') + 4 * ({alike_sql})"
        cells = ("r0.row_key", told_sql, first.sql("r0"), other_sql)
        jobs = (first.job.id, second.job.id)
        if not same_schema or first.quick_lines is None:
            for page in outcomes.beside(self.conn, jobs, cells, (), PAGE):
                yield self.page_of_jobs(page)
            return
        for number, lines, page in outcomes.beside_alike(self.conn, jobs, cells, PAGE):
            whole = self.page_of_jobs(page) if page else Page()
            if number:
                values = first.values_of_lines(lines, number)
                alike = [one for one in values if one is not None] if None in values else values
                whole.alike += cast("list[Values]", alike)
                # what can't be read says nothing, of either job
                unread = number - len(alike)
                whole.row_keys += [None] * unread
                whole.own += [None] * unread
                whole.other += [None] * unread
                whole.asked += [True] * unread
            yield whole

    def page_of_jobs(self, page: list[tuple[Any, ...]]) -> Page:
        """Rows of both jobs as a page."""
        first, second = self.first, self.second
        assert second is not None
        _, asked, keys, told, answers, others = zip(*page, strict=True)
        same = bytes(told).translate(ALL_THREE)
        alike = first.values_of(list(compress(answers, same)))
        if None in alike:
            # what can't be read says nothing
            places = compress(count(), same)
            unread = set(compress(places, [values is None for values in alike]))
            same = bytes(one and n not in unread for n, one in enumerate(same))
        rest = list(compress(count(), map(not_, same)))
        texts = [answers[n] if told[n] & 4 else others[n] for n in rest]
        return Page(
            picked(keys, rest),
            first.all_values([told[n] & 1 for n in rest], picked(answers, rest)),
            second.all_values([told[n] & 2 for n in rest], texts),
            [asked[n] is not None for n in rest],
            [values for values in alike if values is not None],
        )

    def pages_with_source(self) -> Iterator[Page]:
        """Rows of the job beside what their source holds now."""
        job, columns = self.first.job, [column for _, column in self.gold]
        with closing(source_of_job(self.conn, job)) as source:
            after, last = outcomes.id_range(self.conn, job.id)
            after -= 1
            while page := outcomes.results_page(self.conn, job.id, after, last, (), PAGE):
                ids, row_keys, statuses, answers, _ = zip(*page, strict=True)
                after = ids[-1]
                found = source.fetch(columns, row_keys)
                good = [status == "ok" for status in statuses]
                yield Page(
                    list(row_keys),
                    self.first.all_values(good, answers),
                    list(map(found.get, row_keys)),
                    [True] * len(page),
                )


def check_has_answers(conn: sqlite3.Connection, job: store.Job) -> None:
    """Raise JobError for a job without an answer."""
    counts = store.outcome_counts(store.list_parts(conn, job.id))
    if not counts.get("ok"):
        why = "it failed" if set(counts) <= set(UNSENT) else f"it is {job.status}"
        raise JobError(f"Job {job.id} has no answer to compare yet: {why}.")


def check_same_rows(first: store.Job, second: store.Job) -> None:
    """Raise UsageError where two jobs can't have rows in common."""
    if first.id == second.id:
        raise UsageError(f"Job {first.id} agrees with itself. Name another job, or --gold COLUMN.")
    own, other = ([fold(key) for key in job.keys] for job in (first, second))
    if len(own) != len(other):
        raise UsageError(
            f"Jobs {first.id} and {second.id} have no rows in common: the keys of one are "
            f"{listed(first.keys)}, of the other {listed(second.keys)}."
        )


# What is kept of a comparison, for the job's page: an event of the log called `compared`.

# Labels of a table that is kept.
MOST_LABELS = 30


def for_the_log(comparison: Comparison) -> dict[str, Any]:
    """What is kept of a comparison: figures, and tables of labels that a schema names.

    Answers themselves aren't: what the log holds is read by more people than the answers are.
    """
    second = comparison.second
    kept = []
    for column in comparison.columns:
        found = column.agreement
        kappa = found.kappa
        kept.append(
            {
                "name": column.name,
                "other": column.other,
                "kind": column.kind,
                **vars(column.account),
                "same": found.same,
                "kappa": kappa and [kappa.value, kappa.low, kappa.high],
                "mean_difference": found.moments.mean_difference,
                "correlation": found.moments.correlation,
                "concordance": found.moments.concordance,
                "overlap": found.overlap if column.kind == "list" else None,
                **named_table(comparison, column),
            }
        )
    detail: dict[str, Any] = {"with": second.job.id if second else None, "columns": kept}
    return {**detail, "people": True} if comparison.people else detail


def named_table(comparison: Comparison, column: Compared) -> dict[str, Any]:
    """The labels that the schema names, and how often each came with each, all others last."""
    pairs, labels = column.agreement.pairs, named_labels(comparison, column)
    if not pairs or not labels or len(labels) > MOST_LABELS:
        return {}
    counted_as = [
        folded(label) if comparison.fold_case and isinstance(label, str) else label
        for label in labels
    ]
    return {"labels": list(labels), "table": table_of(pairs, counted_as)}


def named_labels(comparison: Comparison, column: Compared) -> Sequence[str | int]:
    """The labels of an enumeration, or the steps of a range of integers; else none."""
    schema = comparison.first.schema
    node = schema.json["properties"][column.name] if schema else {}
    if "enum" in node:
        return [label for label in node["enum"] if isinstance(label, str | int)]
    first, last = node.get("minimum"), node.get("maximum")
    if node.get("type") != "integer" or not isinstance(first, int) or not isinstance(last, int):
        return ()
    return range(first, last + 1) if column.kind == "number" else ()


# What a column of a comparison has as data.
FIGURES = ("column", "with", "compared", "same", "agreement", "kappa", "kappa_low", "kappa_high",
           "macro_f1", "mean_difference", "correlation", "concordance", "overlap",
           "weighted_kappa", "alpha", "weighted_low", "weighted_high")  # fmt: skip


def figures(comparison: Comparison, column: Compared) -> dict[str, Any]:
    """The figures of one column, by the names of FIGURES."""
    found = column.agreement
    kappa, weighted = found.kappa, found.weighted
    gold = comparison.second is None
    is_number = found.kind == "number"
    values = [
        column.name, column.other, found.n, found.same, found.share,
        kappa and kappa.value, kappa and kappa.low, kappa and kappa.high,
        macro_f1(found.pairs) if gold and found.pairs and found.kind == "label" else None,
        found.moments.mean_difference if is_number else None,
        found.moments.correlation if is_number else None,
        found.moments.concordance if is_number else None,
        found.overlap / found.n if found.kind == "list" and found.n else None,
        weighted and weighted.value,
        comparison.coders(column)[1] if comparison.people else None,
        weighted and weighted.low, weighted and weighted.high,
    ]  # fmt: skip
    return dict(zip(FIGURES, values, strict=True))
