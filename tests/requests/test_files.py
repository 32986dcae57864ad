"""`export-requests`, and what `preview` says of columns, triggers, images and the disk."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

ASK = ("--prompt", "Say: {{ text }}")
DEMO = Path(__file__).parents[2] / "demo.db"


def change(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.executescript(script)


def test_all_parts_as_files(run: Any, notes: Any, rows: Any, tmp_path: Path) -> None:
    run("prepare", notes, "notes", *ASK, "--part-requests", "5", *run.there[:2])
    ((uid,),) = rows(notes, "SELECT uid FROM openai_batch_jobs")

    said = run("export-requests", notes, "1", "out")

    assert said.out.splitlines() == ["out/part-1.jsonl", "out/part-2.jsonl", "out/part-3.jsonl"]
    first, by_hand, with_vllm, *_ = said.err.splitlines()
    assert first == "12 requests of job 1 in 3 files (1.9 KB). Nothing was sent."
    assert by_hand.endswith("https://platform.openai.com/batches, endpoint /v1/chat/completions")
    assert with_vllm.endswith(
        "vllm run-batch -i out/part-$n.jsonl -o out/answers-$n.jsonl --model gpt-4o-mini; done"
    )
    lines = [
        json.loads(line)
        for name in said.out.split()
        for line in (tmp_path / name).read_text().splitlines()
    ]
    assert [line["custom_id"] for line in lines] == [f"{uid}-{n}" for n in range(1, 13)]
    assert lines[11]["body"]["messages"] == [{"role": "user", "content": "Say: note 12"}]
    sizes = [(tmp_path / name).stat().st_size for name in said.out.split()]
    assert sizes == [size for (size,) in rows(notes, "SELECT bytes FROM openai_batch_parts")]


def test_the_rows_as_they_are_now(run: Any, notes: Any, rows: Any, tmp_path: Path) -> None:
    run("prepare", notes, "notes", *ASK, *run.there[:2])
    hashes = "SELECT source_hash FROM openai_batch_requests ORDER BY id"
    before = rows(notes, hashes)
    change(notes, "UPDATE notes SET text = 'new' WHERE id = 2; DELETE FROM notes WHERE id = 3;")

    said = run("export-requests", notes, "1", "out")

    assert "1 row left out: gone, or not to be rendered any more." in said.err
    lines = (tmp_path / "out" / "part-1.jsonl").read_text().splitlines()
    assert len(lines) == 11
    assert json.loads(lines[1])["body"]["messages"][0]["content"] == "Say: new"
    after = rows(notes, hashes)
    assert [n for n in range(12) if before[n] != after[n]] == [1]


def test_a_file_is_never_overwritten_and_sent_parts_have_none(
    run: Any, notes: Any, tmp_path: Path
) -> None:
    run("prepare", notes, "notes", *ASK, *run.there[:2])
    run("export-requests", notes, "1", "out")
    again = run("export-requests", notes, "1", "out", code=1)
    assert again.err == "Error: 'out/part-1.jsonl' is there already. Name another folder.\n"
    run("run", notes, "notes", *ASK, "--new", *run.there)
    sent = run("export-requests", notes, "2", "more", code=1)
    assert "Job 2 has no requests that wait to be sent: it is completed." in sent.err
    assert not (tmp_path / "more").exists()


def test_the_columns_that_are_read(run: Any, notes: Any) -> None:
    said = run("preview", notes, "notes", "--prompt", "{{ mark }} {{ text }}")
    assert "Reads     text, mark (2 of 3 columns)\n" in said.err


def test_triggers_that_will_fire(run: Any, notes: Any) -> None:
    change(
        notes,
        "CREATE TRIGGER added AFTER INSERT ON notes BEGIN UPDATE notes SET mark = 1; END;"
        "CREATE TRIGGER edited AFTER UPDATE OF mark ON notes BEGIN SELECT 1; END;",
    )
    said = run("preview", notes, "notes", *ASK)
    assert "Warning: writing the answers fires notes's trigger edited for each row" in said.err
    away = run("preview", notes, "notes", *ASK, "--output-table", "away")
    assert "trigger" not in away.err


def test_an_unknown_model(run: Any, notes: Any) -> None:
    said = run("preview", notes, "notes", *ASK, "-m", "gtp-4o")
    assert "Warning: no model 'gtp-4o' of OpenAI's is known here. Did you mean gpt-4o?" in said.err
    assert "is known here" not in run("preview", notes, "notes", *ASK).err


def test_images_are_shown_by_kind_and_size(run: Any, tmp_path: Path) -> None:
    shutil.copy(DEMO, tmp_path / "demo.db")
    said = run(
        "preview", "demo.db", "furniture", "--prompt", "What is {{ name }}?", "-a", "image",
        "-a", "https://example.com/{{ id }}.png", "-n", "1",
    )  # fmt: skip
    assert said.out == (
        "Request 1 of 20   furniture.id = 1\n"
        "  user    What is Dining chair?\n"
        "  image   image/png, 1.1 KB\n"
        "  image   https://example.com/1.png\n"
    )


def test_rows_of_which_none_can_be_asked(run: Any, database: Any) -> None:
    path = database(
        "CREATE TABLE t (a TEXT, n INTEGER, b TEXT, PRIMARY KEY (a, n));"
        "INSERT INTO t VALUES ('x', 1, ' ')"
    )
    said = run("preview", path, "t", "--prompt", "{{ b }}", "--base-url", run.base_url)
    assert said.out == ""
    assert said.err == (
        "The only row of t is blank in b: nothing to ask. Ask all the same with --blanks send.\n"
    )


def test_a_key_of_several_columns_on_the_screen(run: Any, database: Any) -> None:
    path = database(
        "CREATE TABLE t (a TEXT, n INTEGER, b TEXT, PRIMARY KEY (a, n));"
        "INSERT INTO t VALUES ('x', 1, 'why')"
    )
    said = run("preview", path, "t", "--prompt", "{{ b }}", "--base-url", run.base_url)
    assert said.out.splitlines() == ["Request 1 of 1   t.a/n = x/1", "  user    why"]
