"""`vote`: what most of several jobs say of each row, in columns of its own. Nothing is sent.

A vote is a job like any other, with answers, a write-back that `revert` undoes, and results; its
answers are those that most of the others give. One that was cut is finished by the same command.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import Any

from .. import store
from ..answers.confidence import labels_of
from ..answers.schema import UNUSUAL, AnswerSchema, columns_of, stored_json
from ..base import clock
from ..base.errors import JobError, UsageError
from ..base.text import counted, listed
from ..store import votes
from ..store.connection import Commits, cached, transaction
from ..tables.columns import OutputColumn
from ..tables.output import Output, check_output
from ..tables.source import source_of_job
from .ballot import SHARE, Count, Result, vote
from .revert import check_settled
from .writeback import Writer, Written

PAGE = 1_000
#: Results that are kept for rows with the same voices.
RESULTS = 100_000
#: The column of jobs whose answers have no schema.
TEXT = "answer"


@dataclass(frozen=True)
class Wish:
    """How a vote was asked for."""

    columns: Sequence[str] = ()
    output: str | None = None
    output_table: str | None = None
    replace: bool = False
    ties: store.Job | None = None
    """The job that decides where labels have as many voices."""
    name: str | None = None


@dataclass
class Voted:
    """What a vote came to."""

    job: store.Job
    output: Output
    counts: dict[str, Count] = field(default_factory=dict)
    written: Written = field(default_factory=Written)


@dataclass(frozen=True)
class Poll:
    """A vote that can be held: its jobs, columns, and the schema of its answers."""

    jobs: tuple[store.Job, ...]
    columns: tuple[str, ...]
    schema: dict[str, Any]
    output: Output
    decides: int | None
    text: bool
    """Whether the answers are text as a whole."""


def hold(
    conn: sqlite3.Connection,
    jobs: Sequence[store.Job],
    wish: Wish,
    progress: Callable[[int], None] = lambda rows: None,
) -> Voted:
    """Vote, and write what came of it. Raises UsageError, JobError and OutputError before that."""
    poll = planned(conn, jobs, wish)
    check_same_rows(conn, poll.jobs)
    job = unfinished(conn, poll)
    if job is None:
        with closing(source_of_job(conn, poll.jobs[0])) as source:
            check_output(conn, source, poll.output)
        job = begin(conn, poll, wish.name)
    return count(conn, job, poll, progress)


def planned(conn: sqlite3.Connection, jobs: Sequence[store.Job], wish: Wish) -> Poll:
    """See that these jobs can vote. Raises UsageError and JobError."""
    if len(jobs) < 2:
        raise UsageError("A vote needs the answers of two jobs at least: vote DB JOB JOB JOB.")
    if len({job.id for job in jobs}) < len(jobs):
        raise UsageError("A job is named twice. Name each job once.")
    if wish.ties is not None and wish.ties.id not in {job.id for job in jobs}:
        raise UsageError(f"--ties {wish.ties.id}: name one of the jobs that vote.")
    first = jobs[0]
    for job in jobs:
        check_settled(conn, job)
        if not store.outcome_counts(store.list_parts(conn, job.id)).get("ok"):
            raise JobError(f"Job {job.id} has no answers: it can't vote.")
        if (job.source, job.source_sql, job.keys) != (first.source, first.source_sql, first.keys):
            raise UsageError(
                f"Jobs {first.id} and {job.id} are about different rows: one asked about "
                f"{first.source or 'a query'}, the other about {job.source or 'a query'}."
            )
    schemas = [AnswerSchema.from_json(job.answer_schema) if job.answer_schema else None
               for job in jobs]  # fmt: skip
    columns = common(jobs, schemas, wish.columns)
    text = schemas[0] is None
    if wish.output is not None and len(columns) > 1:
        raise UsageError(
            f"--output names one column, and {listed(columns)} are voted on. Name one of them with "
            "--column."
        )
    names = {name: wish.output or f"{name}_vote" for name in columns}
    nodes = {name: node_of(name, jobs, schemas) for name in columns}
    schema = schema_of(nodes)
    kinds = {one.name: one.sqlite_type for one in columns_of(schema)}
    shown = [
        OutputColumn(f"{names[name]}{suffix}", kinds[f"{name}{suffix}"], f"{name}{suffix}")
        for suffix in ("", SHARE)
        for name in columns
    ]
    own = Output.of(first)
    output = Output(
        own.table if wish.output_table is None else wish.output_table,
        tuple(shown),
        replace=wish.replace,
        responses=own.responses,
    )
    ids = [job.id for job in jobs]
    decides = None if wish.ties is None else ids.index(wish.ties.id)
    return Poll(tuple(jobs), columns, schema, output, decides, text)


def common(
    jobs: Sequence[store.Job], schemas: Sequence[AnswerSchema | None], wanted: Sequence[str]
) -> tuple[str, ...]:
    """The columns that are voted on. Raises UsageError where jobs have none in common."""
    names = [
        [TEXT] if schema is None else [one for one in labels_of(schema) if one not in job.beside]
        for job, schema in zip(jobs, schemas, strict=True)
    ]
    shared = [name for name in names[0] if all(name in others for others in names)]
    found = tuple(name for name in shared if not wanted or name in wanted)
    if not found or len(found) < len(set(wanted)):
        told = "; ".join(
            f"job {job.id}: {listed(some) or 'none'}" for job, some in zip(jobs, names, strict=True)
        )
        raise UsageError(
            f"{'No label of all jobs: ' + listed(wanted) if wanted else 'No label in common'}. "
            f"A vote needs columns of labels, by the same name in each schema ({told})."
        )
    return found


def node_of(
    name: str, jobs: Sequence[store.Job], schemas: Sequence[AnswerSchema | None]
) -> dict[str, Any]:
    """What a vote on a column may come to. Raises UsageError where jobs choose of other labels."""
    first = schemas[0]
    if first is None:
        return {"type": ["string", "null"]}
    labels = labels_of(first)[name]
    for job, schema in zip(jobs[1:], schemas[1:], strict=True):
        others = labels_of(schema)[name] if schema is not None else ()
        if set(map(repr, others)) != set(map(repr, labels)):
            raise UsageError(
                f"Jobs {jobs[0].id} and {job.id} choose {name} of different labels: "
                f"{listed(map(str, labels))} and {listed(map(str, others))}."
            )
    if labels == (True, False):
        return {"type": ["boolean", "null"]}
    kinds = {"string" if isinstance(one, str) else "number" for one in labels}
    return {"type": [*sorted(kinds), "null"], "enum": [*labels, None]}


def schema_of(nodes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The schema of a vote's answers: its columns, then their shares."""
    share = {"type": ["number", "null"], "minimum": 0, "maximum": 1}
    properties = {**nodes, **{f"{name}{SHARE}": share for name in nodes}}
    return AnswerSchema(
        {"type": "object", "properties": properties, "required": list(properties)}
    ).json


