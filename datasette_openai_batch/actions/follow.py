"""Passes over jobs again and again, beside Datasette, under the command line's own leases.

A database is followed for ever where the plugin setting `sync_every` says so (as under `browse`);
else only jobs on this machine are, which were sent from a page, until they have ended. Datasette
may end at any moment: whoever looks next goes on.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import weakref
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import Any

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.base.errors import (
    ConfigurationError,
    NeedsAttention,
    OpenAIBatchError,
)
from sqlite_utils_openai_batch.jobs.sync.engine import one_pass, was_approved
from sqlite_utils_openai_batch.jobs.sync.watch import poll_seconds
from sqlite_utils_openai_batch.provider.accounts import LOCAL, check_account
from sqlite_utils_openai_batch.provider.client import Provider
from sqlite_utils_openai_batch.provider.places import Places, forget_local
from sqlite_utils_openai_batch.store import Job
from sqlite_utils_openai_batch.store.connection import connect, explained

from ..access.settings import Settings
from . import background

logger = logging.getLogger(__name__)

#: The provider's secret for webhooks: where it is set, the provider says when a batch has ended.
SECRET = "OPENAI_WEBHOOK_SECRET"
NOBODY = (
    "Nothing here fetches the answers by itself: somebody must press Check now on the job's page, "
    "or run sync at the command line."
)
#: Seconds after a round that stopped with an error.
AFTER_ERROR = 30.0


class Follower:
    """One thread that follows the jobs of one database file."""

    def __init__(self, path: str, settings: Settings, *, only_local: bool) -> None:
        self.path = path
        self.settings = settings
        self.only_local = only_local
        self.stopped = threading.Event()
        self.woken = threading.Event()
        self.said: set[str] = set()
        self.alive: Callable[[], Any] = lambda: True
        self.resume: Callable[[str, Settings], None] | None = None
        """Goes on with what is to become a job."""
        self.thread = threading.Thread(target=self.run, daemon=True, name=f"sync {path}")

    def wake(self) -> None:
        """Have it look now."""
        self.woken.set()

    def stop(self) -> None:
        """Have it end after the pass that it is in."""
        self.stopped.set()
        self.woken.set()

    def run(self) -> None:
        """Round after round, until there is nothing to follow or it is stopped."""
        key = self.settings.key
        with ExitStack() as stack:
            places = {given: stack.enter_context(Places(key=given)) for given in {None, key}}
            while not self.stopped.is_set() and self.alive() is not None:
                wait = self.round(places)
                if wait is None and self.leave():
                    return
                self.woken.wait(wait)
                self.woken.clear()
        self.leave(anyhow=True)

    def leave(self, *, anyhow: bool = False) -> bool:
        """Let nobody wake it any more; False where somebody has just done so."""
        with _lock:
            if self.woken.is_set() and not anyhow:
                return False
            if _followers.get(self.path) is self:
                del _followers[self.path]
            return True

    def round(self, places: dict[str | None, Places]) -> float | None:
        """One pass over each job. Returns the seconds until the next, None where all is done."""
        every = self.settings.sync_every
        try:
            if self.resume is not None:
                self.resume(self.path, self.settings)
            with closing(connect(self.path)) as conn, explained(self.path):
                return self.passes(conn, places)
        except (OpenAIBatchError, sqlite3.Error) as error:
            self.say(str(error))
        except Exception:  # one round's fault isn't the end of following
            logger.exception("The sync of %s in the background stopped; it goes on.", self.path)
        return max(every or 0.0, AFTER_ERROR)

    def passes(self, conn: sqlite3.Connection, places: dict[str | None, Places]) -> float | None:
        """The passes of a round."""
        store.check_version(conn)

        def opened(job: Job) -> Provider:
            return places[self.settings.key_for(job.base_url)].of_job(job)

        jobs = [job for job in self.jobs(conn) if self.is_ours(conn, job, opened)]
        for job in jobs:
            self.one_pass(conn, job, opened)
        going = [store.get_job(conn, job.id) for job in jobs]
        paces = [self.pace(job) for job in going if job.unfinished and not job.needs_you]
        if self.only_local:
            return min(paces, default=None)
        return min([*paces, self.settings.sync_every or 60.0])

    def one_pass(
        self, conn: sqlite3.Connection, job: Job, opened: Callable[[Job], Provider]
    ) -> None:
        """One pass over one job; what goes wrong with it keeps no other job waiting."""
        try:
            report = one_pass(conn, [job], opened)
        except OpenAIBatchError as error:
            self.say(f"Job {job.id}: {error}")
            return
        for ended in report.ended:
            forget_local(ended.uid)
        for sentence in report.unreachable:
            self.say(sentence)

    def jobs(self, conn: sqlite3.Connection) -> list[Job]:
        """The jobs that a pass may bring further."""
        if not store.exists(conn):
            return []
        return [
            job
            for job in store.unfinished_jobs(conn)
            if job.requests is not None
            and was_approved(conn, job)
            and (job.provider == LOCAL or not self.only_local)
        ]

    def is_ours(
        self, conn: sqlite3.Connection, job: Job, opened: Callable[[Job], Provider]
    ) -> bool:
        """Whether this process has the key that a job began with: else it is left as it is."""
        try:
            check_account(conn, opened(job), job)
        except (NeedsAttention, ConfigurationError) as error:
            self.say(f"Job {job.id} is left alone: {error}")
            return False
        return True

    def pace(self, job: Job) -> float:
        """Seconds until a job is worth another look."""
        soon = poll_seconds(job, None)
        return soon if soon < 5 else max(soon, self.settings.sync_every or soon)

    def say(self, sentence: str) -> None:
        """Log a sentence, once."""
        if sentence not in self.said:
            self.said.add(sentence)
            logger.warning("%s: %s", self.path, sentence)


_followers: dict[str, Follower] = {}
_lock = threading.Lock()


def is_followed(path: str) -> bool:
    """Whether the jobs of a database are brought in by themselves, all of them."""
    follower = _followers.get(path)
    return follower is not None and not follower.only_local


def comes_by_itself(path: str, *, local: bool) -> bool:
    """Whether the answers of a job come in without anybody's doing."""
    return local or is_followed(path) or bool(os.environ.get(SECRET))


def follow(
    datasette: Any, path: str, settings: Settings, resume: Callable[[str, Settings], None]
) -> None:
    """Follow all jobs of a database, as long as this Datasette is there."""
    follower = Follower(path, settings, only_local=False)
    follower.alive = weakref.ref(datasette)
    follower.resume = resume
    _start(follower)


def follow_local(path: str, settings: Settings) -> None:
    """Follow the jobs of a database that run on this machine, until they have ended."""
    with _lock:
        running = _followers.get(path)
        if running is not None:
            running.wake()
            return
    _start(Follower(path, settings, only_local=True))


def _start(follower: Follower) -> None:
    with _lock:
        old = _followers.get(follower.path)
        _followers[follower.path] = follower
    if old is not None:
        old.stop()
    follower.thread.start()


def stop(path: str) -> None:
    """Follow a database no more."""
    with _lock:
        follower = _followers.pop(path, None)
    if follower is not None:
        follower.stop()


def sent(path: str, job_id: int, settings: Settings) -> None:
    """A job was sent: its first pass begins at once."""
    if is_followed(path):
        _followers[path].wake()
        return
    with closing(connect(path)) as conn:
        job = store.get_job(conn, job_id)
    if job.provider == LOCAL:
        follow_local(path, settings)
    else:
        background.again(path, job_id, settings.key_for)
