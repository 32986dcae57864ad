"""Another process takes its turn in the middle of one's pass: still nothing twice.

A point is where one begins a transaction, or just before or after a call to the provider: there
the other makes three whole passes. Each point was tried once; here it is every sixteenth.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.base import waits
from sqlite_utils_openai_batch.jobs.sync import engine
from sqlite_utils_openai_batch.local import LocalServer
from sqlite_utils_openai_batch.provider.client import Provider
from sqlite_utils_openai_batch.store import owner
from sqlite_utils_openai_batch.store.connection import connect

from .conftest import Paid, Zygote, asking, check_all_answered, make_table

CALLS = ("upload", "create", "retrieve", "download", "list_since", "files_named", "cancel")
STEP = 16
#: About where the last step of such a job is begun; how often a batch is polled differs.
LAST = 70


class Told(Provider):
    """A provider that tells before and after each call."""

    tell: Callable[[], None]

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in CALLS:
            return found

        def call(*args: Any, **options: Any) -> Any:
            self.tell()
            result = found(*args, **options)
            if name == "list_since":
                result = iter(list(result))
            self.tell()
            return result

        return call


class Turns:
    """Counts the points that one passes, and gives the other its turn at the chosen one."""

    def __init__(self, at: int, other: Callable[[], None]) -> None:
        self.at = at
        self.other = other
        self.passed = 0

    def tell(self, statement: str = "BEGIN") -> None:
        if not statement.startswith("BEGIN"):
            return
        self.passed += 1
        if self.passed == self.at:
            self.other()


def end(db: Path, server: LocalServer, key: str, at: int, patch: pytest.MonkeyPatch) -> None:
    """Sync an approved job to its end, with another's turn in between."""
    with (
        closing(connect(db)) as conn,
        closing(connect(db)) as others,
        Told(server.base_url, key) as provider,
        Provider(server.base_url, key) as theirs,
    ):

        def pass_of(one: sqlite3.Connection, by: Provider) -> store.Job:
            engine.one_pass(one, [store.get_job(one, 1)], lambda _: by)
            return store.get_job(one, 1)

        def other() -> None:
            with patch.context() as here:
                here.setattr(owner, "SECRET", "another")
                for _ in range(3):
                    pass_of(others, theirs)

        turns = Turns(at, other)
        provider.tell = turns.tell
        conn.set_trace_callback(turns.tell)
        engine.approve(conn, store.get_job(conn, 1))
        while (job := pass_of(conn, provider)).unfinished:
            assert job.status == "running", job.message


@pytest.mark.parametrize(
    ("fault", "more"),
    [
        (None, ()), ("lost-create-reply", ()), ("token-limit:2000000", ()), ("expire:2*1", ()),
        (None, ("--reuse",)),
    ],
)  # fmt: skip
def test_another_takes_its_turn(
    zygote: Zygote,
    server: LocalServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: str | None,
    more: tuple[str, ...],
) -> None:
    monkeypatch.setattr(waits, "GRACE_SECONDS", 0)
    monkeypatch.setattr(waits, "RETRY_SECONDS", 0.0)
    for at in range(len(str(fault)), LAST, STEP):
        key = f"between-{fault}-{len(more)}-{at}".replace(":", "-").replace("*", "-")
        db = make_table(tmp_path / f"{at}.db")
        arguments = ["prepare", *asking(db, server, *more, key=key)[1:]]
        for name in ("-y", "--poll", "0.05"):
            arguments.remove(name)
        assert zygote.run(*arguments)["code"] == 0
        if fault:
            server.faults.add(fault)
        end(db, server, key, at, monkeypatch)
        server.faults.clear()
        assert Paid(server, key).answered_twice == {}
        check_all_answered(db)
