"""The commands as functions, with their names and options.

    batches = Batches("movies.db")
    job = batches.run("movies", prompt="{{ title }}", schema="genre", max_cost=2.5)

An option is named as on the command line, with `_` for `-`: docs/python.md.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import store
from ..base.errors import (
    DatabaseError,
    UsageError,
)
from ..base.statuses import FAILED, outcomes_of
from ..jobs import manage, new_job
from ..jobs.plan.options import complete, inherit
from ..provider.places import Places
from ..store.connection import path_of
from .home import Home
from .job import Job, checked, teller
from .preview import Preview, look, tried_rows
from .shapes import as_given

if TYPE_CHECKING:
    import sqlite_utils

    from ..jobs.revert import Reverted
    from ..jobs.writeback import Written
    from .job import Progress

#: What names a job: itself, its id, or its name (of several the newest).
Which = Job | int | str


@dataclass(frozen=True)
class _Asked:
    """Options of a call, settled, with what they need open."""

    conn: sqlite3.Connection
    places: Places
    asked: new_job.Asked


class Batches:
    """The jobs of a database, and new ones.

    `database` is a path, or a `sqlite_utils.Database` or `sqlite3.Connection` of a file.
    `base_url` is another server than OpenAI, `key` its key (or the name of one that `llm keys`
    keeps); without them `OPENAI_BASE_URL` and `OPENAI_API_KEY` count. Raises DatabaseError.
    """

    def __init__(
        self,
        database: str | Path | sqlite_utils.Database | sqlite3.Connection,
        *,
        base_url: str | None = None,
        key: str | None = None,
    ) -> None:
        self.path = _path(database)
        self.base_url = base_url
        self._home = Home(self.path, key)
        with self._home.connection():
            pass  # says now what is wrong with the file

    def __repr__(self) -> str:
        return f"Batches({str(self.path)!r})"

    # New jobs.

    def preview(self, table: str | None = None, *, n: int = 3, **options: Any) -> Preview:
        """What a job would ask, cost and write, with its first `n` requests. Sends nothing."""
        with self._asked(table, options, needs_key=False) as found:
            return look(found.conn, found.asked, n)

    def try_(
        self,
        table: str | None = None,
        *,
        n: int = 5,
        max_cost: float | str | None = None,
        approve: bool = False,
        **options: Any,
    ) -> list[dict[str, Any]]:
        """Ask a few rows now, without a batch, and return their answers. Writes nothing."""
        from ..jobs.trial import choose, remember

        check_approved(max_cost, approve, "try_")
        with self._asked(table, {**options, "max_cost": max_cost}) as found:
            plan = found.asked.plan
            _, rows = choose(plan, n)
            if not rows:
                return []
            tried = new_job.try_rows(found.asked, found.places, rows)
            remember(plan, found.asked.place, tried)
            return tried_rows(found.asked, tried)

    def prepare(self, table: str | None = None, **options: Any) -> Job:
        """Store a job and send nothing; `submit` sends it."""
        with self._asked(table, options) as found:
            made, _ = new_job.store_job(
                found.conn, str(self.path), found.asked, found.places, sends=False
            )
            return Job(self._home, made.id)

    def run(
        self,
        table: str | None = None,
        *,
        max_cost: float | str | None = None,
        approve: bool = False,
        wait: bool = True,
        poll: float | None = None,
        progress: Progress | None = None,
        **options: Any,
    ) -> Job:
        """Ask about each row: prepare, send, wait, and write the answers back. Returns the job.

        Nothing is sent without `max_cost` (US dollars that the job never costs more than) or
        `approve=True`. Without `wait` it comes back after the first sends, and `job.wait()` goes
        on. `progress` is called with the job after each pass; a notebook shows a bar. Raises
        NothingToAsk where there is no row to ask about, NeedsAttention where the job is paused, and
        other errors of this package.
        """
        check_approved(max_cost, approve, "run")
        with self._asked(table, {**options, "max_cost": max_cost}) as found:
            made, _ = new_job.store_job(found.conn, str(self.path), found.asked, found.places)
            job = Job(self._home, made.id)
            told = teller(job, progress)
            checked(
                job,
                new_job.run(found.conn, made, found.places, poll=poll, wait=wait, told=told),
            )
            return job

    # Jobs that are there.

    def jobs(self) -> list[Job]:
        """All jobs, the newest first."""
        with self._home.connection() as conn:
            return [Job(self._home, one.id) for one in store.list_jobs(conn)]

    def job(self, which: Which | None = None) -> Job:
        """The job of that name or id, by default the newest. Raises JobError."""
        with self._home.connection() as conn:
            return Job(self._home, self._find(conn, which).id)

    def submit(
        self, which: Which, *, max_cost: float | str | None = None, approve: bool = False
    ) -> Job:
        """Send a prepared job, or go on with a paused one, as far as there is room."""
        from ..jobs.sync.outgoing import in_doubt

        check_approved(max_cost, approve, "submit")
        with self._home.connection() as conn, self._home.places() as places:
            found = manage.job_to_submit(conn, str(self.path), str(self._find(conn, which).id))
            provider = places.of_job(found)
            unseen = manage.doubtful(conn, provider, found)
            if unseen and not approve:
                raise UsageError(f"{in_doubt(provider.host, unseen)} approve=True does.")
            found = self._capped(conn, found, max_cost)
            manage.send_again(conn, unseen)
            job = Job(self._home, found.id)
            checked(job, new_job.run(conn, found, places, wait=False))
            return job

    def sync(self) -> list[Job]:
        """Do once what there is to do for all unfinished jobs; returns those."""
        from ..jobs.sync.watch import follow

        with self._home.connection() as conn, self._home.places() as places:
            open_ones = [one for one in reversed(store.list_jobs(conn)) if one.unfinished]
            follow(conn, open_ones, places, once=True)
            return [Job(self._home, one.id) for one in open_ones]

    def retry(
        self,
        which: Which,
        *,
        status: str | Sequence[str] = (),
        set: Mapping[str, Any] | None = None,
        max_cost: float | str | None = None,
        approve: bool = False,
        wait: bool = True,
        poll: float | None = None,
        progress: Progress | None = None,
    ) -> Job:
        """Ask the failed requests of a job once more; answers that came are left alone.

        `status` chooses some of them, `set` changes parameters: `set={"max_tokens": 800}`.
        """
        from ..jobs.sync.watch import follow

        check_approved(max_cost, approve, "retry")
        chosen = outcomes_of([status] if isinstance(status, str) else status)
        if not {*chosen} <= {*FAILED}:
            raise UsageError(f"status={status!r}: failed outcomes are {', '.join(FAILED)}.")
        with self._home.connection() as conn, self._home.places() as places:
            found = self._find(conn, which)
            job = Job(self._home, found.id)
            plan = manage.plan_retry(conn, found, chosen)
            if plan.requests:
                changes = dict(set or {})
                manage.check_known(found, changes, places)
                found = manage.retry(conn, self._capped(conn, found, max_cost), plan, changes)
                told = teller(job, progress)
                checked(job, follow(conn, [found], places, poll=poll, once=not wait, told=told))
            return job

    def pause(self, which: Which) -> Job:
        """Send nothing more of a job until `submit`; what was sent still comes in."""
        with self._home.connection() as conn:
            found = self._find(conn, which)
            manage.pause_job(conn, found)
            return Job(self._home, found.id)

    def cancel(self, which: Which) -> Job:
        """Stop the batches of a job. What they have answered is paid for, and still comes in."""
        from ..jobs.sync.watch import follow

        with self._home.connection() as conn, self._home.places() as places:
            found = self._find(conn, which)
            manage.cancel_job(conn, found)
            job = Job(self._home, found.id)
            checked(job, follow(conn, [store.get_job(conn, found.id)], places, once=True))
            return job

    def apply(
        self,
        which: Which,
        *,
        output: str | None = None,
        output_table: str | None = None,
        prefix: str | None = None,
        schema: Any = None,
        replace: bool = False,
        accept_stale: bool = False,
    ) -> Written:
        """Write the stored answers of a job again, without any network; says what became of them.

        What the job wrote elsewhere is taken back first. Without options: what isn't written yet.
        """
        from ..answers.schema import AnswerSchema
        from ..jobs.apply import Wish, apply

        given = as_given({"schema": schema})["schema"]
        wish = Wish(
            output=output,
            output_table=output_table,
            prefix=prefix,
            schema=None if given is None else AnswerSchema.load(given),
            replace=replace,
            accept_stale=accept_stale,
        )
        with self._home.connection() as conn:
            return apply(conn, self._find(conn, which), wish).written

    def revert(self, which: Which) -> Reverted:
        """Undo the write-back of a job; says what it did. Cells that were edited since stay."""
        from ..jobs.revert import revert

        with self._home.connection() as conn:
            return revert(conn, self._find(conn, which))

    def compare(
        self,
        which: Which,
        other: Which | None = None,
        *,
        gold: str | Mapping[str, str] | None = None,
        columns: Sequence[str] = (),
        ignore_case: bool = False,
    ) -> list[dict[str, Any]]:
        """How far two jobs agree, or a job and `gold`, a column of its source: figures by column.

        `gold` may be a mapping, answer to column. Without `other` and `gold`: with what people say.
        """
        from ..results.compare import Comparison, figures

        if other is not None and gold is not None:
            raise UsageError("Compare with what? Name another job, or gold=: one of them.")
        pairs = {"": gold} if isinstance(gold, str) else dict(gold or {})
        with self._home.connection() as conn:
            found = Comparison(
                conn,
                self._find(conn, which),
                None if other is None else self._find(conn, other),
                gold=pairs,
                people=other is None and not pairs,
                wanted=columns,
                fold_case=ignore_case,
            )
            for _ in found.differences():
                pass
            return [figures(found, one) for one in found.columns]

    # What they share.

    @contextmanager
    def _asked(
        self, table: str | None, options: Mapping[str, Any], *, needs_key: bool = True
    ) -> Iterator[_Asked]:
        """Options of a call, checked against the database."""
        given = {"base_url": self.base_url, "key": self._home.key}
        given |= {name: value for name, value in as_given(options).items() if value is not None}
        known = {name: value for name, value in given.items() if value is not None}
        elsewhere = any(known.get(name) for name in ("local", "upstream", "like"))
        if elsewhere and not options.get("base_url"):
            known.pop("base_url", None)
        typed = {*known, "table"} if table is not None else {*known}
        every = complete(known)
        with self._home.connection() as conn, Places(key=every.get("key")) as places:
            notes: list[str] = []
            table = inherit(conn, str(self.path), table, every, typed, notes.append)
            with new_job.settled(conn, table, every, needs_key=needs_key, typed=typed) as asked:
                asked.plan.warnings += notes
                yield _Asked(conn, places, asked)

    def _find(self, conn: sqlite3.Connection, which: Which | None) -> store.Job:
        wanted = which.id if isinstance(which, Job) else which
        return store.find_job(conn, None if wanted is None else str(wanted), str(self.path))

    def _capped(
        self, conn: sqlite3.Connection, job: store.Job, max_cost: float | str | None
    ) -> store.Job:
        """A job with another ceiling, if one is given. Raises UsageError where it can't hold."""
        if max_cost is None:
            return job
        return manage.raise_ceiling(conn, job, manage.job_ceiling(conn, job, str(max_cost)))


def check_approved(max_cost: float | str | None, approve: bool, name: str) -> None:
    """Raise UsageError unless somebody said that money may be spent."""
    if max_cost is None and approve is not True:
        raise UsageError(
            f"{name} sends rows, which may cost money, and nobody said that it may: nothing was "
            f"sent. Give {name} a ceiling, max_cost=2.5 (US dollars), or approve=True."
        )


def _path(database: str | Path | sqlite_utils.Database | sqlite3.Connection) -> Path:
    """The file of what was given. Raises DatabaseError."""
    if isinstance(database, str | Path):
        return Path(database)
    conn = getattr(database, "conn", database)
    if not isinstance(conn, sqlite3.Connection):
        raise DatabaseError(
            f"The database is {database!r}. Give the path of its file, or a sqlite_utils.Database."
        )
    path = path_of(conn)
    if not path:
        raise DatabaseError(
            "This database is in memory only. A job lives in a file, so that it is there tomorrow: "
            "give a path."
        )
    if conn.in_transaction:
        raise DatabaseError(
            f"The connection to '{path}' has changes that are not committed: commit them first."
        )
    return Path(path)
