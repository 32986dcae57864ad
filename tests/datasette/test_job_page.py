from __future__ import annotations

import json
from html import unescape
from pathlib import Path

import job_data
from serving import cells, fetch

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.results.report import report
from sqlite_utils_openai_batch.tables.sql import encode_key

ONE = "/films/-/openai-batch/1"


def test_headline_and_sum(serve, page, db: Path) -> None:
    html = page(serve(db), ONE)
    assert "<strong>Done, 2 failed.</strong> 10 of 12 rows answered · $1.07 · finished" in html
    assert cells(html) == [
        ["Outcome", "Requests", "Share", "Meaning"],
        ["ok", "10", "83.3 %", "answered"],
        ["refused", "1", "8.3 %", "the model declined to answer"],
        ["truncated", "1", "8.3 %", "stopped at the token limit"],
        ["sum", "12", "", "2 blank rows were not asked about"],
    ]
    assert "sqlite-utils openai-batch retry films.db 1" in html


def test_sections_come_in_the_order_of_the_questions(serve, page, db: Path) -> None:
    html = page(serve(db), ONE)
    places = [
        html.index(text)
        for text in (
            'class="ob-headline"',
            'id="take-away"',
            'id="rows"',
            'id="asked"',
            'id="errors"',
            'id="cost"',
            'id="distribution"',
            'id="history"',
        )
    ]
    assert places == sorted(places)


def test_running_job_says_what_it_waits_for(serve, page, db: Path) -> None:
    html = page(serve(db), "/films/-/openai-batch/2")
    assert "<strong>Waiting for OpenAI.</strong> 0 of 12 rows answered · last checked" in html
    assert "1 part with OpenAI. Usually within 24 h" in html
    assert "progress.js" in html
    assert "progress.js" not in page(serve(db), ONE)


def test_paused_job_says_why_below_the_headline(serve, page, db: Path) -> None:
    html = page(serve(db), "/films/-/openai-batch/3")
    box = html[html.index('class="ob-box ob-needs"') :]
    assert box.index("Out of credit. Top up, then:") < box.index("</div>")
    assert html.index('class="ob-box ob-needs"') < html.index('<svg class="ob-bar"')


def test_a_file_that_nobody_updates_says_so(serve, page, tmp_path: Path) -> None:
    path = tmp_path / "left.db"
    conn = job_data.connect(path)
    job_data.movies(conn, 1)
    job_data.add_job(
        conn,
        [1],
        {0: "pending"},
        status="running",
        part_status="in_progress",
        finished_at=None,
        checked_at="2026-01-02T03:04:05.000Z",
    )
    conn.close()
    html = page(serve(path), "/left/-/openai-batch/1")
    assert "Nobody brings this file up to date." in html
    assert "sqlite-utils openai-batch sync left.db 1" in html
    html = page(serve(immutables=(path,)), "/left/-/openai-batch/1")
    assert "This file is opened as a copy that doesn&#39;t change." in html
    assert "openai-batch sync" not in html


def rows_of(html: str) -> list[list[str]]:
    return cells(html[html.index('id="rows"') :])


def test_ten_answers_and_another_ten(serve, page, tmp_path: Path) -> None:
    path = tmp_path / "films.db"
    conn = job_data.connect(path)
    job_data.movies(conn, 25)
    job_data.add_job(conn, list(range(1, 26)), {0: "refused", 20: "empty"}, parts=3)
    conn.close()
    datasette = serve(path)
    seen = []
    address = ONE
    while address:
        html = unescape(page(datasette, address))
        found = rows_of(html)
        assert found[0][:5] == ["id", "title", "overview", "category", "score"]
        seen += [row[0] for row in found[1:]]
        more = (
            html.rfind('<a href="', 0, html.index(">Another ten<")) if "Another ten" in html else 0
        )
        address = html[more + 9 : html.index('"', more + 9)] if more else ""
    assert seen == [str(n) for n in range(2, 26) if n != 21]


def test_an_answer_beside_what_was_asked(serve, page, db: Path) -> None:
    html = page(serve(db), ONE)
    first = rows_of(html)[1]
    assert first[:5] == ["1", "Film 1", "What happens in film 1.", "drama", "0"]
    assert '<a href="/films/movies/1">1</a>' in html
    assert 'href="/films/movies?_facet=category&amp;_facet=score"' in html
    heading = '<a href="/films/movies?_facet=category" title="Count category in the whole table">'
    assert heading + "category</a>" in html
    assert '<th scope="col" class="ob-answer">score</th>' in html


