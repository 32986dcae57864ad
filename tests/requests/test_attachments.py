"""`--attach`: PDFs, sound, images and text of rows, as content parts of their requests."""

from __future__ import annotations

import base64
import io
import json
import sqlite3
import wave
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

PDF = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
    b"2 0 obj<</Type/Pages/Kids[3 0 R 4 0 R]/Count 2>>endobj\n"
    b"3 0 obj<</Type/Page/Parent 2 0 R>>endobj\n4 0 obj<</Type /Page/Parent 2 0 R>>endobj\n"
    b"trailer<</Root 1 0 R>>\n%%EOF\n"
)
MP3 = b"ID3\x03\x00\x00\x00\x00\x00\x00" + b"\xff\xfb\x90\x00" * 50
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
ASK = ("--prompt", "What is in {{ id }}?", "--attach", "file")


def wav() -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(b"\0\0" * 80)
    return out.getvalue()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.fixture
def letters(run: Any) -> Any:
    """Make letters.db, whose table has these files."""

    def make(*files: Any) -> str:
        with closing(sqlite3.connect("letters.db")) as conn:
            conn.execute("CREATE TABLE letters (id INTEGER PRIMARY KEY, file)")
            conn.executemany("INSERT INTO letters (file) VALUES (?)", [(one,) for one in files])
            conn.commit()
        return "letters.db"

    return make


def parts(run: Any, db: str, *options: str) -> list[Any]:
    """The second content part of each request of a preview."""
    said = run("preview", db, "letters", *ASK, "--raw", "-n", "99", *options)
    found = []
    for line in said.out.splitlines():
        body = json.loads(line)["body"]
        messages = body.get("messages") or body["input"]
        found.append(messages[-1]["content"][1])
    return found


def test_each_kind_is_told_by_its_bytes(run: Any, letters: Any) -> None:
    Path("a.pdf").write_bytes(PDF)
    Path("sub").mkdir()
    Path("sub/b.wav").write_bytes(wav())
    Path("c.dat").write_bytes(PNG)
    Path("d.md").write_text("# Title\nGrüße", encoding="utf-8")
    absolute = str(Path("a.pdf").absolute())
    db = letters("a.pdf", "sub/b.wav", "c.dat", "d.md", PDF, MP3, absolute, "https://x.org/p.png")
    pdf = "data:application/pdf;base64," + b64(PDF)
    assert parts(run, db) == [
        {"type": "file", "file": {"filename": "a.pdf", "file_data": pdf}},
        {"type": "input_audio", "input_audio": {"data": b64(wav()), "format": "wav"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + b64(PNG)}},
        {"type": "text", "text": "# Title\nGrüße"},
        {"type": "file", "file": {"filename": "file.pdf", "file_data": pdf}},
        {"type": "input_audio", "input_audio": {"data": b64(MP3), "format": "mp3"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": pdf}},
        {"type": "image_url", "image_url": {"url": "https://x.org/p.png"}},
    ]


def test_responses_have_parts_of_their_own(run: Any, letters: Any) -> None:
    db = letters(PDF, "https://x.org/letter.pdf", b"plain", PNG)
    found = parts(run, db, "--endpoint", "/v1/responses")
    pdf = "data:application/pdf;base64," + b64(PDF)
    assert found == [
        {"type": "input_file", "filename": "file.pdf", "file_data": pdf},
        {"type": "input_file", "file_url": "https://x.org/letter.pdf"},
        {"type": "input_text", "text": "plain"},
        {"type": "input_image", "image_url": "data:image/png;base64," + b64(PNG), "detail": "auto"},
    ]


def test_a_whole_template_attaches_too(run: Any, letters: Any) -> None:
    Path("body.json").write_text(
        json.dumps(
            {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": [
                {"type": "text", "text": "Say {{ id }}"}, "{{ file | attach }}"]}]}
        )
    )  # fmt: skip
    db = letters(PDF)
    said = run("preview", db, "letters", "--template", "body.json", "--raw")
    assert json.loads(said.out)["body"]["messages"][0]["content"][1]["type"] == "file"


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("gone.pdf", "no file 'gone.pdf'"),
        ("../out.pdf", "no file|outside"),
        ("fake.pdf", "is no PDF, as its bytes tell"),
        ("fake.mp3", "is no MP3, as its bytes tell"),
        (PDF[:60], "was cut"),
        (b"\x00\x01\x02\xff", "What can be attached"),
        (b"PK\x03\x04" + b"\0" * 50, "What can be attached"),
        (b"%PDF-1.4" + b"x" * 50_000_001 + b"%%EOF", "takes 50,000,000 at most"),
        (None, "holds nothing to attach"),
        ("https://x.org/talk.mp3", "download it and attach the file"),
        ("https://x.org/letter.pdf", "--endpoint /v1/responses"),
    ],
)
def test_one_that_cannot_be_sent_fails_alone(
    run: Any, letters: Any, file: Any, message: str
) -> None:
    Path("fake.pdf").write_text("I am text")
    Path("fake.mp3").write_bytes(PDF)
    db = letters(PDF, file, b"text")
    run("run", db, "letters", *ASK, *run.there, code=3)
    with closing(sqlite3.connect(db)) as conn:
        found = conn.execute(
            "SELECT status, error_message FROM openai_batch_requests ORDER BY id"
        ).fetchall()
    assert [status for status, _ in found] == ["ok", "unrenderable", "ok"]
    assert any(one in found[1][1] for one in message.split("|")), found[1]


