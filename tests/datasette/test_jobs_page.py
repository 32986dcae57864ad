from __future__ import annotations

import sqlite3
import subprocess
from html import unescape
from pathlib import Path

import job_data
from serving import cells


def test_lists_jobs_newest_first(serve, page, db: Path) -> None:
    rows = cells(page(serve(db), "/films/-/openai-batch"))
    assert [row[:2] + row[3:4] + row[5:7] for row in rows[1:]] == [
        ["3", "movies", "paused: Out of credit", "0 of 12", ""],
        ["2 nightly", "movies", "waiting for OpenAI", "0 of 12", ""],
        ["1", "movies", "done, 2 failed", "12 of 12", "$1.07"],
    ]


def test_links_to_source_and_job(serve, page, db: Path) -> None:
    html = page(serve(db), "/films/-/openai-batch")
    assert '<a href="/films/movies">movies</a>' in html
    assert '<a href="/films/-/openai-batch/3">3</a>' in html


def test_filters_by_status_and_table(serve, page, db: Path) -> None:
    datasette = serve(db)
    rows = cells(page(datasette, "/films/-/openai-batch?_status=paused&_table=movies"))
    assert [row[0] for row in rows[1:]] == ["3"]
    assert "No such job." in page(datasette, "/films/-/openai-batch?_table=other")


def test_pages_of_fifty(serve, page, tmp_path: Path) -> None:
    path = tmp_path / "many.db"
    conn = job_data.connect(path)
    job_data.movies(conn, 1)
    for _ in range(53):
        job_data.add_job(conn, [1], write=False)
    conn.close()
    datasette = serve(path)
    first = page(datasette, "/many/-/openai-batch?_status=completed")
    assert [row[0] for row in cells(first)[1:]] == [str(n) for n in range(53, 3, -1)]
    assert "53 jobs" in first
    assert 'href="/many/-/openai-batch?_status=completed&amp;_before=4"' in first
    second = page(datasette, "/many/-/openai-batch?_status=completed&_before=4")
    assert [row[0] for row in cells(second)[1:]] == ["3", "2", "1"]
    assert "Older jobs" not in second


def test_database_without_jobs_says_how_to_start(serve, page, tmp_path: Path) -> None:
    path = tmp_path / "plain.db"
    conn = job_data.connect(path)
    job_data.movies(conn)
    conn.close()
    assert "sqlite-utils openai-batch run plain.db TABLE" in page(serve(path), "/-/openai-batch")
    html = unescape(page(serve(path), "/plain/-/openai-batch"))
    assert (
        "sqlite-utils openai-batch run plain.db movies \\\n"
        "    --prompt 'Summarise in one sentence: {{ title }}' \\\n"
    ) in html


def test_how_to_start_names_a_table_that_one_may_see(serve, page, tmp_path: Path) -> None:
    path = tmp_path / "my files.db"
    conn = job_data.connect(path)
    conn.execute("CREATE TABLE numbers (n INTEGER)")
    conn.execute("CREATE TABLE secret (title TEXT)")
    conn.execute('CREATE TABLE "it\'s" (id TEXT PRIMARY KEY, "Movie ""Title""" text)')
    conn.close()
    tables = {"secret": {"allow": {"id": "ana"}}}
    datasette = serve(path, config={"databases": {"my files": {"tables": tables}}})
    html = unescape(page(datasette, "/my+files/-/openai-batch"))
    assert "secret" not in html
    command = html[html.index("sqlite-utils openai-batch run") :].partition("</code>")[0]
    shown = subprocess.run(
        ["sh", "-c", f"printf '%s\\0' {command}"], capture_output=True, text=True, check=True
    ).stdout.split("\0")
    assert shown[3:5] == ["my files.db", "it's"]
    assert shown[6] == 'Summarise in one sentence: {{ row["Movie \\"Title\\""] }}'
    assert "openai-batch run 'my files.db' secret" in unescape(
        page(datasette, "/my+files/-/openai-batch", "ana")
    )


def test_all_databases_on_one_page(serve, page, db: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.db"
    sqlite3.connect(empty).close()
    html = page(serve(db, empty), "/-/openai-batch")
    assert [row[0] for row in cells(html)[1:]] == ["3", "2 nightly", "1"]
    assert 'No jobs in <a href="/empty/-/openai-batch">empty</a>' in html


def test_unknown_database_is_404(serve, page, db: Path) -> None:
    page(serve(db), "/nothing/-/openai-batch", status=404)


def test_tables_of_a_newer_version(serve, page, db: Path) -> None:
    conn = job_data.connect(db)
    conn.execute(
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) "
        "VALUES ('openai_batch', 'm999_later', '2027-01-01')"
    )
    conn.close()
    datasette = serve(db)
    for address in ("/films/-/openai-batch", "/-/openai-batch", "/films/-/openai-batch/1"):
        assert "pip install -U sqlite-utils-openai-batch" in page(datasette, address)
    for suffix in (".json", ".csv", "/report"):
        assert "pip install -U" in page(datasette, f"/films/-/openai-batch/1{suffix}", status=503)
    # Datasette's own pages go on as before, but for what can't be understood.
    page(datasette, "/films/movies/1")


def test_tables_of_an_older_version(serve, page, db: Path) -> None:
    conn = job_data.connect(db)
    conn.execute("DELETE FROM _sqlite_migrations WHERE migration_set = 'openai_batch'")
    conn.close()
    datasette = serve(db)
    for address in ("/films/-/openai-batch", "/-/openai-batch"):
        html = page(datasette, address)
        assert "older sqlite-utils-openai-batch" in html
        assert "sqlite-utils openai-batch sync films.db" in html


def test_base_url_and_difficult_names(serve, page, tmp_path: Path) -> None:
    path = tmp_path / "my films, été.db"
    table = 'a/b "quoted" <i>é'
    conn = job_data.connect(path)
    quoted = table.replace('"', '""')
    job_data.movies(conn, 2, quoted)
    job_data.add_job(conn, [1, 2], source=table, write=False, name=job_data.SCRIPT)
    conn.close()
    datasette = serve(path, settings={"base_url": "/prefix/"})
    db_path = "/my+films~2C+~C3~A9t~C3~A9"
    html = page(datasette, f"{db_path}/-/openai-batch")
    assert f'href="/prefix{db_path}/-/openai-batch/1"' in html
    assert f'href="/prefix{db_path}/a~2Fb+~22quoted~22+~3Ci~3E~C3~A9"' in html
    assert "<script>alert" not in html and "<i>é" not in html
    assert cells(html)[1][:2] == [f"1 {job_data.SCRIPT}", table]
