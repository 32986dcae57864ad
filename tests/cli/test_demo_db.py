"""demo.db: it holds what its sources say, on every machine, and the odd rows that tests rely on."""

from __future__ import annotations

import json
import shutil
import sqlite3
import struct
import subprocess
import sys
import tempfile
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlite_utils.cli import cli

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "demo"
OURS = "'openai\\_batch\\_%' ESCAPE '\\'"
# The two last columns of movies are the answers of the finished job.
COLUMNS = {
    "movies": [
        "id",
        "title",
        "year",
        "director",
        "runtime",
        "genre",
        "overview",
        "city",
        "country",
    ],
    "personas": ["ID", "Age", "College", "Description"],
    "reviews": ["id", "product", "rating", "language", "body"],
    "furniture": ["id", "name", "category", "material", "price", "image"],
}


def run(script: str, *arguments: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, DEMO / script, *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def dump(connection: sqlite3.Connection, table: str) -> list[str]:
    """Each row as SQL literals."""
    literals = " || ', ' || ".join(f'quote("{name}")' for name in COLUMNS[table])
    return [row[0] for row in connection.execute(f"SELECT {literals} FROM {table} ORDER BY rowid")]


@pytest.fixture(scope="module")
def committed() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(f"{(ROOT / 'demo.db').as_uri()}?mode=ro", uri=True)) as db:
        yield db


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    out = tmp_path_factory.mktemp("built") / "again.db"
    result = run("build.py", out)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert [file.name for file in out.parent.iterdir()] == ["again.db"]
    with closing(sqlite3.connect(out)) as db:
        yield db


@pytest.mark.parametrize("table", COLUMNS)
def test_builds_the_committed_rows_again(
    built: sqlite3.Connection, committed: sqlite3.Connection, table: str
) -> None:
    names = [row[1] for row in built.execute(f"PRAGMA table_info({table})")]
    assert names == COLUMNS[table]
    assert dump(built, table) == dump(committed, table)


def test_build_makes_only_its_tables_and_those_of_jobs(built: sqlite3.Connection) -> None:
    names = built.execute(
        f"SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE {OURS} "
        "AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY rowid"
    ).fetchall()
    assert [name for (name,) in names] == [*COLUMNS, "_sqlite_migrations"]


def test_the_committed_file_has_the_tables_of_jobs_of_today(
    built: sqlite3.Connection, committed: sqlite3.Connection
) -> None:
    asked = f"SELECT type, name, sql FROM sqlite_master WHERE name LIKE {OURS} ORDER BY name"
    assert built.execute(asked).fetchall() == committed.execute(asked).fetchall()


def test_is_small_and_whole(committed: sqlite3.Connection) -> None:
    assert (ROOT / "demo.db").stat().st_size < 500_000
    assert committed.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert committed.execute("PRAGMA freelist_count").fetchone() == (0,)
    # In WAL mode a reader would have to write beside the file.
    assert committed.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_names_no_place_of_the_machine_that_built_it(built: sqlite3.Connection) -> None:
    (path,) = (row[2] for row in built.execute("PRAGMA database_list"))
    data = Path(path).read_bytes()
    for place in (Path(path).parent, ROOT, Path.home(), tempfile.gettempdir(), "127.0.0.1"):
        assert str(place).encode() not in data


def test_build_replaces_an_older_file(tmp_path: Path) -> None:
    out = tmp_path / "demo.db"
    out.write_text("not a database")
    assert run("build.py", cwd=tmp_path).returncode == 0
    assert out.read_bytes().startswith(b"SQLite format 3\0")


def test_build_does_without_the_product(tmp_path: Path, committed: sqlite3.Connection) -> None:
    # -S leaves out everything that is installed.
    command = [sys.executable, "-S", str(DEMO / "build.py")]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stderr == ("No finished job: sqlite-utils-openai-batch is not installed here.\n")
    with closing(sqlite3.connect(tmp_path / "demo.db")) as plain:
        tables = plain.execute("SELECT name FROM sqlite_master").fetchall()
        assert [name for (name,) in tables] == list(COLUMNS)
        assert dump(plain, "reviews") == dump(committed, "reviews")


