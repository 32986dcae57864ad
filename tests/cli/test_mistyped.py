"""What somebody types by mistake: nothing, numbers that are none, amounts in another notation."""

from __future__ import annotations

import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

ASK = ("--prompt", "Say: {{ text }}")


@pytest.fixture
def journal() -> str:
    """Nothing here depends on SQLite's journal mode."""
    return "delete"


@pytest.mark.parametrize(
    "option",
    ["--base-url", "--upstream", "--key", "--model", "--schema", "--endpoint", "--where", "--name",
     "--output", "--output-table", "--price-as", "--max-cost", "--template", "--image-dir",
     "--like", "--pk", "--image"],
)  # fmt: skip
@pytest.mark.parametrize("value", ["", "  "])
def test_an_option_that_is_empty(
    run: Any, notes: Path, unchanged: Any, option: str, value: str
) -> None:
    """`--base-url "$SERVER"` of a shell that has no SERVER would send the rows to OpenAI."""
    check = unchanged(notes)
    said = run("run", notes, "notes", *ASK, "-y", option, value, code=2)
    assert said.err.startswith("Error: -") and "is empty" in said.err
    assert "a shell variable that isn't set" in said.err
    check()


@pytest.mark.parametrize(
    "typed",
    [
        ("preview", "", "notes", *ASK),
        ("run", "", *ASK, "-y"),
        ("jobs", ""),
        ("sync", " "),
        ("show", "data.db", ""),
        ("validate", ""),
        ("split", "requests.jsonl", ""),
        ("results", "data.db", "1", "--xlsx", ""),
    ],
)
def test_an_argument_that_is_empty(
    run: Any, notes: Path, unchanged: Any, tmp_path: Path, typed: tuple[str, ...]
) -> None:
    """The folder one is in would be taken for a folder of files to ask about."""
    check = unchanged(notes)
    before = sorted(tmp_path.iterdir())
    said = run(*typed, code=2)
    assert "is empty" in said.err
    assert sorted(tmp_path.iterdir()) == before
    check()


def test_what_may_be_empty(run: Any, notes: Path) -> None:
    said = run("preview", notes, "notes", *ASK, *run.there[:2], "--system", "", "--prefix", "",
               "-o", "stop", "")  # fmt: skip
    assert "Nothing was sent." in said.err


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--first-wait", "nan"), ("--first-wait", "inf"), ("--first-wait", "1e300"),
        ("--poll", "nan"), ("--poll", "-inf"), ("--poll", "1e9"),
        ("--attempts", "9" * 21), ("--concurrency", "9" * 21), ("--enqueued-tokens", "9" * 25),
        ("--max-cost", "1e308"), ("--max-cost", "nan"), ("--max-cost", "9" * 12),
        ("--max-cost", "1,50"), ("--max-cost", "1,000"), ("--max-cost", "1.000,50"),
    ],
)  # fmt: skip
def test_numbers_that_mean_nothing(
    run: Any, notes: Path, unchanged: Any, option: str, value: str
) -> None:
    check = unchanged(notes)
    said = run("run", notes, "notes", *ASK, "-y", *run.there[:2], option, value, code=2)
    assert option in said.err
    check()


@pytest.mark.parametrize("price", ["1e300", "1e9"])
def test_prices_that_mean_nothing(run: Any, notes: Path, price: str) -> None:
    said = run("preview", notes, "notes", *ASK, "--price-input", price, "--price-output", "1",
               code=2)  # fmt: skip
    assert said.err.startswith(f"Error: --price-input '{price}': that is above 1,000,000 USD.")


@pytest.mark.parametrize("option", ["--system", "--prompt", "--schema", "--template"])
@pytest.mark.parametrize(
    ("file", "kind"),
    [("book.xlsx", "an Excel workbook"), ("code.docx", "a Word document"), ("a.zip", "a ZIP file"),
     ("rows.db", "a SQLite database"), ("scan.pdf", "a PDF"), ("photo.txt", "a picture")],
)  # fmt: skip
def test_a_file_that_is_no_text(
    run: Any, notes: Path, tmp_path: Path, option: str, file: str, kind: str
) -> None:
    """Some of them are valid UTF-8 by chance, and would be sent with each row."""
    inside = {"book.xlsx": "xl/workbook.xml", "code.docx": "word/document.xml", "a.zip": "a.txt"}
    if file in inside:
        with zipfile.ZipFile(tmp_path / file, "w") as made:
            made.writestr(inside[file], "Say")
    elif file == "rows.db":
        with closing(sqlite3.connect(tmp_path / file)) as conn, conn:
            conn.execute("CREATE TABLE t (a)")
    else:
        head = b"%PDF-1.4\n" if file == "scan.pdf" else b"\xff\xd8\xff"
        (tmp_path / file).write_bytes(head + b"{{ text }}")
    asked = () if option in ("--prompt", "--template") else ASK
    said = run("preview", notes, "notes", *asked, *run.there[:2], option, file, code=1)
    assert said.err.splitlines()[-1].startswith(f"Error: {option} '{file}' is {kind}, no ")