def test_rows_of_one_outcome(serve, page, db: Path) -> None:
    html = page(serve(db), f"{ONE}?_status=refused")
    assert rows_of(html)[1][:4] == ["3", "Film 3", "What happens in film 3.", "Failed: refused"]
    assert "Rows: refused" in html and "1 of 12 rows: the model declined to answer." in html


def test_what_was_asked(serve, page, db: Path) -> None:
    html = page(serve(db), ONE)
    assert "<mark>{{ title }}</mark>: <mark>{{ overview }}</mark>" in html
    assert "drama | comedy | crime" in html
    assert "The command line" not in html


def test_the_whole_command_and_how_rows_were_chosen(serve, page, tmp_path: Path) -> None:
    path = tmp_path / "films.db"
    conn = job_data.connect(path)
    job_data.movies(conn)
    recipe = {
        "table": "movies",
        "prompt": "It's {{ title }}",
        "sample": 5,
        "seed": 3,
        "missing": True,
        "where": "id < :most",
        "params": [["most", "9"]],
        "blanks": "send",
        "reuse": True,
    }
    options = {"recipe": recipe, "sample": 5, "blanks": "send", "reads": ["title"]}
    job_data.add_job(
        conn, [1, 2], options=json.dumps(options), source_params=json.dumps({"most": "9"})
    )
    conn.close()
    html = unescape(page(serve(path), ONE))
    command = html[html.index("sqlite-utils openai-batch run") :].partition("</code>")[0]
    assert command == (
        "sqlite-utils openai-batch run films.db movies \\\n    --where 'id < :most' \\\n"
        "    --param most 9 \\\n    --sample 5 \\\n    --seed 3 \\\n    --missing \\\n"
        "    --blanks send \\\n    --model gpt-4o-mini \\\n"
        "    --prompt 'It'\"'\"'s {{ title }}' \\\n    --reuse"
    )
    for name, value in (
        ("Only rows where", "id < :most"),
        ("Rows drawn at random", "5"),
        ("Seed of the draw", "3"),
        ("Only", "rows without an answer"),
        ("Parameter most", "9"),
        ("Blank rows", "asked about too"),
        ("Identical requests", "asked once"),
    ):
        assert f"<dt>{name}</dt><dd>{value}</dd>" in html


def test_a_note_beside_an_answer_is_no_error(serve, page, db: Path) -> None:
    conn = job_data.connect(db)
    conn.execute("UPDATE openai_batch_requests SET error_message = 'fence removed' WHERE id = 4")
    conn.close()
    datasette = serve(db)
    html = page(datasette, f"{ONE}?_request=4")
    assert '<br><span class="ob-aside">fence removed</span>' in html
    assert "<strong>ok</strong>: row <a" in html and "; fence removed</p>" in html
    assert "fence removed" not in html[html.index('id="errors"') :]
    for suffix in ("csv", "json"):
        assert "fence removed" not in page(datasette, f"{ONE}.{suffix}")
    assert "fence removed" not in page(datasette, "/films/movies/4")


def test_exact_request_of_a_row(serve, page, db: Path) -> None:
    datasette = serve(db)
    for chosen in ("_request=4", "_row=4"):
        html = unescape(page(datasette, f"{ONE}?{chosen}"))
        shown = html[html.index('id="request"') :]
        assert '"content": "Film 4: What happens in film 4."' in shown
        assert "has changed" not in html
        assert "output line 4 of" in shown
    assert "No request of this job is about that row." in page(datasette, f"{ONE}?_row=99")


def test_request_of_a_row_that_changed(serve, page, db: Path) -> None:
    conn = job_data.connect(db)
    conn.execute("UPDATE movies SET title = 'Another' WHERE id = 4")
    conn.execute("DELETE FROM movies WHERE id = 5")
    conn.close()
    datasette = serve(db)
    html = page(datasette, f"{ONE}?_request=4")
    assert "The row has changed since it was asked about." in html
    assert "Another: What happens" in html
    assert "The row is gone" in page(datasette, f"{ONE}?_request=5")


