"""Any order of commands, provider events and crashes: the invariants hold after each step."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.base import waits
from sqlite_utils_openai_batch.jobs import manage
from sqlite_utils_openai_batch.jobs.plan.ask import Ask
from sqlite_utils_openai_batch.jobs.plan.plan import settle
from sqlite_utils_openai_batch.jobs.plan.prepare import prepare
from sqlite_utils_openai_batch.jobs.sync import engine
from sqlite_utils_openai_batch.jobs.sync.settle import DEFAULT_ATTEMPTS
from sqlite_utils_openai_batch.local import LocalServer, SimulatedAnswerer
from sqlite_utils_openai_batch.provider.client import Provider
from sqlite_utils_openai_batch.store import owner
from sqlite_utils_openai_batch.store.connection import connect, transaction

from .conftest import Paid, answers, make_table, outcome_sums

ALL = os.environ.get("CHAOS") == "all"
KEY = "model-key"
ROWS = 7
FAULTS = (
    "lost-upload-reply", "lost-create-reply", "create-error:502", "upload-error:503",
    "file-not-found", "token-limit:2000000", "token-limit-create:2000000", "expire:2*1",
    "missing-lines:1*1", "duplicate-lines:1*1", "garbage-lines:1*1", "crash-lines:2*1",
    "fail-lines:2*1", "cancel-race", "empty-ids", "reset-download",
)  # fmt: skip
CALLS = ("upload", "create", "retrieve", "download", "list_since")


class Crash(BaseException):
    """Stands for a kill: nothing in the program may catch it."""


class Crashing(Provider):
    """A provider beside which this process may die, or another work, before or after a call."""

    crash_at: tuple[str, bool] | None = None
    meanwhile_at: tuple[str, bool] | None = None
    another: Callable[[], None]

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in CALLS:
            return found

        def call(*args: Any, **options: Any) -> Any:
            self.pass_by(name, False)
            result = found(*args, **options)
            self.pass_by(name, True)
            return result

        return call

    def pass_by(self, name: str, after: bool) -> None:
        """Let happen what was to happen at this point."""
        if self.meanwhile_at == (name, after):
            self.meanwhile_at = None
            self.another()
        if self.crash_at == (name, after):
            self.crash_at = None
            raise Crash


@contextmanager
def another_process() -> Iterator[None]:
    """Hold leases as another process, which runs: they are its own until they run out."""
    mine = owner.SECRET
    owner.SECRET = "another"
    try:
        yield
    finally:
        owner.SECRET = mine


class Machine(RuleBasedStateMachine):
    """One database, one job, one provider."""

    def __init__(self) -> None:
        super().__init__()
        waits.GRACE_SECONDS = 0
        waits.RETRY_SECONDS = 0.0
        self.folder = Path(tempfile.mkdtemp())
        self.server = LocalServer(answerer=SimulatedAnswerer(echo=True)).start()
        self.provider = Crashing(self.server.base_url, KEY, max_retries=0)
        self.provider.another = self.another_syncs
        self.second = Crashing(self.server.base_url, KEY, max_retries=0)
        self.db = make_table(self.folder / "notes.db", rows=ROWS)
        self.backup: Path | None = None
        self.retries = 0
        with closing(connect(self.db)) as conn:
            ask = Ask(
                table="notes",
                prompt="Echo {{ body }}",
                model="gpt-4o-mini",
                part_requests=3,
                first_part=0,
            )
            plan = settle(conn, ask)
            prepare(
                conn,
                plan,
                uid=store.new_uid(),
                provider="openai",
                base_url=self.server.base_url,
                account=None,
                settings={},
            )
            plan.close()

    def teardown(self) -> None:
        try:
            self.come_to_an_end()
            self.every_paid_answer_is_here()
        finally:
            self.tidy_up()

    def come_to_an_end(self) -> None:
        """All is well from now on: the job ends, if somebody lets it."""
        self.server.faults.clear()
        self.provider.crash_at = self.provider.meanwhile_at = self.second.crash_at = None
        for _ in range(60):
            self.time_passes()
            job = self.job()
            if job.status in ("prepared", "paused"):
                self.submit()
            elif not job.unfinished:
                return
            self.sync_once()
        raise AssertionError(f"never ends: {self.job()}")

    def every_paid_answer_is_here(self) -> None:
        """What the provider answered is what the job has, and it answered nothing twice."""
        paid = Paid(self.server, KEY)
        assert paid.answered_twice == {}
        with closing(connect(self.db)) as conn:
            job = store.list_jobs(conn)[0]
            ids = conn.execute("SELECT id FROM openai_batch_requests WHERE status = 'ok'")
            assert {f"{job.uid}-{id_}" for (id_,) in ids.fetchall()} == set(paid.answers)
        assert "pending" not in outcome_sums(self.db)

    def tidy_up(self) -> None:
        self.second.close()
        self.provider.close()
        self.server.stop()
        shutil.rmtree(self.folder)

    def job(self) -> store.Job:
        with closing(connect(self.db)) as conn:
            return store.list_jobs(conn)[0]

    @rule()
    def sync_once(self) -> None:
        with closing(connect(self.db)) as conn:
            # Nobody waits in here: what is put off is due now.
            with transaction(conn):
                conn.execute("UPDATE openai_batch_parts SET next_try_at = NULL")
            with suppress(Crash):
                engine.one_pass(conn, store.list_jobs(conn), lambda _: self.provider)

    @rule()
    def another_syncs(self) -> None:
        with another_process(), closing(connect(self.db)) as conn, suppress(Crash):
            engine.one_pass(conn, store.list_jobs(conn), lambda _: self.second)

    @rule(call=st.sampled_from(CALLS), after=st.booleans())
    def another_syncs_meanwhile(self, call: str, after: bool) -> None:
        self.provider.meanwhile_at = (call, after)

    @rule(call=st.sampled_from(CALLS), after=st.booleans())
    def another_hangs_soon(self, call: str, after: bool) -> None:
        """It stops in the middle, and its leases last: nobody can tell that it does nothing."""
        self.second.crash_at = (call, after)

    @rule()
    def time_passes(self) -> None:
        """Leases run out."""
        with closing(connect(self.db)) as conn, transaction(conn):
            for table in ("jobs", "parts"):
                conn.execute(f"UPDATE openai_batch_{table} SET lease_until = '2020' "
                             "WHERE lease_owner IS NOT NULL")  # fmt: skip

    @rule(call=st.sampled_from(CALLS), after=st.booleans())
    def die_soon(self, call: str, after: bool) -> None:
        self.provider.crash_at = (call, after)

    @rule(fault=st.sampled_from(FAULTS))
    def provider_misbehaves(self, fault: str) -> None:
        self.server.faults.add(fault)

    @rule()
    def provider_is_well_again(self) -> None:
        self.server.faults.clear()
        self.nothing_is_answered_twice()

    @precondition(lambda self: self.job().status in ("prepared", "paused"))
    @rule()
    def submit(self) -> None:
        with closing(connect(self.db)) as conn:
            engine.approve(conn, store.list_jobs(conn)[0])

    @precondition(lambda self: self.job().status in ("prepared", "running"))
    @rule()
    def pause(self) -> None:
        with closing(connect(self.db)) as conn:
            manage.pause_job(conn, store.list_jobs(conn)[0])

    @precondition(lambda self: self.job().status in ("completed", "cancelled", "failed"))
    @rule()
    def retry(self) -> None:
        with closing(connect(self.db)) as conn:
            job = store.list_jobs(conn)[0]
            found = manage.plan_retry(conn, job, ())
            if found.requests:
                manage.retry(conn, job, found, {})
                self.retries += 1

    @precondition(lambda self: self.job().unfinished and self.job().approved_at)
    @rule()
    def cancel(self) -> None:
        with closing(connect(self.db)) as conn:
            manage.cancel_job(conn, store.list_jobs(conn)[0])

    @rule()
    def back_up(self) -> None:
        self.backup = self.folder / "backup.db"
        shutil.copyfile(self.db, self.backup)

    @precondition(lambda self: self.backup is not None and self.job().status == "running")
    @rule()
    def restore(self) -> None:
        assert self.backup is not None
        shutil.copyfile(self.backup, self.db)

    @invariant()
    def sums_agree(self) -> None:
        outcome_sums(self.db)

    @invariant()
    def answers_are_on_their_rows(self) -> None:
        for number, answer in answers(self.db).items():
            assert answer is None or f"note number {number};" in answer

    @invariant()
    def nobody_asks_more_often_than_allowed(self) -> None:
        """Attempts are counted, and end: each one may be paid for."""
        with closing(connect(self.db)) as conn:
            (most,) = conn.execute("SELECT max(attempts) FROM openai_batch_requests").fetchone()
        assert most <= DEFAULT_ATTEMPTS + self.retries

    def nothing_is_answered_twice(self) -> None:
        """A request that was answered, and paid for, is never asked again."""
        assert Paid(self.server, KEY).answered_twice == {}


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=400 if ALL else 15,
    stateful_step_count=40 if ALL else 20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
