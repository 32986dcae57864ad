"""`results`: the rows of a job with their answers, in every format."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from finished import answered, chat_line, custom_id, error_line, request_ids, sent, take
from hypothesis import given
from hypothesis import strategies as st
from sqlite_utils.cli import cli as sqlite_utils_cli

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.base.errors import OutputError, UsageError
from sqlite_utils_openai_batch.results.reader import Reader, Weighed
from sqlite_utils_openai_batch.results.xlsx import SHEET_ROWS, check_fits, joined, write_xlsx
from sqlite_utils_openai_batch.store.connection import connect
from sqlite_utils_openai_batch.tables.sql import weight

TABLE = """
CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT, picture BLOB, status TEXT);
INSERT INTO t VALUES (1, 'a', x'00ff', 'mine'), (2, 'b, "c"', NULL, NULL), (3, '', NULL, ''),
    (4, 'd' || char(10) || 'e', NULL, NULL), (5, '😀', NULL, NULL);
"""


@pytest.fixture
def conn(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "data.db")) as made:
        made.executescript(TABLE)
    with closing(connect(tmp_path / "data.db")) as opened:
        yield opened


def results(
    conn: sqlite3.Connection, job: store.Job, **options: Any
) -> tuple[list[str], list[Any]]:
    """Headers and rows."""
    statuses = options.pop("status", ())
    with closing(Reader(conn, store.get_job(conn, job.id), statuses, **options)) as found:
        rows = list(found.rows())
        assert found.results.count() == len(rows)
        return found.headers, rows


def some(conn: sqlite3.Connection, folder: Path, **ask: Any) -> store.Job:
    """A job of which 1 and 2 are answered, 4 failed and 5 is missing; 3 was blank."""
    job = sent(conn, "t", **ask)
    ids = request_ids(conn, job)
    lines = [
        error_line(custom_id(job, ids[4])),
        chat_line(custom_id(job, ids[2]), "two"),
        chat_line(custom_id(job, ids[1]), "one"),
    ]
    take(conn, job, folder, lines)
    return store.get_job(conn, job.id)


def test_columns_answers_status_error(conn: sqlite3.Connection, tmp_path: Path) -> None:
    headers, rows = results(conn, some(conn, tmp_path))
    assert headers == ["id", "text", "picture", "status", "answer", "batch_status", "error"]
    missing = "the batch ended, and no line for this request came"
    assert rows == [
        (1, "a", b"\x00\xff", "mine", "one", "ok", None),
        (2, 'b, "c"', None, None, "two", "ok", None),
        (4, "d\ne", None, None, None, "http_error", "Bad luck."),
        (5, "😀", None, None, None, "missing", missing),
    ]


def test_some_rows_and_columns(conn: sqlite3.Connection, tmp_path: Path) -> None:
    job = some(conn, tmp_path)
    assert results(conn, job, status=["http_error", "missing"], columns=["error", "id"]) == (
        ["error", "id"],
        [("Bad luck.", 4), ("the batch ended, and no line for this request came", 5)],
    )
    with pytest.raises(UsageError) as caught:
        results(conn, job, columns=["eror"])
    assert str(caught.value).startswith(
        "No column 'eror' in the results of job 1. Did you mean error? Columns: id, text"
    )


def test_columns_that_are_not_wanted_are_not_read(conn: sqlite3.Connection, tmp_path: Path) -> None:
    job = some(conn, tmp_path)
    read: list[str] = []
    conn.set_trace_callback(read.append)
    results(conn, job, columns=["id", "answer"])
    conn.set_trace_callback(None)
    assert not [sql for sql in read if '"picture"' in sql]


def test_rows_that_are_gone_keep_key_and_answer(conn: sqlite3.Connection, tmp_path: Path) -> None:
    job = some(conn, tmp_path)
    conn.execute("DELETE FROM t WHERE id = 1")
    assert results(conn, job)[1][0] == (1, None, None, None, "one", "ok", None)
    conn.execute("DROP TABLE t")
    assert results(conn, job, status=["ok"]) == (
        ["id", "answer", "status", "error"],
        [(1, "one", "ok", None), (2, "two", "ok", None)],
    )


def test_an_output_table_and_a_source_of_the_same_names(
    conn: sqlite3.Connection, tmp_path: Path
) -> None:
    conn.execute("ALTER TABLE t ADD COLUMN answer TEXT DEFAULT 'old'")
    job = some(conn, tmp_path, output_table="said")
    headers, rows = results(conn, job, status=["ok"], columns=["answer", "batch_answer"])
    assert (headers, rows) == (["answer", "batch_answer"], [("old", "one"), ("old", "two")])


def test_a_note_is_no_error(conn: sqlite3.Connection, tmp_path: Path) -> None:
    job = answered(conn, tmp_path, "t", {1: '```json\n{"n": 1}\n```'}, schema="n int")
    assert results(conn, job, status=["ok"], columns=["n", "error"])[1] == [(1, None)]
    assert conn.execute(
        "SELECT error_message FROM openai_batch_requests WHERE status = 'ok'"
    ).fetchall() == [("the JSON was taken out of a code fence",)]


def test_other_jobs_between(conn: sqlite3.Connection, tmp_path: Path) -> None:
    first = answered(conn, tmp_path, "t", {1: "x"}, output="a")
    second = answered(conn, tmp_path, "t", {1: "y"}, output="b")
    for job, answer in ((first, "x"), (second, "y")):
        _, rows = results(
            conn, job, status=["ok"], columns=["id", job.writes["columns"][0]["name"]]
        )
        assert rows == [(1, answer)]


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        (["--csv"], 'id,text,batch_status\r\n1,a,ok\r\n2,"b, ""c""",ok\r\n'),
        (["--tsv"], 'id\ttext\tbatch_status\r\n1\ta\tok\r\n2\t"b, ""c"""\tok\r\n'),
        (["--csv", "--no-headers"], '1,a,ok\r\n2,"b, ""c""",ok\r\n'),
        (["--nl"], '{"id": 1, "text": "a", "batch_status": "ok"}\n'
                   '{"id": 2, "text": "b, \\"c\\"", "batch_status": "ok"}\n'),
        (["--arrays"], '[[1, "a", "ok"],\n [2, "b, \\"c\\"", "ok"]]\n'),
        ([], '[{"id": 1, "text": "a", "batch_status": "ok"},\n'
             ' {"id": 2, "text": "b, \\"c\\"", "batch_status": "ok"}]\n'),
        (["-t"], '  id  text    batch_status\n----  ------  --------------\n'
                 '   1  a       ok\n   2  b, "c"  ok\n'),
    ],
)  # fmt: skip
def test_every_format_of_sqlite_utils(
    option: list[str], expected: str, conn: sqlite3.Connection, tmp_path: Path, run: Any
) -> None:
    some(conn, tmp_path)
    columns = ("-c", "id", "-c", "text", "-c", "batch_status")
    said = run("results", "data.db", "1", "--status", "ok", *columns, *option)
    assert said.out.replace("\r\n", "\n") == expected.replace("\r\n", "\n")
    assert said.err == ""