def test_request_of_another_job_is_not_shown(serve, page, db: Path) -> None:
    html = page(serve(db), f"{ONE}?_request=13")
    assert "No request of this job is about that row." in html


def test_errors_by_message(serve, page, tmp_path: Path) -> None:
    path = tmp_path / "films.db"
    conn = job_data.connect(path)
    job_data.movies(conn, 10)
    outcomes = dict.fromkeys(range(5), "refused") | dict.fromkeys(range(5, 7), "truncated")
    job_data.add_job(conn, list(range(1, 11)), outcomes, messages={"refused": "I can't help"})
    conn.close()
    html = page(serve(path), ONE)
    found = cells(html[html.index('id="errors"') :])
    assert found[1:] == [
        ["5", "refused", "I can't help", "1, 2, 3"],
        ["2", "truncated", "Failed: truncated", "6, 7"],
    ]
    assert "The model&#39;s own limit was reached: ask for shorter answers." in html
    assert "--status truncated" not in html


def test_cut_answers_get_twice_the_room(serve, page, tmp_path: Path) -> None:
    path = tmp_path / "films.db"
    conn = job_data.connect(path)
    job_data.movies(conn, 2)
    template = {**job_data.CHAT, "max_completion_tokens": 700}
    job_data.add_job(conn, [1, 2], {0: "truncated"}, template=template)
    conn.close()
    html = page(serve(path), ONE)
    assert "retry films.db 1 --status truncated --set max_completion_tokens=1400" in html


def test_answers_counted(serve, page, db: Path) -> None:
    html = page(serve(db), ONE)
    found = cells(html[html.index('id="distribution"') :])
    assert [row[:1] + row[2:] for row in found] == [
        ["drama", "4", "40.0 %"],
        ["comedy", "4", "40.0 %"],
        ["crime", "2", "20.0 %"],
    ]
    assert "Smallest 0, middle 7, largest 11." in html
    assert 'href="/films/movies?_facet=category"' in html


def test_history(serve, page, db: Path) -> None:
    html = page(serve(db), ONE)
    assert "<dt>Window</dt><dd>24 h</dd>" in html
    for text in ("batch_1_2", "file-out-1-1", "prepared", "requests 12, parts 2", "ob-timeline"):
        assert text in html


def test_json(serve, db: Path) -> None:
    found = fetch(serve(db), f"{ONE}.json").json()
    assert found["status"] == "completed"
    assert found["requests"] == 12 == sum(found["outcomes"].values())
    assert found["outcomes"] == {"ok": 10, "refused": 1, "truncated": 1}
    assert found["cost_usd"] == 1.07
    assert [part["outcomes"] for part in found["parts"]] == [
        {"ok": 4, "refused": 1, "truncated": 1},
        {"ok": 6},
    ]
    assert found["tokens"] == {
        "prompt_tokens": 240,
        "cached_tokens": 60,
        "completion_tokens": 84,
        "reasoning_tokens": 0,
    }


def test_unknown_cost_is_null_not_nothing(serve, db: Path) -> None:
    found = fetch(serve(db), "/films/-/openai-batch/2.json").json()
    assert found["cost_usd"] is None
    assert found["tokens"]["prompt_tokens"] is None


def test_report(serve, db: Path) -> None:
    response = fetch(serve(db), f"{ONE}/report")
    assert response.headers["content-type"] == "text/markdown; charset=utf-8"
    conn = job_data.connect(db)
    assert response.text == report(conn, store.get_job(conn, 1))
    conn.close()
    assert response.text.startswith("# Job 1\n")


def test_unknown_job_is_404(serve, page, db: Path) -> None:
    datasette = serve(db)
    page(datasette, "/films/-/openai-batch/99", status=404)
    page(datasette, "/films/-/openai-batch/99.json", status=404)


