"""Files that rows attach are links on a job's pages: BLOBs, addresses, files of a folder."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from serving import fetch

PDF = b"%PDF-1.4\n1 0 obj<</Type/Page>>endobj\n%%EOF\n"
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(24)
ASK = ("--prompt", "Sum up.")


@pytest.fixture
def journal() -> str:
    """Datasette is asked here, not SQLite."""
    return "wal"


def links(html: str) -> dict[str, str]:
    """Text → address of the links to files."""
    found = re.findall(r'<a href="([^"]*)" rel="nofollow noreferrer">([^<]*)</a>', html)
    return {unescape(text): unescape(href) for href, text in found}


@pytest.fixture
def letters(run: Any, database: Any) -> Path:
    path: Path = database("CREATE TABLE letters (id INTEGER PRIMARY KEY, file BLOB)")
    files = [PDF, WAV, b"Dear Ada, <script>alert(1)</script>", "https://example.com/a.png"]
    with closing(sqlite3.connect(path)) as conn:
        conn.executemany("INSERT INTO letters (file) VALUES (?)", [(one,) for one in files])
        conn.commit()
    run("run", path, "letters", *ASK, "--attach", "file", "--model", "gpt-4o-audio-preview",
        *run.there)  # fmt: skip
    return path


@pytest.mark.parametrize("where", ["/1", "/1/answers"])
def test_each_kind_is_a_link(serve: Any, page: Any, letters: Path, where: str) -> None:
    datasette = serve(letters)
    found = links(page(datasette, f"/data/-/openai-batch{where}"))
    base = "/data/-/openai-batch/1/attachment?_request="
    assert found == {
        f"PDF, {len(PDF)} B": f"{base}1&_column=file",
        f"sound (WAV), {len(WAV)} B": f"{base}2&_column=file",
        "text, 35 B": f"{base}3&_column=file",
        "https://example.com/a.png": "https://example.com/a.png",
    }


def test_files_are_handed_out_and_never_run(serve: Any, page: Any, letters: Path) -> None:
    datasette = serve(letters)
    base = "/data/-/openai-batch/1/attachment"
    expected = [
        (PDF, "application/pdf", "file-1.pdf"),
        (WAV, "audio/wav", "file-2.wav"),
        (b"Dear Ada, <script>alert(1)</script>", "text/plain; charset=utf-8", "file-3.txt"),
    ]
    for number, (data, kind, name) in enumerate(expected, 1):
        response = fetch(datasette, f"{base}?_request={number}&_column=file")
        assert response.content == data
        assert response.headers["content-type"] == kind
        assert response.headers["content-disposition"] == f'attachment; filename="{name}"'
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in response.headers["content-security-policy"]
    for query in ("_request=4&_column=file", "_request=1&_column=id", "_request=1", "_request=99"):
        page(datasette, f"{base}?{query}", status=404)


def test_files_of_a_folder(run: Any, serve: Any, page: Any, tmp_path: Path) -> None:
    scans = Path("scans").resolve()
    scans.mkdir()
    (scans / "b.pdf").write_bytes(PDF)
    (scans / "a.txt").write_text("Dear Ada")
    (scans.parent / "secret.txt").write_text("nobody's")
    run("run", "scans/", *ASK, *run.there)
    datasette = serve(scans.with_name("scans.db"))
    found = links(page(datasette, "/scans/-/openai-batch/1"))
    assert set(found) == {"a.txt", "b.pdf"}
    assert fetch(datasette, found["b.pdf"]).content == PDF
    assert 'filename="a.txt"' in fetch(datasette, found["a.txt"]).headers["content-disposition"]
    # Who writes a path into a row gets no other file by it, nor one that is another by now.
    (scans / "b.pdf").write_bytes(PDF + b"%")
    with closing(sqlite3.connect(scans.with_name("scans.db"))) as conn:
        conn.execute("UPDATE files SET path = '../secret.txt' WHERE path = 'a.txt'")
        conn.commit()
    page(datasette, found["a.txt"], status=404)
    page(datasette, found["b.pdf"], status=404)
