"""Any order of commands, provider events and crashes: the invariants hold after each step."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sqlite_utils_openai_batch import manage, store, sync, waits
from sqlite_utils_openai_batch.api import Provider
from sqlite_utils_openai_batch.database import connect, transaction
from sqlite_utils_openai_batch.local import LocalServer, SimulatedAnswerer
from sqlite_utils_openai_batch.plan import Ask, settle
from sqlite_utils_openai_batch.prepare import prepare

from .conftest import Paid, answers, make_table, outcome_sums

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
    """A provider at whose side this process may die, before or after a call."""

    crash_at: tuple[str, bool] | None = None

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in CALLS:
            return found

        def call(*args: Any, **options: Any) -> Any:
            if self.crash_at == (name, False):
                self.crash_at = None
                raise Crash
            result = found(*args, **options)
            if self.crash_at == (name, True):
                self.crash_at = None
                raise Crash
            return result

        return call


class Machine(RuleBasedStateMachine):
    """One database, one job, one provider."""

    def __init__(self) -> None:
        super().__init__()
        waits.GRACE_SECONDS = 0
        waits.RETRY_SECONDS = 0.0
        self.folder = Path(tempfile.mkdtemp())
        self.server = LocalServer(answerer=SimulatedAnswerer(echo=True)).start()
        self.provider = Crashing(self.server.base_url, KEY, max_retries=0)
        self.db = make_table(self.folder / "notes.db", rows=ROWS)
        self.backup: Path | None = None
        self.retried = False
        with closing(connect(self.db)) as conn:
            ask = Ask(table="notes", prompt="Echo {{ body }}", model="gpt-4o-mini", part_requests=3)
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
        self.server.faults.clear()
        self.nothing_is_answered_twice()
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
                sync.one_pass(conn, store.list_jobs(conn), lambda _: self.provider)

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
            sync.approve(conn, store.list_jobs(conn)[0])

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

    def nothing_is_answered_twice(self) -> None:
        """A request that was answered, and paid for, is never asked again."""
        assert Paid(self.server, KEY).answered_twice == {}


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=15,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