def check_same_rows(conn: sqlite3.Connection, jobs: Sequence[store.Job]) -> None:
    """Raise UsageError where jobs asked about different rows of the same table."""
    by_times = sorted(jobs, key=lambda job: int(job.settings.get("times") or 1))
    if votes.same_rows(conn, [job.id for job in by_times]):
        return
    first = jobs[0]
    rows = votes.rows(conn, first.id)
    for job in jobs[1:]:
        theirs, both = votes.rows(conn, job.id), votes.rows_of_both(conn, first.id, job.id)
        if not rows == theirs == both:
            raise UsageError(
                f"Jobs {first.id} and {job.id} are about different rows: "
                f"{counted(rows, 'row')} and {counted(theirs, 'row')} of "
                f"{first.source or 'the query'}, {both:,} of them the same. Vote over jobs that "
                "asked about the same rows."
            )
    raise UsageError(
        f"Jobs {listed([str(job.id) for job in jobs])} didn't ask each row as often. Vote over "
        "jobs that asked about the same rows, each once, or each as many times."
    )


# The job that a vote is.


def key_of(poll: Poll) -> dict[str, Any]:
    """What tells a vote from others."""
    return {
        "jobs": [job.id for job in poll.jobs],
        "columns": list(poll.columns),
        "ties": None if poll.decides is None else poll.jobs[poll.decides].id,
        "output": poll.output.to_json(),
    }


def unfinished(conn: sqlite3.Connection, poll: Poll) -> store.Job | None:
    """The same vote, where it was cut."""
    key = key_of(poll)
    for job in store.list_jobs(conn):
        kept = job.settings.get("vote")
        if kept and job.status == "paused" and {name: kept.get(name) for name in key} == key:
            return job
    return None


def begin(conn: sqlite3.Connection, poll: Poll, name: str | None) -> store.Job:
    """Store the job of a vote, with no rows yet."""
    store.migrate(conn)
    first = poll.jobs[0]
    key = key_of(poll)
    settings = first.settings
    options = {
        "vote": {**key, "after": 0},
        "voted": list(poll.columns),
        **({"reads": settings["reads"]} if "reads" in settings else {}),
    }
    ids = [job.id for job in poll.jobs]
    now = clock.now()
    with transaction(conn):
        job_id = store.insert_job(
            conn,
            {
                "uid": store.new_uid(),
                "name": name,
                "status": "paused",
                "source": first.source,
                "source_sql": first.source_sql,
                "source_params": first.source_params,
                "key_columns": first.key_columns,
                "endpoint": first.endpoint,
                "model": f"vote of jobs {listed(map(str, ids))}",
                "template": first.template,
                "template_hash": hashlib.sha256(json.dumps(key).encode()).digest()[:16],
                "answer_schema": json.dumps(poll.schema, ensure_ascii=False),
                "output": poll.output.to_json(),
                "provider": "local",
                "options": json.dumps(options),
                "requests": 0,
                "skipped": 0,
                "created_at": now,
                "message": "this vote was cut: vote by the same command again, and it goes on",
            },
        )
        store.insert_part(
            conn, job_id=job_id, number=1, status="completed", requests=0, bytes=0,
            ended_at=now, collected_at=now, written_at=now,
        )  # fmt: skip
        store.log(conn, "vote", job_id=job_id, jobs=ids)
    return store.get_job(conn, job_id)


