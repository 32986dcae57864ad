"""What `compare` found, on the pages of the jobs that were compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import job_data
import pytest
from click.testing import CliRunner
from sqlite_utils.cli import cli

ONE, TWO = ("/films/-/openai-batch/1", "/films/-/openai-batch/2")


def said(category: str, score: int) -> str:
    return json.dumps({"category": category, "score": score})


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Two finished jobs about the same films, and one about others."""
    path = tmp_path / "films.db"
    conn = job_data.connect(path)
    job_data.movies(conn)
    job_data.movies(conn, table="others")
    conn.execute("ALTER TABLE movies ADD COLUMN person TEXT")
    conn.execute("UPDATE movies SET person = iif(id % 2, 'drama', '<b>else</b>')")
    keys = list(range(1, 13))
    same = {n: said("drama", n % 5) for n in range(12)}
    shifted = {n: said("comedy" if n < 3 else "drama", 2) for n in range(12)}
    job_data.add_job(conn, keys, {11: "refused"}, answers=same)
    columns = [{**column, "name": f"b_{column['name']}"} for column in job_data.COLUMNS]
    job_data.add_job(conn, keys, answers=shifted, columns=columns)
    job_data.add_job(conn, keys, answers=same, source="others")
    conn.close()
    return path


def compare(path: Path, *args: str) -> None:
    result = CliRunner().invoke(cli, ["openai-batch", "compare", str(path), *args])
    assert result.exit_code == 0, result.output


def log(path: Path, **detail: Any) -> None:
    conn = job_data.connect(path)
    conn.execute(
        "INSERT INTO openai_batch_log (at, job_id, event, detail) "
        "VALUES ('2026-01-02T03:04:05.000Z', 1, 'compared', ?)",
        [json.dumps(detail) if detail else "{"],
    )
    conn.close()


def test_two_jobs_that_were_compared(serve: Any, page: Any, films: Path) -> None:
    assert 'id="agreement"' not in page(serve(films), ONE)
    compare(films, "1", "2")
    for address in (ONE, TWO):
        html = page(serve(films), address)
        part = html[html.index('id="agreement"') : html.index('id="cost"')]
        assert "<h3>Job 1 and job 2</h3>" in part
        assert "<strong>category</strong>: 72.7 % the same (8 of 11) · κ 0.00" in part
        assert "12 rows in all; left out: 1 without an answer in job 1." in part
        assert "<strong>score</strong>: " in part
        assert "apart on the mean" in part
        table = " ".join(part[part.index("<table") : part.index("</table>")].split())
        assert "job 1 ↓ job 2 →" in table
        assert (
            '<tr><th scope="row">drama</th><td class="ob-figure">8</td>'
            '<td class="ob-figure">3</td><td class="ob-figure">0</td><td class="ob-figure">11</td>'
        ) in table
    html = page(serve(films), ONE)
    places = [html.index(f'id="{name}"') for name in ("errors", "agreement", "cost")]
    assert places == sorted(places)


def test_what_people_said(serve: Any, page: Any, films: Path) -> None:
    compare(films, "2", "--gold", "category=person")
    html = page(serve(films), TWO)
    assert "Job 2 and the column person" in html
    assert "<strong>category / person</strong>: " in html
    assert 'scope="col" class="ob-figure">others</th>' in html
    assert "else" not in html[html.index('id="agreement"') : html.index('id="cost"')]
    assert 'id="agreement"' not in page(serve(films), ONE)


def test_the_newest_of_each_is_shown(serve: Any, page: Any, films: Path) -> None:
    for _ in range(3):
        compare(films, "1", "2")
    compare(films, "1", "2", "-c", "score")
    html = page(serve(films), ONE)
    assert html.count("<h3>Job 1 and job 2</h3>") == 2


def test_jobs_about_something_else_arent_named(serve: Any, page: Any, films: Path) -> None:
    compare(films, "1", "3")
    assert 'id="agreement"' not in page(serve(films), ONE)


@pytest.mark.parametrize(
    "detail",
    [
        {}, {"with": 2}, {"with": 2, "columns": 7}, {"with": 99, "columns": [{"name": "x"}]},
        {"with": None, "columns": [{"name": "x", "kappa": ["a", 1, 2]}]},
        {"with": None, "columns": [{"name": "x", "kind": "list", "compared": 1, "overlap": "y"}]},
        {"with": None, "columns": [{"name": "x", "labels": ["a"], "table": [["b", 1], [2, 3]]}]},
        {"with": None, "columns": [{"name": "x", "labels": ["a"], "table": [7, [2, 3]]}]},
    ],
)  # fmt: skip
def test_what_somebody_else_wrote_into_the_log(
    serve: Any, page: Any, films: Path, detail: dict[str, Any]
) -> None:
    log(films, **detail)
    assert 'id="agreement"' not in page(serve(films), ONE)


def test_everything_is_escaped(serve: Any, page: Any, films: Path) -> None:
    evil = job_data.SCRIPT
    log(films, **{"with": None, "columns": [
        {"name": evil, "other": evil, "compared": 2, "labels": [evil], "table": [[2, 0], [0, 0]]}
    ]})  # fmt: skip
    html = page(serve(films), ONE)
    assert evil not in html
    assert html.count("&lt;script&gt;") >= 3
