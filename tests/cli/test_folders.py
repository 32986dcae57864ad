"""`run scans/`: a folder of files in place of a database."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

PDF = b"%PDF-1.4\n1 0 obj<</Type/Page>>endobj\n%%EOF\n"
ASK = ("--prompt", "Summarise this letter.")


def scans() -> None:
    Path("scans/old").mkdir(parents=True)
    Path("scans/b.pdf").write_bytes(PDF)
    Path("scans/a.txt").write_text("Dear Ada")
    Path("scans/.hidden").write_text("no")
    Path("scans/old/c.pdf").write_bytes(PDF + b"\n")


def rows(sql: str) -> list[Any]:
    with closing(sqlite3.connect("scans.db")) as conn:
        return conn.execute(sql).fetchall()


def test_each_file_is_a_row_and_attached(run: Any) -> None:
    scans()
    said = run("run", "scans/", *ASK, *run.there)
    assert "Made scans.db of scans: table files, 2 files." in said.err
    assert "1 folder in it is left out: --recursive." in said.err
    assert rows("SELECT path, name, type, size, sha256 FROM files ORDER BY path") == [
        ("a.txt", "a.txt", "text/plain", 8, hashlib.sha256(b"Dear Ada").hexdigest()),
        ("b.pdf", "b.pdf", "application/pdf", len(PDF), hashlib.sha256(PDF).hexdigest()),
    ]
    assert rows("SELECT count(answer), count(mtime_iso) FROM files") == [(2, 2)]
    assert "Dear Ada" in rows("SELECT answer FROM files WHERE path = 'a.txt'")[0][0]


def test_a_second_run_asks_only_what_is_new(run: Any) -> None:
    scans()
    run("run", "scans", *ASK, *run.there)
    before = rows("SELECT path, answer FROM files ORDER BY path")
    Path("scans/d.pdf").write_bytes(PDF)
    Path("scans/a.txt").unlink()
    said = run("run", "scans", *ASK, "--missing", *run.there)
    assert "scans.db has 1 new file of 3." in said.err
    assert rows("SELECT requests FROM openai_batch_jobs") == [(2,), (1,)]
    after = rows("SELECT path, answer FROM files ORDER BY path")
    assert after[:2] == before
    assert after[2][0] == "d.pdf" and after[2][1]
    said = run("run", "scans", *ASK, "--missing", "--recursive", *run.there)
    assert rows("SELECT path, name FROM files WHERE path LIKE 'old%'") == [("old/c.pdf", "c.pdf")]
    assert rows("SELECT requests FROM openai_batch_jobs") == [(2,), (1,), (1,)]


def test_a_preview_leaves_nothing(run: Any) -> None:
    scans()
    said = run("preview", "scans", *ASK, "--raw")
    kinds = [json.loads(line)["body"]["messages"][0]["content"][1]["type"]
             for line in said.out.splitlines()]  # fmt: skip
    assert kinds == ["text", "file"]
    assert not Path("scans.db").exists()
    run("run", "scans", *ASK, *run.there)
    before = Path("scans.db").read_bytes()
    Path("scans/d.pdf").write_bytes(PDF)
    run("preview", "scans", *ASK, "--missing")
    assert Path("scans.db").read_bytes() == before


def test_what_cannot_be_a_folder_of_files(run: Any) -> None:
    Path("empty/sub").mkdir(parents=True)
    assert "has no files" in run("run", "empty", *ASK, *run.there, code=1).err
    assert not Path("empty.db").exists()
    scans()
    with closing(sqlite3.connect("scans.db")) as conn:
        conn.execute("CREATE TABLE files (path)")
    said = run("run", "scans", *ASK, *run.there, code=1)
    assert "wasn't made of a folder" in said.err


def test_a_file_that_has_gone_or_is_none_fails_alone(run: Any) -> None:
    scans()
    run("prepare", "scans", *ASK, "--base-url", run.base_url)
    Path("scans/b.pdf").unlink()
    run("submit", "scans.db", "-y", code=3)
    assert rows("SELECT status, count(*) FROM openai_batch_requests GROUP BY 1 ORDER BY 1") == [
        ("ok", 1), ("unrenderable", 1),
    ]  # fmt: skip


def test_a_model_that_cannot_read_it_is_said(run: Any) -> None:
    scans()
    said = run("preview", "scans", *ASK, "-m", "gpt-3.5-turbo")
    assert "gpt-3.5-turbo reads no PDF" in said.err
    assert "reads no PDF" not in run("preview", "scans", *ASK).err
    Path("scans/e.mp3").write_bytes(b"ID3\x03\x00\x00\x00\x00\x00\x00\xff\xfb\x90\x00")
    assert "gpt-4o-mini hears no sound" in run("preview", "scans", *ASK).err
    assert "hears" not in run("preview", "scans", *ASK, "-m", "gpt-4o-audio-preview").err