def count(
    conn: sqlite3.Connection, job: store.Job, poll: Poll, progress: Callable[[int], None]
) -> Voted:
    """Vote on all rows that weren't yet, write what came of it, and end the job."""
    (part,) = store.list_parts(conn, job.id)
    kept = job.settings["vote"]
    counts = {name: Count(**kept.get("counts", {}).get(name, {})) for name in poll.columns}
    voted = Voted(job, poll.output, counts)
    after, asked, silent = int(kept.get("after", 0)), part.requests, job.skipped or 0
    seen = Seen(poll)
    with closing(Writer(conn, job)) as writer, cached(conn), Commits(conn) as commits:
        writer.ready()
        for page in votes.pages(conn, [one.id for one in poll.jobs], paths(poll), after, PAGE):
            commits.begin()
            if len(seen) > RESULTS:
                seen.clear()
            columns = list(zip(*page, strict=True))[len(poll.jobs) :]
            results = [seen[said] for said in zip(*columns[2:], strict=True)]
            found = [
                (row_key, digest, result)
                for row_key, digest, result in zip(*columns[:2], results, strict=True)
                if result is not None
            ]
            fates = writer.write([(key, digest, result.cells) for key, digest, result in found])
            rows = [(key, digest, result.answer) for key, digest, result in found]
            votes.insert(conn, job.id, part.id, rows, fates)
            for result, alike in Counter(results).items():
                for place, name in enumerate(poll.columns):
                    counts[name].add(result.results[place] if result else None, alike)
            after, asked, silent = page[-1][0], asked + len(rows), silent + len(page) - len(rows)
            votes.note(
                conn,
                job.id,
                part.id,
                asked,
                silent,
                {
                    **job.settings,
                    "vote": {
                        **kept,
                        "after": after,
                        "counts": {name: asdict(one) for name, one in counts.items()},
                    },
                },
            )
            commits.wrote(len(page))
            progress(asked + silent)
    store.build_indexes(conn)
    voted.written = writer.written
    with transaction(conn):
        store.update_job(
            conn, job.id, status="completed", message=None, finished_at=clock.now(),
            cost_nanousd=0,
        )  # fmt: skip
        store.update_part(conn, part.id, cost_nanousd=0, prompt_tokens=0, completion_tokens=0)
        store.log(conn, "completed", job_id=job.id)
    voted.job = store.get_job(conn, job.id)
    return voted


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """What a vote on one row came to: as an answer, and as cells. Equal where it is the same."""

    answer: str
    cells: tuple[Any, ...]
    results: tuple[Result | None, ...]


class Seen(dict[tuple[Any, ...], "Held | None"]):
    """The vote on a row by its voices: rows with the same ones are voted on once."""

    def __init__(self, poll: Poll) -> None:
        super().__init__()
        self.poll = poll

    def __missing__(self, voices: tuple[Any, ...]) -> Held | None:
        self[voices] = result = held(self.poll, voices)
        return result


def held(poll: Poll, voices: Sequence[Any]) -> Held | None:
    """The vote on one row, by what each job says of each column; None where nobody says anything.

    `voices` are those of the first job by column, then those of the next.
    """
    width = len(poll.columns)
    results = []
    for place in range(width):
        said = [
            spoken(poll, place, one) if isinstance(one, bytes) else one
            for one in voices[place::width]
        ]
        results.append(vote(said, poll.decides))
    if not any(results):
        return None
    labels = [one and one.label for one in results]
    shares = [one and one.share for one in results]
    names = [*poll.columns, *(f"{name}{SHARE}" for name in poll.columns)]
    booleans = [poll.schema["properties"][name]["type"][0] == "boolean" for name in poll.columns]
    said_so = [
        bool(label) if is_bool and label is not None else label
        for label, is_bool in zip(labels, booleans, strict=True)
    ]
    answer = json.dumps(
        dict(zip(names, [*said_so, *shares], strict=True)),
        ensure_ascii=False, separators=(",", ":"),
    )  # fmt: skip
    return Held(answer, (*labels, *shares), tuple(results))


def spoken(poll: Poll, place: int, answer: bytes) -> Any:
    """What an answer says of a column that SQLite couldn't read: in a code fence, say."""
    try:
        value = stored_json(answer.decode())[poll.columns[place]]
    except UNUSUAL:
        return None
    return int(value) if isinstance(value, bool) else value


def paths(poll: Poll) -> list[str | None]:
    """Where the columns stand in an answer; None for text as a whole."""
    if poll.text:
        return [None]
    return ['$."' + name.replace('"', '\\"') + '"' for name in poll.columns]
