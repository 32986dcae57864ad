"""What was asked again of a job, and what came of it: repairs, other models, better answers.

Each round is what was asked again in one way of one model: how many rows, what that cost, which
labels it changed, and, where people labelled the rows, whether it was worth it.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import store
from ..answers.confidence import labels_of
from ..answers.schema import UNUSUAL, AnswerSchema, stored_json
from ..base.text import counted, plain
from ..pricing.prices import job_is_own, usd
from ..store import earlier, reviews
from ..store.costs import is_unpriced

#: What stands in the place of a label where there is no answer.
NO_ANSWER = "no answer"


@dataclass
class Worth:
    """What people's labels say of a round, in one column."""

    rows: int = 0
    right_before: int = 0
    right_after: int = 0
    corrected: int = 0


@dataclass
class Round:
    """What was asked again in one way."""

    why: str
    model: str | None
    """The model that was asked, where it was another one."""
    requests: int = 0
    good: int = 0
    """Those whose answer is good now, and comes of this."""
    parts: set[int] = field(default_factory=set)
    moved: dict[str, Counter[tuple[str, str]]] = field(default_factory=dict)
    """Labels before and after, by column: how many rows."""
    worth: dict[str, Worth] = field(default_factory=dict)
    cost: int | None = 0
    """What its parts cost, in nano-dollars; None where that isn't known."""

    @property
    def changed(self) -> dict[str, list[tuple[str, str, int]]]:
        """Labels that became others, by column, the most frequent first."""
        return {
            column: [(old, new, n) for (old, new), n in pairs.most_common() if old != new]
            for column, pairs in self.moved.items()
        }


@dataclass(frozen=True)
class _Said:
    """An answer to a request: which part brought it, what became of it."""

    part: int | None
    status: str
    answer: Any


def rounds(conn: sqlite3.Connection, job: store.Job) -> list[Round]:
    """What was asked again of a job by `retry` or `--repair`, in the order in which it began."""
    before: dict[int, list[earlier.Answer]] = {}
    for answer in earlier.of_job(conn, job.id):
        before.setdefault(answer.request_id, []).append(answer)
    if not before:
        return []
    parts = {part.id: part for part in store.list_parts(conn, job.id)}
    labels = _label_names(job)
    people = reviews.reviewed(reviews.of_job(conn, job.id))
    found: dict[tuple[str, str | None], Round] = {}
    now = current(conn, list(before))
    for request, answers in before.items():
        for why, old, new, counts in steps(answers, now[request]):
            part = parts.get(new.part or 0)
            model = part and part.changes.get("model")
            asked = str(model) if model and model != job.model else None
            one = found.setdefault((why, asked), Round(why, asked))
            one.requests += 1
            one.good += counts and new.status == "ok"
            if new.part is not None:
                one.parts.add(new.part)
            _compare(one, labels, old, new if counts else old, people.get(request, {}))
    for one in found.values():
        costs = [parts[part] for part in one.parts if part in parts]
        known = [part.cost_nanousd or 0 for part in costs if not is_unpriced(part)]
        one.cost = sum(known) if len(known) == len(costs) else None
    return list(found.values())


def steps(
    answers: Sequence[earlier.Answer], now: _Said
) -> Iterator[tuple[str, _Said, _Said, bool]]:
    """Each time that a request was asked again: why, before, after, and whether that counts."""
    for place, one in enumerate(answers):
        if one.why == earlier.UNUSED:
            yield earlier.RETRY, now, _Said(one.part_id, one.status, one.answer), False
        elif one.why in (earlier.RETRY, earlier.REPAIR):
            after = next((next_ for next_ in answers[place + 1 :]), None)
            new = _Said(after.part_id, after.status, after.answer) if after else now
            yield one.why, _Said(one.part_id, one.status, one.answer), new, True


def current(conn: sqlite3.Connection, ids: Sequence[int]) -> dict[int, _Said]:
    """What requests hold now, by id."""
    found: dict[int, _Said] = {}
    for some in earlier.chunks(ids):
        marks = ", ".join("?" * len(some))
        for request, part, status, answer in conn.execute(
            f"SELECT id, part_id, status, answer FROM openai_batch_requests WHERE id IN ({marks})",
            some,
        ).fetchall():
            found[request] = _Said(part, status, answer)
    return found


def _label_names(job: store.Job) -> list[str]:
    if job.answer_schema is None:
        return []
    return list(labels_of(AnswerSchema.from_json(job.answer_schema)))


