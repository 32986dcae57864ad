"""Files that somebody brings become tables."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter

from sqlite_utils_openai_batch.base.errors import FileError
from sqlite_utils_openai_batch.tables.files import Loaded, is_database, load


def made(folder: Path, name: str, content: bytes | str) -> Loaded:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return load(file)


def rows(loaded: Loaded) -> list[Any]:
    with closing(sqlite3.connect(loaded.db)) as conn:
        return conn.execute(f'SELECT * FROM "{loaded.table}"').fetchall()


def types(loaded: Loaded) -> dict[str, str]:
    with closing(sqlite3.connect(loaded.db)) as conn:
        found = conn.execute("SELECT name, type, pk FROM pragma_table_info(?)", [loaded.table])
        return {name: kind + ("*" if pk else "") for name, kind, pk in found}


def test_types_and_a_key(tmp_path: Path) -> None:
    loaded = made(tmp_path, "survey.csv", "id,age,score,said\n1,30,0.5,Yes\n2,,1.5,\n")
    assert loaded.db == tmp_path / "survey.db"
    assert loaded.table == "survey"
    assert loaded.rows == 2
    assert types(loaded) == {"id": "INTEGER*", "age": "INTEGER", "score": "REAL", "said": "TEXT"}
    assert rows(loaded) == [(1, 30, 0.5, "Yes"), (2, None, 1.5, None)]
    assert loaded.notes == ["The key is id."]


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        (["007", "012"], ["007", "012"]),
        (["+49301", "+49302"], ["+49301", "+49302"]),
        (["12345678901234567890", "2"], ["12345678901234567890", "2"]),
        (["1_000", "2"], ["1_000", "2"]),
        (["nan", "2.5"], ["nan", "2.5"]),
        (["0", "12"], [0, 12]),
        (["0.5", "-0.25"], [0.5, -0.25]),
    ],
)
def test_what_would_lose_something_stays_text(
    tmp_path: Path, values: list[str], kept: list[Any]
) -> None:
    lines = "".join(f"{n},{value},same\n" for n, value in enumerate(values))
    loaded = made(tmp_path, "t.csv", f"id,value,other\n{lines}")
    assert [row[1] for row in rows(loaded)] == kept


@pytest.mark.parametrize(
    ("content", "note"),
    [
        ("id;text\n1;Größe, klein\n".encode("cp1252"), "Windows-1252"),
        ('id,text\n1,"Größe, klein"\n'.encode("utf-8-sig"), "UTF-8 (with a mark"),
        ("id\ttext\n1\tGröße, klein\n".encode("utf-16"), "UTF-16"),
        ("id|text\n1|Größe, klein\n".encode(), "divided by |"),
        ("id;text\n1;Größe, klein\n".encode(), "divided by semicolons"),
    ],
)
def test_encodings_and_delimiters(tmp_path: Path, content: bytes, note: str) -> None:
    loaded = made(tmp_path, "t.csv", content)
    assert rows(loaded) == [(1, "Größe, klein")]
    assert any(note in one for one in loaded.notes), loaded.notes


def test_without_a_key_rows_are_numbered(tmp_path: Path) -> None:
    loaded = made(tmp_path, "t.csv", "mood,text\ngood,a\ngood,b\n")
    assert rows(loaded) == [(1, "good", "a"), (2, "good", "b")]
    loaded = made(tmp_path, "u.csv", "id,text\n1,a\n1,b\n")
    assert types(loaded) == {"row_id": "INTEGER*", "id": "INTEGER", "text": "TEXT"}


def test_headers(tmp_path: Path) -> None:
    loaded = made(tmp_path, "t.csv", "id,,Text,text, a  b \n1,2,3,4,5\n")
    assert list(types(loaded)) == ["id", "column_2", "Text", "text_2", "a b"]


def test_json_lines_and_lists(tmp_path: Path) -> None:
    lines = '{"id": 1, "tags": ["a"]}\n\n{"id": 2, "more": 1.5}\n'
    for name, content in (("t.jsonl", lines), ("u.json", lines)):
        loaded = made(tmp_path, name, content)
        assert rows(loaded) == [(1, '["a"]', None), (2, None, 1.5)]
    loaded = made(tmp_path, "v.json", json.dumps([{"code": "x1", "n": 1}]))
    assert types(loaded) == {"code": "TEXT*", "n": "INTEGER"}


def test_a_workbook(tmp_path: Path) -> None:
    file = tmp_path / "book.xlsx"
    book = xlsxwriter.Workbook(file)
    book.add_worksheet("empty")
    sheet = book.add_worksheet("answers")
    for n, row in enumerate([["id", "code", "share"], [1, "007", 0.5], [2, "", 2]]):
        sheet.write_row(n, 0, row)
    book.close()
    loaded = load(file)
    assert rows(loaded) == [(1, "007", 0.5), (2, None, 2.0)]
    assert any("sheet answers" in note for note in loaded.notes)


def test_a_second_time_answers_are_kept(tmp_path: Path) -> None:
    loaded = made(tmp_path, "t.csv", "id,text\n1,a\n")
    with closing(sqlite3.connect(loaded.db)) as conn:
        conn.execute("ALTER TABLE t ADD answer TEXT DEFAULT 'paid'")
    again = load(tmp_path / "t.csv")
    assert "there already" in again.notes[0]
    assert rows(again) == [(1, "a", "paid")]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("t.csv", "id,text\n1,a,b\n", "line 2: 3 cells"),
        ("t.csv", "id,text\n", "no rows"),
        ("t.csv", "", "no rows"),
        ("t.jsonl", '{"id": 1}\n[2]\n', "line 2"),
        ("t.jsonl", '{"id": 1}\nnone\n', "line 2"),
        ("t.csv", b"\x89PNG\r\n\x1a\n\x00\x00", "not a text file"),
        ("t.xlsx", b"no workbook", "workbook"),
        ("t.json", "[1, 2]", "list of objects"),
    ],
)
def test_what_cant_be_read(tmp_path: Path, name: str, content: Any, says: str) -> None:
    with pytest.raises(FileError, match=says.replace("(", r"\(")):
        made(tmp_path, name, content)
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]


def test_another_database_is_left_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "t.db")) as conn:
        conn.execute("CREATE TABLE other (id)")
    assert is_database(tmp_path / "t.db")
    with pytest.raises(FileError, match="without a table t"):
        made(tmp_path, "t.csv", "id,text\n1,a\n")