@pytest.mark.parametrize("option", [[], ["--nl"]])
def test_blobs_are_printed_as_sqlite_utils_prints_them(
    option: list[str], conn: sqlite3.Connection, tmp_path: Path, run: Any
) -> None:
    job = sent(conn, "t", endpoint="/v1/embeddings", model="text-embedding-3-small",
               output="vector")  # fmt: skip
    body = {"model": "text-embedding-3-small", "data": [{"index": 0, "embedding": [0.5, -2.0]}]}
    line = {"custom_id": custom_id(job, 1), "response": {"status_code": 200, "body": body}}
    take(conn, job, tmp_path, [json.dumps(line).encode()])
    columns = [part for name in ("id", "picture", "vector") for part in ("-c", name)]
    ours = run("results", "data.db", "1", "--status", "ok", *columns, *option)
    theirs = CliRunner().invoke(
        sqlite_utils_cli,
        ["rows", str(tmp_path / "data.db"), "t", "--where", "id = 1", *columns, *option],
    )
    assert ours.out == theirs.output
    assert "vector" in ours.out


@pytest.mark.parametrize("option", ["--csv", "--tsv", "-t"])
def test_blobs_are_base64_where_text_is_printed(
    option: str, conn: sqlite3.Connection, tmp_path: Path, run: Any
) -> None:
    answered(conn, tmp_path, "t", {1: "one"})
    said = run("results", "data.db", "--status", "ok", "-c", "id", "-c", "picture", option)
    assert said.out.splitlines()[-1].replace("\t", ",").split() in (["1,AP8="], ["1", "AP8="])
    assert said.err == "BLOBs are written as base64: picture.\n"


