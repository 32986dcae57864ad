"""A disk that is full or read-only, a database that is held: a sentence, and it goes on later."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sqlite_utils_openai_batch.local import LocalServer

from .conftest import Paid, Zygote, asking, check_all_answered, make_table


@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
def test_disk_full(zygote: Zygote, server: LocalServer, tmp_path: Path, journal: str) -> None:
    """Whenever the disk fills up, what was paid for is collected once there is room again."""
    for limit in (60_000, 110_000, 140_000):
        key = f"disk-{journal}-{limit}"
        db = make_table(tmp_path / f"{key}.db", rows=400, journal=journal)
        size = db.stat().st_size
        many = [*asking(db, server, key=key)]
        many[many.index("--part-requests") + 1] = "100"
        full = zygote.run(*many, disk=size + limit)
        assert full["code"] in (0, 1), full["output"]
        if full["code"] == 1:
            assert "Traceback" not in full["output"], full["output"]
            assert "disk" in full["output"]
        with closing(sqlite3.connect(db)) as conn:
            made = conn.execute(
                "SELECT 1 FROM sqlite_master WHERE name = 'openai_batch_jobs'"
            ).fetchone()
            jobs = made and conn.execute("SELECT max(requests) FROM openai_batch_jobs").fetchone()
        if jobs and jobs[0]:
            done = zygote.run("watch", str(db), "--key", key, "--poll", "0.05")
        else:
            done = zygote.run(*many)
        assert done["code"] == 0, done["output"]
        assert Paid(server, key).twice == {}
        check_all_answered(db, rows=400)


def test_locked_by_another_writer(zygote: Zygote, server: LocalServer, tmp_path: Path) -> None:
    db = make_table(tmp_path / "notes.db")
    started = zygote.run(*asking(db, server, "--no-wait", key="locked"))
    assert started["code"] == 0, started["output"]
    with closing(sqlite3.connect(db, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        held = zygote.run("sync", str(db), "--key", "locked", busy=0.2)
        other.execute("ROLLBACK")
    assert held["code"] == 1, held["output"]
    assert "locked" in held["output"]
    assert "Traceback" not in held["output"]
    done = zygote.run("watch", str(db), "--key", "locked", "--poll", "0.05")
    assert done["code"] == 0, done["output"]
    assert Paid(server, "locked").twice == {}
    check_all_answered(db)


@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
@pytest.mark.parametrize("what", ["file", "folder"])
def test_read_only(
    zygote: Zygote, server: LocalServer, tmp_path: Path, journal: str, what: str
) -> None:
    """Nothing goes out while nothing can be written; then it goes on as if nothing had been."""
    key = f"read-only-{what}-{journal}"
    folder = tmp_path / "folder"
    folder.mkdir()
    db = make_table(folder / "notes.db", journal=journal)
    changed, mode = (db, 0o444) if what == "file" else (folder, 0o555)

    def refused(*arguments: str) -> str:
        before = changed.stat().st_mode
        changed.chmod(mode)
        done = zygote.run(*arguments, powerless=True)
        changed.chmod(before)
        assert done["code"] == 1, done["output"]
        assert "Traceback" not in done["output"], done["output"]
        return str(done["output"])

    sentence = f"Error: '{db}' can't be "
    assert sentence in refused(*asking(db, server, key=key))
    assert Paid(server, key).batches == []
    assert zygote.run(*asking(db, server, "--no-wait", key=key))["code"] == 0
    sent = len(Paid(server, key).batches)
    for command in ("sync", "watch"):
        assert sentence in refused(command, str(db), "--key", key)
    assert len(Paid(server, key).batches) == sent
    done = zygote.run("watch", str(db), "--key", key, "--poll", "0.05")
    assert done["code"] == 0, done["output"]
    assert Paid(server, key).twice == {}
    check_all_answered(db)