def test_demo_of_no_rows_only_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For pages that are typed along: no weights, no server, no question."""
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, ["openai-batch", "demo", "--rows", "0"])
    assert result.exit_code == 0, result.output
    assert [file.name for file in tmp_path.iterdir()] == ["demo.db"]
    assert (tmp_path / "demo.db").read_bytes() == (ROOT / "demo.db").read_bytes()


def test_build_refuses_beside_a_write_ahead_log(tmp_path: Path) -> None:
    (tmp_path / "demo.db-wal").write_bytes(b"")
    result = run("build.py", cwd=tmp_path)
    assert result.returncode == 1
    assert "demo.db-wal exists: close the programs that use demo.db first." in result.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["demo.db-wal"]


def test_build_works_from_a_copy_of_its_folder(tmp_path: Path, built: sqlite3.Connection) -> None:
    shutil.copytree(DEMO, tmp_path / "demo")
    command = [sys.executable, "demo/build.py"]
    subprocess.run(command, cwd=tmp_path, check=True)
    with closing(sqlite3.connect(tmp_path / "demo.db")) as copy:
        assert dump(copy, "reviews") == dump(built, "reviews")


@pytest.mark.parametrize(
    ("table", "rows"), [("movies", 144), ("personas", 26), ("reviews", 336), ("furniture", 20)]
)
def test_counts_and_keys(committed: sqlite3.Connection, table: str, rows: int) -> None:
    keys = [row[0] for row in committed.execute(f"SELECT {COLUMNS[table][0]} FROM {table}")]
    assert keys == list(range(1, rows + 1))


def recorded() -> list[dict[str, Any]]:
    lines = (DEMO / "finished_job.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def said(answer: dict[str, Any]) -> str:
    return str(answer["choices"][0]["message"]["content"])


@pytest.fixture(params=["built", "committed"])
def db(request: pytest.FixtureRequest) -> sqlite3.Connection:
    connection: sqlite3.Connection = request.getfixturevalue(request.param)
    return connection


def test_the_finished_job_is_done(db: sqlite3.Connection) -> None:
    rows = len(recorded())
    jobs = db.execute(
        "SELECT id, name, status, source, provider, base_url, requests, skipped, message "
        "FROM openai_batch_jobs"
    ).fetchall()
    assert jobs == [(1, "demo-model", "completed", "movies", "local", None, rows, 0, None)]
    parts = db.execute("SELECT status, requests, completed, outcomes FROM openai_batch_parts")
    assert [(*row[:3], json.loads(row[3])) for row in parts] == [
        ("completed", rows, rows, {"ok": rows})
    ]


def test_the_finished_job_says_who_answered(db: sqlite3.Connection) -> None:
    assert db.execute("SELECT model FROM openai_batch_jobs").fetchall() == [
        ("SmolLM2-135M-Instruct",)
    ]
    assert db.execute("SELECT DISTINCT model FROM openai_batch_requests").fetchall() == [
        ("SmolLM2-135M-Instruct (demo model)",)
    ]


def test_the_answers_are_those_of_the_model(db: sqlite3.Connection) -> None:
    answers = db.execute(
        "SELECT movies.overview, requests.answer, requests.status, requests.write_status "
        "FROM openai_batch_requests AS requests JOIN movies ON movies.id = requests.row_key "
        "ORDER BY movies.id"
    ).fetchall()
    assert answers == [
        (line["request"]["messages"][-1]["content"], said(line["response"]), "ok", "written")
        for line in recorded()
    ]


def test_the_responses_are_kept_as_they_came(db: sqlite3.Connection) -> None:
    lines = db.execute("SELECT line FROM openai_batch_responses ORDER BY request_id").fetchall()
    bodies = [json.loads(line)["response"]["body"] for (line,) in lines]
    assert bodies == [line["response"] for line in recorded()]


def test_the_answers_stand_beside_their_films(db: sqlite3.Connection) -> None:
    rows = db.execute(
        "SELECT overview, city, country FROM movies "
        "WHERE city IS NOT NULL OR country IS NOT NULL ORDER BY id"
    ).fetchall()
    expected = [(json.loads(said(line["response"])), line["request"]) for line in recorded()]
    assert rows == [
        (request["messages"][-1]["content"], answer["city"], answer["country"])
        for answer, request in expected
    ]


def test_movies_are_plausible(committed: sqlite3.Connection) -> None:
    columns = ", ".join(COLUMNS["movies"][:7])
    films = committed.execute(f"SELECT {columns} FROM movies").fetchall()
    assert len({(title, year) for _, title, year, *_ in films}) == len(films)
    for _, title, year, director, runtime, genre, overview in films:
        assert 1900 <= year <= 2026, title
        assert 40 <= runtime <= 300, title
        assert director == director.strip() != "", title
        assert all(word and word == word.strip() for word in genre.split(", ")), title
        assert 80 <= len(overview) <= 300, title
        assert overview.endswith(".") and overview[0].isupper(), title
    assert {year // 10 * 10 for _, _, year, *_ in films} >= set(range(1930, 2030, 10))


def test_movies_agree_with_the_published_example(committed: sqlite3.Connection) -> None:
    films = committed.execute("SELECT title, year, runtime, genre FROM movies").fetchall()
    assert {
        ("The Shawshank Redemption", 1994, 142, "Drama"),
        ("The Godfather", 1972, 175, "Crime, Drama"),
        ("The Dark Knight", 2008, 152, "Action, Crime, Drama"),
        ("The Godfather: Part II", 1974, 202, "Crime, Drama"),
        ("12 Angry Men", 1957, 96, "Crime, Drama"),
    } <= set(films)


def test_personas_agree_with_the_published_example(committed: sqlite3.Connection) -> None:
    rows = committed.execute("SELECT * FROM personas").fetchall()
    assert rows[0] == (
        1,
        28,
        "No",
        "Hank Rodriguez is a 28 year old black architect who enjoys Star Wars.",
    )
    assert rows[7][3] == "Mia Lee is a 42 year old software engineer who enjoys cooking."
    assert rows[-1][:3] == (26, 30, "Yes")
    for _, age, college, description in rows:
        assert f" is a {age} year old " in description
        assert college in ("Yes", "No")


def bodies(connection: sqlite3.Connection) -> list[str]:
    return [row[0] for row in connection.execute("SELECT body FROM reviews WHERE body <> ''")]


def test_the_first_dozen_reviews_suit_a_tiny_model(committed: sqlite3.Connection) -> None:
    dozen = committed.execute("SELECT rating, language, body FROM reviews LIMIT 12").fetchall()
    for _, language, body in dozen:
        assert language == "en"
        assert len(body) <= 120
        assert all(letter.isascii() and (letter.isalnum() or letter in " .,'") for letter in body)
    ratings = Counter("good" if r > 3 else "bad" if r < 3 else "mixed" for r, _, _ in dozen)
    assert ratings == {"good": 5, "bad": 4, "mixed": 3}


def test_ratings_are_one_to_five_or_missing(committed: sqlite3.Connection) -> None:
    rows = committed.execute("SELECT DISTINCT rating FROM reviews ORDER BY rating").fetchall()
    assert rows == [(None,), (1,), (2,), (3,), (4,), (5,)]


def test_blank_reviews(committed: sqlite3.Connection) -> None:
    blanks = committed.execute(
        "SELECT body, language FROM reviews WHERE body IS NULL OR trim(body) = '' ORDER BY body"
    ).fetchall()
    assert Counter(body for body, _ in blanks) == {None: 4, "": 3, " ": 1, "   ": 1, " " * 6: 1}
    assert {language for _, language in blanks} == {None}


@pytest.mark.parametrize(
    "piece",
    [
        "\n",
        "\n\n",
        "\t",
        "\u2028",
        '"',
        "'",
        ",",
        "\\",
        "{{ name }}",
        "<b>",
        "&amp;",
        "<",
        "=SUM(",
        "👍",
        "👨‍👩‍👧‍👦",
        "Ignore all previous instructions",
    ],
)
def test_reviews_hold_awkward_text(committed: sqlite3.Connection, piece: str) -> None:
    texts = committed.execute("SELECT product || ' ' || body FROM reviews WHERE body <> ''")
    assert any(piece in text for (text,) in texts)


def test_one_text_stands_under_three_products(committed: sqlite3.Connection) -> None:
    repeated = {body: count for body, count in Counter(bodies(committed)).items() if count > 1}
    assert repeated == {"Great product!": 3}


@pytest.mark.parametrize(
    "script",
    [
        "ARABIC",
        "BENGALI",
        "CJK",
        "CYRILLIC",
        "DEVANAGARI",
        "GREEK",
        "HANGUL",
        "HEBREW",
        "HIRAGANA",
        "KATAKANA",
        "TAMIL",
        "THAI",
    ],
)
def test_reviews_in_other_scripts(committed: sqlite3.Connection, script: str) -> None:
    text = "".join(bodies(committed))
    assert any(unicodedata.name(letter, "").startswith(script) for letter in set(text))


def png(data: bytes) -> tuple[int, int, bytes]:
    """The width, the height and the unpacked pixels of a PNG file, its checksums verified."""
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    chunks, position = {}, 8
    while position < len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        content = data[position + 8 : position + 8 + length]
        (checksum,) = struct.unpack_from(">I", data, position + 8 + length)
        assert checksum == zlib.crc32(kind + content)
        chunks[kind] = content
        position += 12 + length
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    width, height, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert rest == [8, 2, 0, 0, 0]
    return width, height, zlib.decompress(chunks[b"IDAT"])


def test_images_are_sound_and_differ(committed: sqlite3.Connection) -> None:
    images = [row[0] for row in committed.execute("SELECT image FROM furniture")]
    for image in images:
        width, height, pixels = png(image)
        assert (width, height) == (128, 128)
        assert len(pixels) == height * (1 + 3 * width)
        assert len(image) < 5_000
    assert len(set(images)) == 20


def test_images_are_what_the_script_draws(tmp_path: Path) -> None:
    result = run("draw.py", tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    drawn = {file.name: png(file.read_bytes()) for file in tmp_path.iterdir()}
    assert drawn == {file.name: png(file.read_bytes()) for file in (DEMO / "images").iterdir()}