def test_nothing_is_told_from_empty_text_in_csv(
    conn: sqlite3.Connection, tmp_path: Path, run: Any
) -> None:
    answered(conn, tmp_path, "t", {1: "one", 2: "two", 4: "four", 5: "five"}, blanks="send")
    out = run("results", "data.db", "--csv", "-c", "id", "-c", "text", "-c", "status").out
    assert out.splitlines()[1:4] == ["1,a,mine", '2,"b, ""c""",', '3,"",""']


def test_formulas_are_escaped_on_demand(conn: sqlite3.Connection, tmp_path: Path, run: Any) -> None:
    answered(conn, tmp_path, "t", {1: "=1+1", 2: "-5", 4: "fine", 5: "@x"})
    plain = run("results", "data.db", "--csv", "-c", "answer").out.split()
    assert plain == ["answer", "=1+1", "-5", "fine", "@x"]
    escaped = run("results", "data.db", "--csv", "-c", "answer", "--escape-formulas").out.split()
    assert escaped == ["answer", "'=1+1", "'-5", "fine", "'@x"]


def test_an_outcome_that_is_none(run: Any, notes: Path) -> None:
    said = run("results", notes, "--status", "good", code=2)
    assert "No outcome is called 'good'. There are: ok, pending, refused" in said.err


# Excel


def cells(path: Path) -> list[list[tuple[str | None, str | None]]]:
    """Type and text of each cell of a workbook's sheet."""
    space = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
    with zipfile.ZipFile(path) as book:
        sheet = ElementTree.fromstring(book.read("xl/worksheets/sheet1.xml"))
    return [
        [(cell.get("t"), "".join(cell.itertext())) for cell in row.iter(f"{space}c")]
        for row in sheet.iter(f"{space}row")
    ]


def test_a_workbook(conn: sqlite3.Connection, tmp_path: Path, run: Any) -> None:
    conn.execute("UPDATE t SET id = 9007199254740993 WHERE id = 5")
    answers = {
        1: {"tags": ["a", "b; c", "d"], "n": 3, "x": 0.5, "s": "=HYPERLINK(1)"},
        2: {"tags": [], "n": 9007199254740993, "x": 1e300, "s": "http://example.org"},
        9007199254740993: {"tags": ["é"], "n": 0, "x": 1, "s": "42\uffff\x00"},
    }
    answered(conn, tmp_path, "t", answers, schema="tags list, n int, x float, s")
    said = run("results", "data.db", "--xlsx", "out.xlsx", "--status", "ok")
    assert (said.out, said.err) == ("", "Wrote 3 rows to out.xlsx.\n")
    head, *rows = cells(tmp_path / "out.xlsx")
    assert [text for _, text in head] == [
        "id", "text", "picture", "status", "tags", "n", "x", "s", "batch_status", "error",
    ]  # fmt: skip
    inline = "inlineStr"
    assert rows[0] == [
        (None, "1"), (inline, "a"), (inline, "AP8="), (inline, "mine"), (inline, "a; b; c; d"),
        (None, "3"), (None, "0.5"), (inline, "=HYPERLINK(1)"), (inline, "ok"),
    ]  # fmt: skip
    assert rows[1][2:] == [
        (inline, ""), (inline, "9007199254740993"), (None, "1E+300"),
        (inline, "http://example.org"), (inline, "ok"),
    ]  # fmt: skip
    assert rows[2][0] == (inline, "9007199254740993")
    assert rows[2][-2][1] == "42�_x0000_"
    with zipfile.ZipFile(tmp_path / "out.xlsx") as book:
        names = book.namelist()
        assert b"<f>" not in book.read("xl/worksheets/sheet1.xml")
    assert "xl/worksheets/_rels/sheet1.xml.rels" not in names  # no link