def test_sound_has_no_place_in_responses(run: Any, letters: Any) -> None:
    db = letters(wav())
    said = run("run", db, "letters", *ASK, "--endpoint", "/v1/responses", *run.there, code=3)
    assert "only /v1/chat/completions takes" in said.err + run("results", db, "--csv").out


def test_what_cannot_be_known_is_said_and_a_ceiling_needs_a_word(run: Any, letters: Any) -> None:
    db = letters(PDF, PDF, MP3)
    priced = ("--price-as", "gpt-4o-mini", "-o", "max_tokens", "100")
    said = run("preview", db, "letters", *ASK, *priced, "--base-url", "http://h.example/v1")
    assert "not estimated (2 PDFs, 4 pages, 1 sound)" in said.err
    assert "2 pages, tokens not estimated" in said.out
    there = ("--base-url", run.base_url, "--max-cost", "1", *priced, "--poll", "0.05")
    said = run("run", db, "letters", *ASK, *there, code=2)
    assert "--attach-tokens" in said.err and "2 PDFs, 4 pages, 1 sound" in said.err
    run("run", db, "letters", *ASK, *there, "--attach-tokens", "5000")
    with closing(sqlite3.connect(db)) as conn:
        (most,) = conn.execute("SELECT upper_cost_nanousd FROM openai_batch_jobs").fetchone()
    assert most > 3 * 5_000 * 75


def test_a_wrong_column_is_named(run: Any, letters: Any) -> None:
    db = letters(PDF)
    said = run("preview", db, "letters", "--prompt", "{{ id }}", "--attach", "fil", code=1)
    assert "--attach 'fil' is not a column. Did you mean file?" in said.err


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"type": "file", "file": {"filename": "a.pdf", "file_data": "x"}}, "file_data must"),
        ({"type": "file", "file": {"file_data": "data:application/pdf;base64,"}}, "filename"),
        ({"type": "file", "file": {"filename": "a.pdf",
          "file_data": "data:application/pdf;base64," + b64(b"no pdf")}}, "no PDF"),
        ({"type": "input_audio", "input_audio": {"data": b64(MP3), "format": "ogg"}}, "format"),
        ({"type": "input_audio", "input_audio": {"data": b64(MP3), "format": "wav"}}, "not sound"),
        ({"type": "input_file", "filename": "a.pdf"}, "takes no content part"),
    ],
)  # fmt: skip
def test_the_local_server_refuses_what_is_no_file(
    run: Any, letters: Any, part: Any, said: str
) -> None:
    content = [{"type": "text", "text": "{{ id }}"}, part]
    body = {"model": "m", "messages": [{"role": "user", "content": content}]}
    Path("body.json").write_text(json.dumps(body))
    db = letters(b"x")
    run("run", db, "letters", "--template", "body.json", *run.there, code=3)
    assert said in run("results", db, "--csv").out
