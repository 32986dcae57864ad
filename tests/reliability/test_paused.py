"""A paused job is watched as long as its batches can be read, whatever words it was paused with."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.base.errors import ProviderError
from sqlite_utils_openai_batch.jobs.sync import engine
from sqlite_utils_openai_batch.jobs.sync.watch import watch
from sqlite_utils_openai_batch.local import LocalServer, SimulatedAnswerer
from sqlite_utils_openai_batch.provider.batch import BatchState
from sqlite_utils_openai_batch.provider.client import Provider
from sqlite_utils_openai_batch.store.connection import connect

from .conftest import KEY, Paid, Zygote, asking, check_all_answered, make_table


class Choosy(Provider):
    """A provider that refuses the second part of a job."""

    def __init__(self, base_url: str, why: str):
        super().__init__(base_url, KEY)
        self.why = why

    def create(self, *args: Any) -> BatchState:
        if args[2]["part"] == "2":
            raise ProviderError(self.why)
        return super().create(*args)


def serving() -> LocalServer:
    """A server whose batches don't end before its faults are cleared."""
    return LocalServer(answerer=SimulatedAnswerer(echo=True), faults=["stuck:in_progress"])


def prepare(zygote: Zygote, db: Path, server: LocalServer) -> None:
    arguments = asking(db, server)
    arguments[0] = "prepare"
    for name in ("-y", "--poll", "0.05"):
        arguments.remove(name)
    assert zygote.run(*arguments)["code"] == 0


@pytest.mark.parametrize(
    "why",
    [
        "HOST refused: line 3 names no file.",
        "HOST refused: nobody began with another key here.",
        "HOST refused: a model that can't be found with this key.",
        "HOST refused: this gateway does not accept the key seed.",
    ],
)
def test_what_a_provider_says_ends_no_watch(zygote: Zygote, tmp_path: Path, why: str) -> None:
    """The first part is at the provider: its answers are waited for all the same."""
    db = make_table(tmp_path / "notes.db", rows=8)
    with (
        serving() as server,
        closing(connect(db)) as conn,
        Choosy(server.base_url, why) as provider,
    ):
        prepare(zygote, db, server)
        engine.approve(conn, store.get_job(conn, 1))
        watch(conn, [1], lambda _: provider, poll=0.01, told=lambda *_: server.faults.clear())
        assert store.get_job(conn, 1).message == why
        first, second = store.list_parts(conn, 1)
    assert first.collected_at is not None
    assert second.status == "prepared"


def test_batches_that_cant_be_read_end_the_watch(zygote: Zygote, tmp_path: Path) -> None:
    db = make_table(tmp_path / "notes.db", rows=4)
    with serving() as server:
        assert zygote.run(*asking(db, server, "--no-wait"))["code"] == 0
        lost = zygote.run("watch", str(db), "--key", "another-key", "--poll", "0.05")
        assert lost["code"] == 1, lost["output"]
        assert "--accept-account" in lost["output"]


def test_a_batch_whose_creation_was_never_answered_is_collected(
    zygote: Zygote, tmp_path: Path
) -> None:
    """The job was paused before anybody looked for it."""
    db = make_table(tmp_path / "notes.db", rows=4)
    with LocalServer(answerer=SimulatedAnswerer(echo=True), faults=["lost-create-reply"]) as server:
        prepare(zygote, db, server)
        zygote.run("submit", str(db), "-y", "--key", KEY)
        with closing(connect(db)) as conn:
            (part,) = store.list_parts(conn, 1)
            assert (part.status, part.batch_id) == ("creating", None)
        assert zygote.run("pause", str(db), "1")["code"] == 0
        zygote.run("sync", str(db), "--key", KEY)
        done = zygote.run("watch", str(db), "--key", KEY, "--poll", "0.05")
        assert done["code"] == 0, done["output"]
        assert Paid(server, KEY).twice == {}
    check_all_answered(db, rows=4)
