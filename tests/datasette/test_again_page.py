"""What was asked again, on the pages of the job and of the row."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from serving import cells

from sqlite_utils_openai_batch.local import Answer, LocalServer, SimulatedAnswerer
from sqlite_utils_openai_batch.store.connection import connect
from sqlite_utils_openai_batch.store.reviews import Review, record


class Moody(SimulatedAnswerer):
    """One model says that all is good, others that all is bad."""

    def answer_now(self, url: str, body: Mapping[str, Any], custom_id: str) -> Answer:
        """Answer one request at once."""
        answer = super().answer_now(url, body, custom_id)
        mood = "good" if body["model"] == "gpt-4o-mini" else "bad"
        answer.body["choices"][0]["message"]["content"] = json.dumps({"mood": mood})
        return answer


def test_pages_tell_what_was_asked_again(serve, page, run, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "data.db")) as conn:
        conn.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)")
        conn.executemany("INSERT INTO notes VALUES (?, ?)", [(n, f"note {n}") for n in range(1, 7)])
        conn.commit()
    with LocalServer(tmp_path / "server", answerer=Moody()) as server:
        run(
            "run", "data.db", "notes", "--prompt", "{{ text }}", "--schema", "mood good|bad",
            "-m", "gpt-4o-mini", "--price-as", "gpt-4o-mini", "--base-url", server.base_url,
            "-y", "--poll", "0.05",
        )  # fmt: skip
        run(
            "retry", "data.db", "1", "--model", "gpt-4o", "--where", "id < 4", "-y",
            "--poll", "0.05",
        )  # fmt: skip
    with closing(connect("data.db")) as conn:
        record(conn, 1, [Review(n, "mood", "bad", "anna", True) for n in (1, 2)])
    html = page(serve(tmp_path / "data.db"), "/data/-/openai-batch/1")
    section = html[html.index('id="again"') : html.index('id="cost"')]
    assert "3 rows asked of gpt-4o: 3 answered" in section
    assert ["mood", "good", "bad", "3"] in cells(section)
    assert "of 2 rows that people labelled, 0 were right before and 2 after" in section
    row = page(serve(tmp_path / "data.db"), "/data/notes/1")
    assert "1 earlier answer of this row in batch job 1" in row
    assert "gpt-4o-mini-simulated: <strong>ok</strong>, mood good" in row
    assert "asked gpt-4o-simulated about this row" in row
    other = page(serve(tmp_path / "data.db"), "/data/notes/5")
    assert "earlier answer" not in other
    shown = run("show", "data.db", "1").out
    assert "3 rows asked of gpt-4o: 3 answered" in shown
    assert "good → bad" in shown
    report = run("report", "data.db", "1").out
    assert "## Asked again" in report
    assert "| good | bad | 3 |" in report