def _compare(
    one: Round, labels: Sequence[str], old: _Said, new: _Said, people: dict[str, Any]
) -> None:
    if new.status == "pending":
        return
    first, second = _labels(old, labels), _labels(new, labels)
    for name in labels:
        pairs = one.moved.setdefault(name, Counter())
        pairs[shown(first.get(name, NO_ANSWER)), shown(second.get(name, NO_ANSWER))] += 1
        if name in people:
            worth = one.worth.setdefault(name, Worth())
            was, is_ = (said.get(name) == people[name] for said in (first, second))
            worth.rows += 1
            worth.right_before += was
            worth.right_after += is_
            worth.corrected += is_ and not was


def _labels(said: _Said, names: Sequence[str]) -> dict[str, Any]:
    if said.status != "ok":
        return {}
    try:
        value = stored_json(said.answer)
        return {name: value[name] for name in names}
    except UNUSUAL:
        return {}


def shown(value: Any) -> str:
    """A label as people read it."""
    if value is None:
        return "NULL"
    return str(value).lower() if isinstance(value, bool) else str(value)


# In words.


def round_words(one: Round) -> str:
    """What was done in a round, and what came of it."""
    rows = counted(one.requests, "row")
    if one.why == earlier.REPAIR:
        wrong = counted(one.requests, "wrong answer")
        whom = f" to {one.model}" if one.model else ""
        return f"{wrong} sent back{whom} with what was wrong: {one.good:,} right now"
    whom = f" of {one.model}" if one.model else " again"
    return f"{rows} asked{whom}: {one.good:,} answered"


def cost_words(job: store.Job, one: Round) -> str:
    """What a round added to the cost; nothing where nothing is paid."""
    if job_is_own(job.provider, job.base_url, job.settings):
        return ""
    return "cost not known" if one.cost is None else usd(one.cost)


def again_lines(conn: sqlite3.Connection, job: store.Job) -> list[str]:
    """What was asked again of a job, a sentence a round."""
    found = []
    for one in rounds(conn, job):
        cost = cost_words(job, one)
        found.append(f"{round_words(one)}{cost and f' ({cost})'}.")
    return found


def worth_words(one: Round, column: str) -> str:
    """What a round was worth by people's labels, in one column."""
    worth = one.worth[column]
    said = (
        f"of {counted(worth.rows, 'row')} that people labelled, {worth.right_before:,} were right "
        f"before and {worth.right_after:,} after"
    )
    if worth.corrected and one.cost:
        # All rows of the round were paid for; those that people labelled stand for the others.
        each = one.cost * worth.rows // one.requests // worth.corrected
        said += f": {usd(each)} for each row that was corrected"
    return said


def again_section(job: store.Job, found: Sequence[Round]) -> Iterator[str]:
    """The section of a report about what was asked again; nothing where nothing was."""
    if not found:
        return
    yield "## Asked again"
    yield ""
    yield (
        "An answer counts until a better one has come; all of them are kept with the model that "
        "gave them."
    )
    yield ""
    for one in found:
        cost = cost_words(job, one)
        yield f"- {round_words(one)}{cost and f', {cost} of the cost'}"
        for column in one.worth:
            yield f"- {plain(column)}: {worth_words(one, column)}"
    yield ""
    for one in found:
        for column, changes in one.changed.items():
            if not changes:
                continue
            yield f"| {plain(column)} before | after | rows |"
            yield "|---|---|---:|"
            for old, new, count in changes[:20]:
                yield f"| {plain(old)} | {plain(new)} | {count:,} |"
            yield ""


def repair_sentences(conn: sqlite3.Connection, job: store.Job, failed: int) -> list[str]:
    """What is said at the end of a job whose wrong answers went back by themselves."""
    times = int(job.settings.get("repair") or 0)
    if not times or not failed:
        return []
    told = []
    again = still_wrong(conn, job.id, times)
    if again:
        was = "answer was" if again == 1 else "answers were"
        told.append(
            f"{again:,} {was} wrong once more after {counted(times, 'repair')}: no more are made."
        )
    refused = conn.execute(
        "SELECT 1 FROM openai_batch_log WHERE job_id = ? AND event = 'not repaired' LIMIT 1",
        [job.id],
    ).fetchone()
    if refused is not None:
        told.append("The ceiling left no room for repairs: retry --repair with a higher one.")
    return told


def still_wrong(conn: sqlite3.Connection, job_id: int, times: int) -> int:
    """How many requests of a job are wrong after so many repairs."""
    return sum(
        len(earlier.repaired(conn, part.id, times))
        for part in store.list_parts(conn, job_id)
        if part.repairs
    )
