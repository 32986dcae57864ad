"""Excel files: numbers that stay numbers, and names that say another format."""

from __future__ import annotations

import base64
import math
import sqlite3
import tempfile
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import xlsxwriter
from finished import answered
from hypothesis import given, settings
from hypothesis import strategies as st

from sqlite_utils_openai_batch.base.errors import UsageError
from sqlite_utils_openai_batch.pricing.prices import usd
from sqlite_utils_openai_batch.results.xlsx import CUT, check_name, write_xlsx
from sqlite_utils_openai_batch.store.connection import connect

SPACE = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


def cells(path: Path) -> list[list[tuple[str | None, str, str | None]]]:
    """Type, text and style of each cell of a workbook's sheet."""
    with zipfile.ZipFile(path) as book:
        sheet = ElementTree.fromstring(book.read("xl/worksheets/sheet1.xml"))
    return [
        [(cell.get("t"), "".join(cell.itertext()), cell.get("s")) for cell in row.iter(f"{SPACE}c")]
        for row in sheet.iter(f"{SPACE}row")
    ]


def made(path: Path) -> sqlite3.Connection:
    """A connection to a new database."""
    path.touch()
    return connect(path)


KEYS = [
    (1, None), (-7, None), (999_999_999_999_999, None), (10**15, "inlineStr"),
    (2**63 - 1, "inlineStr"), ("007", "inlineStr"), (1.5, None),
]  # fmt: skip


@pytest.mark.parametrize(("key", "kind"), KEYS)
def test_keys_are_what_they_are(run: Any, tmp_path: Path, key: Any, kind: str | None) -> None:
    with closing(made(tmp_path / "data.db")) as conn:
        declared = {int: "INTEGER", str: "TEXT", float: "REAL"}[type(key)]
        conn.execute(f"CREATE TABLE t (id {declared} PRIMARY KEY, text TEXT)")
        conn.execute("INSERT INTO t VALUES (?, 'a')", [key])
        answered(conn, tmp_path, "t", {key: "yes"})
    run("results", "data.db", "--xlsx", "out.xlsx")
    assert cells(tmp_path / "out.xlsx")[1][0][:2] == (kind, str(key))


def test_long_numbers_show_all_their_digits(tmp_path: Path) -> None:
    write_xlsx(tmp_path / "out.xlsx", ["a", "b"], [[123_456_789_012, 12_345]])
    with zipfile.ZipFile(tmp_path / "out.xlsx") as book:
        styles = ElementTree.fromstring(book.read("xl/styles.xml"))
    forms = [form.get("numFmtId") for form in styles.iterfind(f"{SPACE}cellXfs/*")]
    _, (long, short) = cells(tmp_path / "out.xlsx")
    assert forms[int(long[2] or 0)] == "1"  # the built-in format 0
    assert short[2] is None


@pytest.mark.parametrize(
    "name",
    ["out.csv", "OUT.CSV", "out.tsv", "out.json", "out.jsonl", "movies.db", "a.sqlite", "old.xls",
     "a.xlsx.gz", "a.ods", "a.parquet", "notes.md", "photo.png", "report.pdf"],
)  # fmt: skip
def test_a_name_that_says_another_format(run: Any, notes: Path, tmp_path: Path, name: str) -> None:
    with closing(connect(tmp_path / "data.db")) as conn:
        answered(conn, tmp_path, "notes", {1: "yes"})
    (tmp_path / name).write_bytes(b"a,b\r\n1,2\r\n")
    said = run("results", notes, "--xlsx", name, code=2)
    assert f"'{name}' is the name of another kind of file" in said.err
    assert (tmp_path / name).read_bytes() == b"a,b\r\n1,2\r\n"


