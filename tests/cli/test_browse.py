"""`browse`: one command from a file to pages, signed in."""

from __future__ import annotations

import http.client
import http.cookiejar
import os
import re
import signal
import sqlite3
import threading
import time
import urllib.error
import urllib.request
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from quick import without_pandas


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


def test_two_at_once_dont_sign_each_other_out(run: Any, tmp_path: Path) -> None:
    """Browsers keep cookies by machine, not by port."""
    for name in ("one", "two"):
        (tmp_path / f"{name}.csv").write_text("id,said\n1,Yes\n2,No\n")
    me = browser()
    pages: dict[str, tuple[str, str]] = {}
    for name in ("one", "two"):
        link = run.start("browse", f"{name}.csv", "--no-open").stdout.readline().strip()
        text(me, link)
        url = f"{link.partition('/-/')[0]}/{name}/-/openai-batch/new"
        pages[name] = (url, text(me, f"{url}?table={name}"))
    for url, form in pages.values():
        looked = post(me, form, url, do="look", prompt="Sum up: {{ said }}", local="1")
        assert "Confirm" in looked and "Sum up: Yes" in looked
    kept = list(Path(os.environ["XDG_DATA_HOME"]).rglob("browse-secret"))
    assert [file.stat().st_mode & 0o077 for file in kept] == [0]


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
    assert f"Port {port} cannot be used" in said.err


def value(path: Path, sql: str) -> Any:
    # the tables may not be there yet
    missing = suppress(sqlite3.OperationalError)
    with closing(sqlite3.connect(path, timeout=30)) as conn, missing:
        found = conn.execute(sql).fetchone()
        return found[0] if found else None
    return None


def until(condition: Any, what: str) -> Any:
    deadline = time.monotonic() + 120
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
    return found


def signed_in(run: Any) -> tuple[Any, Any, str]:
    """`browse survey.csv`, whose jobs go to the local batch server, and somebody signed in."""
    env = {**without_pandas(), "OPENAI_BASE_URL": run.base_url, "OPENAI_API_KEY": "sk-test"}
    browse = run.start("browse", "survey.csv", "--no-open", env=env)
    link = browse.stdout.readline().strip()
    me = browser()
    text(me, link)
    return browse, me, f"{link.partition('/-/')[0]}/survey/-/openai-batch/new"


def post(me: Any, page: str, url: str, **fields: str) -> str:
    """Send a form of a page, and follow where it leads."""
    data = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page))
    with me.open(url, urlencode(data | fields).encode(), timeout=120) as response:
        return str(response.read().decode())


@pytest.mark.parametrize("when", ["preparing", "done"])
def test_killed_while_it_sends(run: Any, tmp_path: Path, when: str) -> None:
    lines = "".join(f"{n},text {n}\n" for n in range(1, 801))
    (tmp_path / "survey.csv").write_text(f"id,said\n{lines}")
    db = tmp_path / "survey.db"
    browse, me, url = signed_in(run)
    form = text(me, f"{url}?table=survey")
    looked = post(me, form, url, do="look", prompt="Sum up: {{ said }}", model="gpt-4o-mini")
    until(lambda: value(db, "SELECT status FROM openai_batch_drafts") == "looked", "a look")
    token = value(db, "SELECT token FROM openai_batch_drafts")
    looked = text(me, f"{url}?draft={token}")
    sending = threading.Thread(target=give_up, args=(me, looked, url), daemon=True)
    sending.start()
    until(lambda: value(db, "SELECT status FROM openai_batch_drafts") in (when, "done"), when)
    browse.send_signal(signal.SIGKILL)
    browse.communicate()
    sending.join(120)
    _, me, url = signed_in(run)
    until(lambda: value(db, "SELECT status FROM openai_batch_jobs") == "completed", "answers")
    assert value(db, "SELECT count(*) FROM openai_batch_jobs") == 1
    assert value(db, "SELECT count(*) FROM openai_batch_batches") == 1
    assert value(db, "SELECT count(answer) FROM survey") == 800
    with me.open(f"{url}?draft={token}", timeout=60) as response:
        assert response.geturl().endswith("/survey/-/openai-batch/1")


def give_up(me: Any, page: str, url: str) -> None:
    """Press Send at a server that is killed meanwhile."""
    with suppress(OSError, http.client.HTTPException):
        post(me, page, url, do="send", agree="1")
