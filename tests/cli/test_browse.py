"""`browse`: one command from a file to pages, signed in."""

from __future__ import annotations

import http.cookiejar
import signal
import sqlite3
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def journal() -> str:
    """The pages are asked here, not SQLite."""
    return "wal"


def browser() -> Any:
    """Somebody who follows links and keeps cookies."""
    jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
    return urllib.request.build_opener(jar)


def text(opener: Any, url: str) -> str:
    with opener.open(url, timeout=60) as response:
        return str(response.read().decode())


def test_from_a_csv_file_to_the_form(run: Any, tmp_path: Path) -> None:
    (tmp_path / "survey.csv").write_text("id,said\n1,Yes\n2,No\n")
    browse = run.start("browse", "survey.csv", "--no-open")
    link = browse.stdout.readline().strip()
    assert link.startswith("http://127.0.0.1:"), browse.stderr.read()
    base = link.partition("/-/")[0]
    me = browser()
    assert "survey" in text(me, link)
    form = text(me, f"{base}/survey/-/openai-batch/new?table=survey")
    assert "{{ said }}" in form and "2 rows" in form
    assert "has no key for OpenAI" in form and "small model on this machine" in form
    stranger = browser()
    with pytest.raises(urllib.error.HTTPError) as refused:
        text(stranger, f"{base}/survey/survey")
    with refused.value:
        assert refused.value.code == 403
    browse.send_signal(signal.SIGINT)
    _, err = browse.communicate(timeout=60)
    assert browse.returncode == 0, err
    assert "survey.csv: 2 rows in the table survey of survey.db" in err
    assert "The key is id." in err
    assert "Go on with: sqlite-utils openai-batch browse survey.db" in err
    assert "Traceback" not in err
    with closing(sqlite3.connect(tmp_path / "survey.db")) as conn:
        assert conn.execute("SELECT * FROM survey").fetchall() == [(1, "Yes"), (2, "No")]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("none.csv", None, "No such file"),
        ("t.csv", "id,text\n", "no rows"),
        ("t.xlsx", "no workbook", "workbook"),
        (".", None, "is a folder"),
    ],
)
def test_what_cant_be_opened(
    run: Any, tmp_path: Path, name: str, content: str | None, says: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    assert says in run("browse", name, "--no-open", code=1).err


def test_a_port_that_is_taken(run: Any, tmp_path: Path) -> None:
    import socket

    (tmp_path / "t.csv").write_text("id,text\n1,a\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = run("browse", "t.csv", "--no-open", "--port", str(port), code=1)
    assert f"Port {port} can't be had" in said.err
