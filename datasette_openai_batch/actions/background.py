"""Passes over jobs, beside Datasette: on connections and in threads of their own.

A pass talks to the provider, so it has no place in Datasette's functions that write. When
Datasette ends in the middle of one, the next pass goes on, here or at the command line.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.base.errors import JobError, NeedsAttention, OpenAIBatchError
from sqlite_utils_openai_batch.base.scratch import sweep
from sqlite_utils_openai_batch.jobs.queue import waits_until
from sqlite_utils_openai_batch.jobs.sync.engine import one_pass
from sqlite_utils_openai_batch.jobs.trust import check_job
from sqlite_utils_openai_batch.provider.accounts import check_account
from sqlite_utils_openai_batch.provider.places import Places, forget_local
from sqlite_utils_openai_batch.results import words
from sqlite_utils_openai_batch.store import Job
from sqlite_utils_openai_batch.store.connection import connect, explained

Result = TypeVar("Result")

logger = logging.getLogger(__name__)

#: Seconds that a page waits for a pass; most take less, and the rest goes on without it.
PATIENCE = 5.0

Key = tuple[str, int]
Do = Callable[[sqlite3.Connection, Job], str]
KeyFor = Callable[[str | None], str | None]


def no_key(base_url: str | None) -> str | None:
    """No key but that of the environment."""
    return None


@dataclass(frozen=True, slots=True)
class Said:
    """What there is to say of an action or a pass."""

    sentences: list[str]
    failed: bool = False
    field: str | None = None
    """The field of the form that an error is about."""


def failure(error: OpenAIBatchError) -> Said:
    """An error as what there is to say."""
    return Said([str(error)], failed=True, field=getattr(error, "field", None))


_running: dict[Key, Future[Said]] = {}
_starting = threading.Lock()


async def in_database(path: str, do: Callable[[sqlite3.Connection], Result]) -> Result:
    """Run `do` in a thread, on a connection of its own. Raises what it raises."""

    def run() -> Result:
        with closing(connect(path)) as conn, explained(path):
            store.check_version(conn)
            return do(conn)

    return await asyncio.get_running_loop().run_in_executor(None, run)


async def changed(path: str, job_id: int, do: Do | None) -> Said:
    """Do something with a job in the database alone."""

    def change(conn: sqlite3.Connection) -> list[str]:
        return [do(conn, store.get_job(conn, job_id))] if do else []

    try:
        return Said(await in_database(path, change))
    except OpenAIBatchError as error:
        return failure(error)


async def passed(path: str, job_id: int, do: Do | None, key_for: KeyFor = no_key) -> Said:
    """Do something with a job and run a pass over it, and wait a little for its end.

    `key_for` gives the key of the plugin's settings, where it is for the job's server.
    """
    future = asyncio.wrap_future(begin(path, job_id, do, key_for))
    # a page that is left early doesn't end the pass
    done, _ = await asyncio.wait({future}, timeout=PATIENCE)
    return future.result() if done else Said([f"Job {job_id} is being checked; this page follows."])


def begin(path: str, job_id: int, do: Do | None, key_for: KeyFor = no_key) -> Future[Said]:
    """Start that in a thread. Where one works on this job already, nothing more is done."""
    key = (path, job_id)
    with _starting:
        if key in _running:
            if do is None:
                return _running[key]
            busy: Future[Said] = Future()
            busy.set_result(
                Said([f"Job {job_id} is being checked: try again in a moment."], failed=True)
            )
            return busy
        _running[key] = Future()
        threading.Thread(target=_run, args=(key, _running[key], do, key_for), daemon=True).start()
        return _running[key]


def again(path: str, job_id: int, key_for: KeyFor = no_key) -> None:
    """Start a pass over a job; where one runs already, another one after it."""
    with _starting:
        running = _running.get((path, job_id))
    if running is None:
        begin(path, job_id, None, key_for)
    else:
        running.add_done_callback(lambda _: begin(path, job_id, None, key_for))


def _run(key: Key, future: Future[Said], do: Do | None, key_for: KeyFor) -> None:
    path, job_id = key
    try:
        said = look(path, job_id, do, key_for)
    except OpenAIBatchError as error:
        said = failure(error)
    except Exception:  # whatever it is, nobody would see it in a thread
        logger.exception("The pass over job %s of %s stopped.", job_id, path)
        said = Said(["It stopped with an error: the server's log has it."], failed=True)
    if said.failed:
        logger.warning("Job %s of %s: %s", job_id, path, " ".join(said.sentences))
    with _starting:
        del _running[key]
    future.set_result(said)


def look(path: str, job_id: int, do: Do | None, key_for: KeyFor = no_key) -> Said:
    """Do something with a job, then run one pass over it. Returns how it stands then.

    Nothing is done where this process has no key of the account that the job began with: whoever
    has it, at the command line, goes on undisturbed. Raises OpenAIBatchError.
    """
    with closing(connect(path)) as conn, explained(path):
        store.check_version(conn)
        sweep()
        job = store.get_job(conn, job_id)
        store.check_whole(conn, job)
        check_job(job)
        with Places(key=key_for(job.base_url)) as places:
            try:
                check_account(conn, places.of_job(job), job)
            except NeedsAttention as error:
                raise JobError(
                    "Nothing was done: this Datasette has no key of the account that job "
                    f"{job_id} began with. Go on at the command line."
                ) from error
            sentences = [do(conn, job)] if do else []
            report = one_pass(conn, [store.get_job(conn, job_id)], places.of_job)
        for ended in report.ended:
            forget_local(ended.uid)
        sentences.append(f"Checked job {job_id}: {standing(conn, job_id)}.")
    told = [*sentences, *report.faults.values(), *report.unreachable, *report.waiting]
    return Said(told, failed=bool(report.faults or report.unreachable))


def standing(conn: sqlite3.Connection, job_id: int) -> str:
    """Where a job stands, in words; the page has the reason of one that is paused."""
    job = store.get_job(conn, job_id)
    if job.status in ("paused", "failed"):
        return job.status
    parts = store.list_parts(conn, job_id)
    full = waits_until(conn, job)
    return words.status_words(
        job, store.outcome_counts(parts), {part.status for part in parts}, full
    )