def test_what_a_sheet_can_not_hold() -> None:
    check_fits(SHEET_ROWS - 1, 16_384)
    with pytest.raises(UsageError) as caught:
        check_fits(SHEET_ROWS, 3)
    assert str(caught.value) == (
        "An Excel sheet holds 1,048,575 rows, and these are 1,048,576. "
        "Take fewer with --status, or all of them with --csv."
    )
    with pytest.raises(UsageError, match="16,384 columns, and these are 16,385"):
        check_fits(1, 16_385)


def test_odd_values_in_cells(tmp_path: Path) -> None:
    path = tmp_path / "odd.xlsx"
    rows = [["x" * 40_000, float("inf"), True, None], ["ok", -0.0, 2**60, ""]]
    assert write_xlsx(path, ["a", "b", "c", "d"], rows) == 2
    _, first, second = cells(path)
    assert len(first[0][1] or "") == 32_767
    assert (first[0][1] or "").endswith("… (cut: --csv has all of it)")
    assert first[1] == ("inlineStr", "inf")
    assert second[2] == ("inlineStr", str(2**60))


def test_lists_are_joined() -> None:
    assert joined('["a", 1, null, true]') == "a; 1; null; true"
    for same in ('{"a": 1}', '[["a"]]', "no JSON", None, 5, "[]x"):
        assert joined(same) == same
    assert joined("[]") == ""


def test_a_file_that_can_not_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="can't be written: "):
        write_xlsx(tmp_path / "no" / "such.xlsx", ["a"], [[1]])


def test_a_workbook_and_another_format(run: Any, notes: Path) -> None:
    said = run("results", notes, "--xlsx", "x.xlsx", "--csv", code=2)
    assert "--xlsx writes a file of its own: leave out the other format." in said.err


def test_many_rows_in_their_order(conn: sqlite3.Connection, tmp_path: Path) -> None:
    conn.execute("DELETE FROM t")
    conn.executemany(
        "INSERT INTO t (id, text) VALUES (?, ?)", ((n, f"row {n}") for n in range(5_000))
    )
    job = answered(conn, tmp_path, "t", {n: f"answer {n}" for n in range(5_000)})
    _, rows = results(conn, job, columns=["id", "answer"])
    assert rows == [(n, f"answer {n}") for n in range(5_000)]


def test_csv_reads_back(conn: sqlite3.Connection, tmp_path: Path, run: Any) -> None:
    some(conn, tmp_path)
    text = run("results", "data.db", "--csv", "-c", "id", "-c", "text").out
    assert list(csv.reader(io.StringIO(text, newline=""))) == [
        ["id", "text"], ["1", "a"], ["2", 'b, "c"'], ["4", "d\ne"], ["5", "😀"],
    ]  # fmt: skip
    assert json.loads(run("results", "data.db", "-c", "text").out)[3] == {"text": "😀"}


CELLS = st.none() | st.text() | st.binary() | st.integers() | st.floats()


@given(st.lists(CELLS))
def test_a_row_weighs_as_much_alone_as_among_many(row: list[Any]) -> None:
    assert len(Weighed(row)) == weight([tuple(row)])