@pytest.mark.parametrize("name", ["out.xlsx", "out", "OUT.XLSX", "answers.2024", "of 3.5.2026"])
def test_names_that_say_nothing_else(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    check_name(path)
    write_xlsx(path, ["a"], [[1]])
    check_name(path)


def test_a_file_that_is_no_workbook_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "movies"
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("CREATE TABLE t (a)")
    with pytest.raises(UsageError, match="is there already and no Excel workbook"):
        check_name(path)


def test_what_to_write_in_place_of_it() -> None:
    with pytest.raises(UsageError) as caught:
        check_name("out.csv")
    assert str(caught.value) == (
        "--xlsx writes an Excel workbook, and 'out.csv' is the name of another kind of file. "
        "Call it 'out.xlsx', or in place of --xlsx write: --csv > FILE."
    )


@pytest.mark.parametrize("cost", [5_500_000, 123_000, 1_234_000_000, 12_345_678_900_000, 400])
def test_money_is_written_the_same_way_everywhere(run: Any, tmp_path: Path, cost: int) -> None:
    with closing(made(tmp_path / "data.db")) as conn:
        conn.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)")
        conn.execute("INSERT INTO t VALUES (1, 'a')")
        answered(conn, tmp_path, "t", {1: "yes"})
        conn.execute("UPDATE openai_batch_jobs SET cost_nanousd = ?", [cost])
    for command in ("report", "show", "jobs"):
        assert usd(cost) in run(command, "data.db").out


ODD = ["&<>\"' plain", "_x0041_ said", "bell \x07 \x1f", " spaced ", "a\n", "\ta", "", "é 日本 😀",
       "\ufffe\uffff", "a\r\nb", "\u2028", "x" * 40_000, "=1+1", "http://a.b"]  # fmt: skip
VALUES = st.one_of(
    st.none(),
    st.text(max_size=30),
    st.sampled_from(ODD),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.binary(max_size=9),
)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(VALUES, VALUES), max_size=8), st.sampled_from([ODD[0], "b" * 70_000]))
def test_the_sheet_is_what_a_library_would_write(rows: list[tuple[Any, Any]], long: str) -> None:
    """Cell by cell what xlsxwriter makes of the same values, in its mode of constant memory."""
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = Path(folder) / "ours.xlsx", Path(folder) / "theirs.xlsx"
        write_xlsx(ours, ["a", long[:90]], [*rows, (long[:100], 1)])
        book = xlsxwriter.Workbook(str(theirs), {"constant_memory": True})
        sheet = book.add_worksheet()
        bold, whole = book.add_format({"bold": True}), book.add_format({"num_format": "0"})
        for place, name in enumerate(["a", long[:90]]):
            sheet.write_string(0, place, name, bold)
        for number, row in enumerate([*rows, (long[:100], 1)], 1):
            for place, value in enumerate(row):
                write(sheet, number, place, value, whole)
        book.close()
        assert [row for row in cells(ours) if row] == [row for row in cells(theirs) if row]


def write(sheet: Any, number: int, place: int, value: Any, whole: Any) -> None:
    """One cell as it is to be."""
    if isinstance(value, bytes):
        value = base64.b64encode(value).decode()
    if isinstance(value, int) and abs(value) > 999_999_999_999_999:
        value = str(value)
    if isinstance(value, float) and not math.isfinite(value):
        value = str(value)
    if isinstance(value, str):
        if len(value) > 32_767:
            value = value[: 32_767 - len(CUT)] + CUT
        sheet.write_string(
            number, place, value.replace("\ufffe", "\ufffd").replace("\uffff", "\ufffd")
        )
    elif value is not None:
        sheet.write_number(
            number, place, value, whole if isinstance(value, int) and abs(value) >= 10**11 else None
        )


def test_a_cut_leaves_no_half_file(tmp_path: Path) -> None:
    path = tmp_path / "out.xlsx"
    write_xlsx(path, ["a"], [["before"]])

    def rows() -> Any:
        yield ["x" * 100_000]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_xlsx(path, ["a"], rows())
    assert [found.name for found in tmp_path.iterdir()] == ["out.xlsx"]
    assert cells(path)[1][0][1] == "before"


def test_how_far_it_is(tmp_path: Path) -> None:
    told: list[int] = []
    assert write_xlsx(tmp_path / "out.xlsx", ["a"], [["a"]] * 1_000, told=told.append) == 1_000
    assert told == [256, 512, 768, 1_000]


def test_text_beyond_the_basic_plane_is_cut_where_excel_counts(tmp_path: Path) -> None:
    write_xlsx(tmp_path / "out.xlsx", ["a"], [["😀" * 20_000]])
    (_, ((_, text, _),)) = cells(tmp_path / "out.xlsx")
    assert text.endswith(CUT)
    assert len(text.encode("utf-16-le")) // 2 <= 32_767