def test_pictures_are_served_as_pictures_only(serve, page, tmp_path: Path) -> None:
    path = tmp_path / "things.db"
    png = b"\x89PNG\r\n\x1a\n" + bytes(range(64))
    conn = job_data.connect(path)
    conn.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, photo BLOB)")
    conn.execute("INSERT INTO things VALUES (1, ?), (2, ?)", [png, b"<svg onload=alert(1)>"])
    job_data.add_job(
        conn,
        [1, 2],
        source="things",
        schema=None,
        template={"model": "m", "messages": [{"role": "user", "content": "{{ photo }}"}]},
    )
    conn.close()
    datasette = serve(path)
    html = unescape(page(datasette, "/things/-/openai-batch/1"))
    assert '<img src="/things/-/openai-batch/1/image?_request=1&_column=photo"' in html
    assert html.count("<img ") == 1
    response = fetch(datasette, "/things/-/openai-batch/1/image?_request=1&_column=photo")
    assert response.content == png
    assert response.headers["content-type"] == "image/png"
    assert response.headers["x-content-type-options"] == "nosniff"
    for query in ("_request=2&_column=photo", "_request=1&_column=nothing", "_request=1", ""):
        page(datasette, f"/things/-/openai-batch/1/image?{query}", status=404)


def test_compound_keys_and_rowids(serve, page, tmp_path: Path) -> None:
    path = tmp_path / "keys.db"
    conn = job_data.connect(path)
    conn.execute("CREATE TABLE pairs (a TEXT, b INTEGER, title TEXT, PRIMARY KEY (a, b))")
    conn.execute("CREATE TABLE bare (title TEXT)")
    conn.execute("INSERT INTO pairs VALUES ('x/y', 1, 'T1'), ('é', 2, 'T2')")
    conn.execute("INSERT INTO bare VALUES ('B1'), ('B2')")
    template = {"model": "m", "messages": [{"role": "user", "content": "{{ title }}"}]}
    pairs = [encode_key(("x/y", 1)), encode_key(("é", 2))]
    for source, keys, columns in (("pairs", pairs, ("a", "b")), ("bare", [1, 2], ("rowid",))):
        job_data.add_job(
            conn, keys, source=source, key_columns=columns, schema=None, template=template
        )
    conn.close()
    datasette = serve(path)
    html = page(datasette, "/keys/-/openai-batch/1")
    assert '<a href="/keys/pairs/x~2Fy,1">x/y, 1</a>' in html
    assert [row[:3] for row in rows_of(html)[1:]] == [
        ["x/y, 1", "T1", "Answer 0"],
        ["é, 2", "T2", "Answer 1"],
    ]
    html = page(datasette, "/keys/-/openai-batch/2")
    assert '<a href="/keys/bare/1">1</a>' in html
    assert [row[:3] for row in rows_of(html)[1:]] == [
        ["1", "B1", "Answer 0"],
        ["2", "B2", "Answer 1"],
    ]


def test_views_and_queries(serve, page, tmp_path: Path) -> None:
    path = tmp_path / "views.db"
    conn = job_data.connect(path)
    job_data.movies(conn, 3)
    conn.execute("CREATE VIEW seen AS SELECT id, title, overview FROM movies")
    job_data.add_job(conn, [1, 2], source="seen", output_table="seen_answers", write=False)
    job_data.add_job(
        conn,
        [1, 2],
        source=None,
        source_sql="SELECT id, title, overview FROM movies WHERE id < :top",
        source_params=json.dumps({"top": "3"}),
        output_table="answers",
        write=False,
    )
    conn.close()
    datasette = serve(path)
    for number in (1, 2):
        html = page(datasette, f"/views/-/openai-batch/{number}")
        assert rows_of(html)[1][:3] == ["1", "Film 1", "What happens in film 1."]
        assert 'href="/views/seen/1"' not in html
    assert "SELECT id, title, overview FROM movies WHERE id &lt; :top" in html


def test_source_that_is_gone(serve, page, db: Path) -> None:
    conn = job_data.connect(db)
    conn.execute("DROP TABLE movies")
    conn.close()
    html = page(serve(db), ONE)
    assert "The source can't be read any more" in html
    assert rows_of(html)[1][:3] == ["1", "drama", "0"]


def test_an_address_that_leads_nowhere_is_told(serve, page, db: Path) -> None:
    """Each by a 404: without a view 0.65 answers 500 where `rich` is installed."""
    datasette = serve(db)
    for rest in ("nightly", "9" * 20, "1/nothing", "new/x", "1.docx", "~C3~A9"):
        text = unescape(page(datasette, f"/films/-/openai-batch/{rest}", status=404))
        assert "A job's page has its number in the address: see /films/-/openai-batch." in text
    assert fetch(datasette, "/films/-/openai-batch/").status_code in (301, 302)
    assert fetch(datasette, "/absent/-/openai-batch/nightly").status_code == 404
