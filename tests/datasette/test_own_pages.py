"""What Datasette's own pages say about jobs."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import job_data
from serving import IS_1_0, fetch


def test_table_page_says_who_wrote_its_columns(serve, page, db: Path) -> None:
    html = page(serve(db), "/films/movies")
    assert (
        'category, score written by <a href="/films/-/openai-batch/1">batch job 1</a>, '
        "gpt-4o-mini, 20 Nov.</p>"
    ) in html
    assert html.count("openai-batch-note") == 1


def test_table_menu_leads_to_its_jobs(serve, page, db: Path) -> None:
    datasette = serve(db)
    html = unescape(page(datasette, "/films/movies"))
    assert 'href="/films/-/openai-batch?_table=movies"' in html
    assert "Batch jobs over this table (3)" in html
    html = unescape(page(datasette, "/films"))
    assert 'href="/films/-/openai-batch"' in html and "Batch jobs (3)" in html
    assert 'href="/-/openai-batch"' in page(datasette, "/")


def test_no_jobs_no_notes_and_a_way_to_begin(serve, page, tmp_path: Path) -> None:
    path = tmp_path / "plain.db"
    conn = job_data.connect(path)
    job_data.movies(conn)
    conn.close()
    datasette = serve(path)
    for address in ("/", "/plain", "/plain/movies", "/plain/movies/1"):
        html = page(datasette, address)
        assert 'href="/-/openai-batch">Batch jobs</a>' in html
        assert "atch job" not in re.sub(r"Batch jobs\s*</a>", "", html)
    assert 'href="/plain/-/openai-batch"' in page(datasette, "/plain")
    assert "sqlite-utils openai-batch run" in page(datasette, "/plain/-/openai-batch")


def test_row_page_says_what_was_asked(serve, page, db: Path) -> None:
    datasette = serve(db)
    html = unescape(page(datasette, "/films/movies/2"))
    assert (
        '<a href="/films/-/openai-batch/1">Batch job 1</a> asked gpt-4o-mini about this row: '
        "<strong>ok</strong>, category comedy · score 1. "
        '<a href="/films/-/openai-batch/1?_request=2#request">The exact request</a>'
    ) in html
    assert "Batch job 2</a> asked gpt-4o-mini about this row: <strong>pending</strong>." in html
    html = unescape(page(datasette, "/films/movies/3"))
    assert "<strong>refused</strong>, Failed: refused." in html


def test_row_menu_leads_to_requests(serve, page, db: Path) -> None:
    if not IS_1_0:
        return
    html = unescape(page(serve(db), "/films/movies/2"))
    assert "What batch job 1 asked about this row" in html


def test_row_pages_of_other_keys(serve, page, tmp_path: Path) -> None:
    path = tmp_path / "keys.db"
    conn = job_data.connect(path)
    conn.execute("CREATE TABLE pairs (a TEXT, b INTEGER, title TEXT, PRIMARY KEY (a, b))")
    conn.execute("CREATE TABLE bare (title TEXT)")
    conn.execute("INSERT INTO pairs VALUES ('x/y', 1, 'T1')")
    conn.execute("INSERT INTO bare VALUES ('B1')")
    template = {"model": "m", "messages": [{"role": "user", "content": "{{ title }}"}]}
    job_data.add_job(
        conn, ['["x/y",1]'], source="pairs", key_columns=("a", "b"), schema=None, template=template
    )
    job_data.add_job(
        conn, [1], source="bare", key_columns=("rowid",), schema=None, template=template
    )
    conn.close()
    datasette = serve(path)
    assert "answer Answer 0" in page(datasette, "/keys/pairs/x~2Fy,1")
    assert "answer Answer 0" in page(datasette, "/keys/bare/1")


def test_pages_of_other_formats_are_as_before(serve, db: Path) -> None:
    datasette = serve(db)
    assert fetch(datasette, "/films/movies/1.json").status_code == 200
    assert fetch(datasette, "/films/movies.csv").text.startswith("id,title,")


def test_jump_menu(serve, page, db: Path) -> None:
    if not IS_1_0:
        return
    found = fetch(serve(db), "/-/jump.json?q=batch").json()
    assert any(match["url"] == "/films/-/openai-batch" for match in found["matches"])


def test_tables_of_jobs_are_hidden(serve, db: Path) -> None:
    datasette = serve(db)
    tables = fetch(datasette, "/films.json").json()["tables"]
    hidden = {table["name"] for table in tables if table["hidden"]}
    assert {"openai_batch_jobs", "openai_batch_requests"} <= hidden
    assert "movies" not in hidden


def test_configuration_may_show_them(serve, db: Path) -> None:
    config = {"databases": {"films": {"tables": {"openai_batch_jobs": {"hidden": False}}}}}
    tables = fetch(serve(db, config=config), "/films.json").json()["tables"]
    hidden = {table["name"] for table in tables if table["hidden"]}
    assert "openai_batch_jobs" not in hidden and "openai_batch_requests" in hidden
