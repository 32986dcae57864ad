"""SIGKILL at any point of `run --requests FILE`, then `sync`: each line is answered once."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from sqlite_utils_openai_batch.local import LocalServer

from .conftest import Paid, Zygote
from .test_kill import finish, has_job, points

IDS = [f"line/{n}" for n in range(12)]
STRIDE = 12


def write(folder: Path) -> Path:
    file = folder / "mine.jsonl"
    with file.open("w") as lines:
        for one in IDS:
            said = {"role": "user", "content": f"Echo note {one};"}
            body = {"model": "gpt-4o-mini", "messages": [said]}
            line = {"custom_id": one, "method": "POST", "url": "/v1/chat/completions", "body": body}
            lines.write(json.dumps(line) + "\n")
    return file


def asking(db: Path, file: Path, server: LocalServer, key: str) -> list[str]:
    return [
        "run", str(db), "--requests", str(file), "--base-url", server.base_url, "--key", key,
        "-y", "--poll", "0.05", "--part-requests", "5",
    ]  # fmt: skip


def check(db: Path, where: str) -> None:
    with closing(sqlite3.connect(db)) as conn:
        found = conn.execute("SELECT custom_id, answer FROM mine ORDER BY rowid").fetchall()
        leftover = conn.execute(
            "SELECT name FROM sqlite_master WHERE name LIKE 'openai_batch_loading%'"
        ).fetchall()
    assert [one for one, _ in found] == IDS, where
    assert all(answer and f"note {one};" in answer for one, answer in found), where
    assert leftover == [], where


def test_killed_anywhere_each_line_is_asked_once(
    zygote: Zygote, server: LocalServer, tmp_path: Path
) -> None:
    file = write(tmp_path)
    done = zygote.run(*asking(tmp_path / "whole.db", file, server, "own-whole"))
    assert done["code"] == 0, done["output"]
    for point in points(done["points"], STRIDE):
        key, db = f"own-{point}", tmp_path / f"{point}.db"
        killed = zygote.run(*asking(db, file, server, key), kill_at=point)
        where = killed["killed"]
        if killed["code"] == 0:
            # A poll fewer than in the counted run: it had ended before that point.
            pass
        elif not db.exists() or not has_job(db):
            assert not Paid(server, key).batches, where
            again = zygote.run(*asking(db, file, server, key), "--new")
            assert again["code"] == 0, (where, again["output"])
        else:
            finish(zygote, db, key)
        assert Paid(server, key).twice == {}, f"paid twice after a kill {where}"
        check(db, where)
