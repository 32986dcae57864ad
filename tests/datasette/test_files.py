from __future__ import annotations

import csv
import io
import json
import sqlite3
import sys
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import job_data
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import fetch

from sqlite_utils_openai_batch.results import csv as csvtext
from sqlite_utils_openai_batch.tables.sql import encode_key

ONE = "/films/-/openai-batch/1"
UGLY = 'comma, "quote"\r\nnew line\n=1+1 🎬 é   end'


def rows_of(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


@pytest.fixture
def ugly(tmp_path: Path) -> Path:
    """`ugly.db`: text that breaks careless writers, NULL beside empty text, a BLOB."""
    path = tmp_path / "ugly.db"
    conn = job_data.connect(path)
    conn.execute(
        "CREATE TABLE things (id TEXT PRIMARY KEY, title TEXT, note TEXT, number, photo BLOB)"
    )
    conn.executemany(
        "INSERT INTO things VALUES (?, ?, ?, ?, ?)",
        [
            ("a", UGLY, None, 1.5, b"\x00\x01"),
            ("b/b", "", "", 2**62, None),
            ("c", "-x", "+", "1", None),
        ],
    )
    job_data.add_job(
        conn,
        ["a", "b/b", "c"],
        {2: "refused"},
        source="things",
        schema=None,
        answers={0: UGLY},
        template={"model": "m", "messages": [{"role": "user", "content": "{{ title }}"}]},
        messages={"refused": 'No, "sorry"'},
    )
    conn.close()
    return path


def test_csv_of_a_job(serve, db: Path) -> None:
    response = fetch(serve(db), f"{ONE}.csv")
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert 'filename="films-job-1.csv"' in response.headers["content-disposition"]
    rows = rows_of(response.text)
    assert rows[:4] == [
        ["id", "title", "overview", "category", "score", "status", "error"],
        ["1", "Film 1", "What happens in film 1.", "drama", "0", "ok", ""],
        ["2", "Film 2", "What happens in film 2.", "comedy", "1", "ok", ""],
        ["3", "Film 3", "What happens in film 3.", "", "", "refused", "Failed: refused"],
    ]
    assert len(rows) == 13


def test_csv_of_some_outcomes(serve, page, db: Path) -> None:
    datasette = serve(db)
    rows = rows_of(page(datasette, f"{ONE}.csv?_status=refused&_status=truncated"))
    assert [row[0] for row in rows] == ["id", "3", "6"]
    page(datasette, f"{ONE}.csv?_status=nonsense", status=400)
    page(datasette, f"{ONE}.csv?_formulas=nonsense", status=400)


def test_csv_of_ugly_values(serve, page, ugly: Path) -> None:
    text = page(serve(ugly), "/ugly/-/openai-batch/1.csv")
    assert rows_of(text) == [
        ["id", "title", "note", "number", "photo", "answer", "status", "error"],
        [
            "a",
            UGLY,
            "",
            "1.5",
            "http://localhost/ugly/things/a.blob?_blob_column=photo",
            UGLY,
            "ok",
            "",
        ],
        ["b/b", "", "", "4611686018427387904", "", "Answer 1", "ok", ""],
        ["c", "-x", "+", "1", "", "", "refused", 'No, "sorry"'],
    ]
    # NULL is nothing, empty text is a pair of quotes.
    assert text.splitlines()[-2] == 'b/b,"","",4611686018427387904,,Answer 1,ok,'


def test_blob_links_lead_to_the_bytes(serve, page, ugly: Path) -> None:
    datasette = serve(ugly)
    link = rows_of(page(datasette, "/ugly/-/openai-batch/1.csv"))[1][4]
    assert fetch(datasette, link.removeprefix("http://localhost")).content == b"\x00\x01"


def test_csv_without_formulas(serve, page, ugly: Path) -> None:
    text = page(serve(ugly), "/ugly/-/openai-batch/1.csv?_formulas=escape")
    assert rows_of(text)[3][1:3] == ["'-x", "'+"]
    assert rows_of(text)[1][1] == UGLY


def test_csv_in_steps(serve, page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "films.db"
    conn = job_data.connect(path)
    job_data.movies(conn, 700)
    conn.execute("CREATE VIEW seen AS SELECT id, title, overview FROM movies")
    job_data.add_job(conn, list(range(700, 0, -1)), {3: "empty", 500: "refused"}, parts=3)
    job_data.add_job(conn, list(range(1, 701)), source="seen", write=False, output_table="out")
    conn.close()
    monkeypatch.setattr("sqlite_utils_openai_batch.results.csv.PIECE_CHARACTERS", 100)
    monkeypatch.setattr("datasette_openai_batch.files.views.CHUNK", 700)
    monkeypatch.setattr("sqlite_utils_openai_batch.results.reader.STEP_ROWS", 13)
    monkeypatch.setattr("sqlite_utils_openai_batch.results.reader.STRETCH", 31)
    datasette = serve(path)
    rows = rows_of(page(datasette, f"{ONE}.csv"))
    assert [row[0] for row in rows[1:]] == [str(n) for n in range(700, 0, -1)]
    assert rows[501][5:] == ["refused", "Failed: refused"]
    for query in ("", "&_formulas=escape"):
        rows = rows_of(page(datasette, f"{ONE}.csv?_status=refused&_status=empty{query}"))
        assert [row[-2] for row in rows[1:]] == ["empty", "refused"]
    rows = rows_of(page(datasette, "/films/-/openai-batch/2.csv"))
    assert [row[0] for row in rows[1:]] == [str(n) for n in range(1, 701)]
    assert [
        row[:2] for row in rows_of(page(datasette, "/films/-/openai-batch/2.csv?_status=refused"))
    ] == [["id", "title"]]


def test_csv_by_compound_key_and_rowid(serve, page, tmp_path: Path) -> None:
    path = tmp_path / "keys.db"
    conn = job_data.connect(path)
    conn.execute(
        "CREATE TABLE pairs (a TEXT, b INTEGER, title TEXT, PRIMARY KEY (a, b)) WITHOUT ROWID"
    )
    conn.execute("CREATE TABLE bare (title TEXT)")
    conn.execute("INSERT INTO pairs VALUES ('x', 1, 'T1'), ('x', 2, 'T2')")
    conn.execute("INSERT INTO bare VALUES ('B1'), ('B2')")
    template = {"model": "m", "messages": [{"role": "user", "content": "{{ title }}"}]}
    pairs = [encode_key(("x", 2)), encode_key(("x", 1))]
    for source, keys, columns in (("pairs", pairs, ("a", "b")), ("bare", [2, 1], ("rowid",))):
        job_data.add_job(
            conn, keys, source=source, key_columns=columns, schema=None, template=template
        )
    conn.close()
    datasette = serve(path)
    assert rows_of(page(datasette, "/keys/-/openai-batch/1.csv")) == [
        ["a", "b", "title", "answer", "status", "error"],
        ["x", "2", "T2", "Answer 0", "ok", ""],
        ["x", "1", "T1", "Answer 1", "ok", ""],
    ]
    assert rows_of(page(datasette, "/keys/-/openai-batch/2.csv")) == [
        ["rowid", "title", "answer", "status", "error"],
        ["2", "B2", "Answer 0", "ok", ""],
        ["1", "B1", "Answer 1", "ok", ""],
    ]


def test_csv_of_rows_that_are_gone(serve, page, db: Path) -> None:
    conn = job_data.connect(db)
    conn.execute("DELETE FROM movies WHERE id = 1")
    conn.close()
    assert rows_of(page(serve(db), f"{ONE}.csv"))[1] == ["1", "", "", "drama", "0", "ok", ""]
    conn = job_data.connect(db)
    conn.execute("DROP TABLE movies")
    conn.close()
    rows = rows_of(page(serve(db), f"{ONE}.csv"))
    assert rows[:2] == [
        ["id", "category", "score", "status", "error"],
        ["1", "drama", "0", "ok", ""],
    ]


def test_csv_of_text_that_is_no_utf8(serve, page, db: Path) -> None:
    conn = job_data.connect(db)
    conn.execute("UPDATE movies SET title = CAST(x'ff41' AS TEXT) WHERE id = 7")
    conn.close()
    rows = rows_of(page(serve(db), f"{ONE}.csv"))
    assert rows[7][1] == "�A" and len(rows) == 13


def test_limits_of_datasette_hold(serve, page, db: Path) -> None:
    few = serve(db, settings={"allow_csv_stream": False, "max_returned_rows": 10})
    for suffix in ("csv", "xlsx", "jsonl"):
        assert "allow_csv_stream is off" in page(few, f"{ONE}.{suffix}", status=403)
    enough = serve(db, settings={"allow_csv_stream": False, "max_returned_rows": 12})
    assert len(rows_of(page(enough, f"{ONE}.csv"))) == 13


def test_raw_responses(serve, db: Path) -> None:
    datasette = serve(db)
    response = fetch(datasette, f"{ONE}.jsonl")
    conn = sqlite3.connect(db)
    lines = conn.execute("SELECT line FROM openai_batch_responses ORDER BY request_id").fetchall()
    conn.close()
    assert response.text == "".join(f"{line}\n" for (line,) in lines)
    assert response.headers["content-type"] == "application/x-ndjson"


def test_raw_responses_byte_for_byte(
    serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "films.db"
    conn = job_data.connect(path)
    job_data.movies(conn, 50)
    job_data.add_job(conn, list(range(1, 51)))
    job_data.add_job(conn, list(range(1, 51)))
    conn.execute("UPDATE openai_batch_responses SET line = ? WHERE id = 60", [b"\xff{not json"])
    conn.executemany(
        "INSERT INTO openai_batch_responses "
        "(part_id, kind, file_id, line_number, line, received_at) "
        "VALUES (?, 'output', 'other', ?, ?, '')",
        [(2, 1, "of nobody"), (1, 2, "of job 1")],
    )
    conn.close()
    monkeypatch.setattr("datasette_openai_batch.files.raw.STEP_BYTES", 100)
    lines = fetch(serve(path), "/films/-/openai-batch/2.jsonl").content.split(b"\n")
    assert len(lines) == 52
    assert lines[9] == b"\xff{not json" and lines[-2:] == [b"of nobody", b""]
    assert [json.loads(line)["custom_id"] for line in lines[:9]] == [
        f"uid-{n}" for n in range(51, 60)
    ]


def test_no_raw_responses_kept(serve, page, db: Path) -> None:
    assert "No raw responses" in page(serve(db), "/films/-/openai-batch/2.jsonl", status=404)


def sheet(content: bytes, number: int = 1) -> list[list[Any]]:
    """The cells of a sheet, numbers as numbers."""
    name = {"m": "http://schemas.openxmlformats.org/spreadsheetml/2006/main"}
    with zipfile.ZipFile(io.BytesIO(content)) as book:
        tree = ElementTree.fromstring(book.read(f"xl/worksheets/sheet{number}.xml"))
    rows = []
    for row in tree.iterfind(".//m:row", name):
        cells: dict[str, Any] = {}
        for cell in row.iterfind("m:c", name):
            assert cell.find("m:f", name) is None
            column = cell.attrib["r"].rstrip("0123456789")
            text = cell.find("m:is/m:t", name)
            value = cell.find("m:v", name)
            cells[column] = text.text if text is not None else float(value.text)  # type: ignore
        rows.append([cells.get(column) for column in "ABCDEFGH"])
    return rows


def test_excel(serve, ugly: Path) -> None:
    response = fetch(serve(ugly), "/ugly/-/openai-batch/1.xlsx")
    assert response.headers["content-type"].endswith("spreadsheetml.sheet")
    assert int(response.headers["content-length"]) == len(response.content)
    assert sheet(response.content) == [
        ["id", "title", "note", "number", "photo", "answer", "status", "error"],
        [
            "a",
            UGLY.replace("\r", "_x000D_"),
            None,
            1.5,
            "http://localhost/ugly/things/a.blob?_blob_column=photo",
            UGLY.replace("\r", "_x000D_"),
            "ok",
            None,
        ],
        ["b/b", None, None, "4611686018427387904", None, "Answer 1", "ok", None],
        ["c", "-x", "+", "1", None, None, "refused", 'No, "sorry"'],
    ]


def test_excel_without_formulas(serve, ugly: Path) -> None:
    response = fetch(serve(ugly), "/ugly/-/openai-batch/1.xlsx?_formulas=escape&_status=refused")
    assert sheet(response.content)[1][:3] == ["c", "'-x", "'+"]


def test_excel_has_room_for_so_many(serve, page, db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sqlite_utils_openai_batch.results.xlsx.SHEET_ROWS", 9)
    assert "An Excel sheet holds 8 rows" in page(serve(db), f"{ONE}.xlsx", status=400)


def test_excel_cuts_what_a_cell_cannot_hold(serve, db: Path) -> None:
    conn = job_data.connect(db)
    conn.execute("UPDATE movies SET title = ? WHERE id = 1", ["x" * 40_000])
    conn.close()
    title = sheet(fetch(serve(db), f"{ONE}.xlsx").content)[1][1]
    assert len(title) == 32_767 and title.endswith("… (cut: --csv has all of it)")


# Python's csv module reads no NUL before 3.11.
UNREAD = "\0" if sys.version_info < (3, 11) else ""


@given(
    st.lists(
        st.lists(
            st.none()
            | st.integers()
            | st.floats(allow_nan=False)
            | st.text(st.characters(exclude_categories=["Cs"], exclude_characters=UNREAD)),
            min_size=2,
        ),
        max_size=5,
    )
)
def test_lines_are_those_of_the_csv_module(rows: list[list[Any]]) -> None:
    text = csvtext.text(rows)
    shown = [
        ["" if cell is None else cell if isinstance(cell, str) else repr(cell) for cell in row]
        for row in rows
    ]
    assert list(csv.reader(io.StringIO(text, newline=""))) == shown
    if not any(cell == "" for row in rows for cell in row):
        out = io.StringIO(newline="")
        csv.writer(out).writerows(rows)
        assert text == out.getvalue()
