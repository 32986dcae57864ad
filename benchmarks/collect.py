"""Collect and write back: response lines in any order → three typed columns of a table.

    python benchmarks/collect.py --rows 100000

makes a seeded table and the result files of its job, then measures, each in a process of its own
over a fresh copy of the database:

    decode + update        typed decode of the lines (msgspec) into a private temporary database,
                           read back in key order, a bare UPDATE in commits of 10,000 rows
    the same in memory     the lines' answers sorted as one Python list instead
    by hand, none|all      a loop that keeps as much as `sync` does: rows read again and hashed,
                           outcome, answer, model and tokens of each request, what an undo needs,
                           raw lines kept or not; it thinks of no error, odd line or schema
    collect, none|all      what `sync` does with downloaded files: outcomes, tokens, hash check,
                           schema check, columns, what an undo needs; raw lines kept or not
    import-responses       the same files brought by hand, raw lines not kept
    pandas                 merge and to_sql, which keeps nothing but the columns

Ratios of CPU time are against the first. pandas runs where `--pandas PYTHON` has it.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

SEED = 20261121
UID = "benchmarks"
SCHEMA = "mood good|bad|mixed, score 0..1, summary"
SQL = "UPDATE reviews SET mood = ?, score = ?, summary = ? WHERE id = ?"
PART = 50_000  # requests in a batch: the API's limit


# The data


def make(folder: Path, rows: int, one_file: bool) -> None:
    """Make data.db with a job whose batches have ended, and their files part-1.jsonl …"""
    from sqlite_utils_openai_batch import store
    from sqlite_utils_openai_batch.base import clock
    from sqlite_utils_openai_batch.jobs.plan.ask import Ask
    from sqlite_utils_openai_batch.jobs.plan.plan import settle
    from sqlite_utils_openai_batch.jobs.plan.prepare import prepare

    rng = random.Random(SEED)
    words = Words(rng)
    conn = sqlite3.connect(folder / "data.db", isolation_level=None)
    conn.execute("PRAGMA journal_mode = WAL")
    conn.execute(
        "CREATE TABLE reviews "
        "(id INTEGER PRIMARY KEY, title TEXT, body TEXT, price REAL, category TEXT)"
    )
    conn.execute("BEGIN")
    conn.executemany(
        "INSERT INTO reviews VALUES (?, ?, ?, ?, ?)",
        (
            (n, words.text(6), words.text(rng.randint(60, 180)), rng.randrange(10**4) / 100, "c")
            for n in range(1, rows + 1)
        ),
    )
    conn.execute("COMMIT")
    ask = Ask(table="reviews", prompt="{{ title }}: {{ body }}", schema=SCHEMA)
    plan = settle(conn, ask)
    job, _ = prepare(
        conn, plan, uid=UID, provider="openai", base_url=None, account=None, settings={}
    )
    plan.close()
    if one_file:
        first, *_ = store.list_parts(conn, job.id)
        conn.execute("UPDATE openai_batch_requests SET part_id = ?", [first.id])
        conn.execute("DELETE FROM openai_batch_parts WHERE id <> ?", [first.id])
    conn.execute(
        "UPDATE openai_batch_parts SET status = 'completed', batch_id = 'batch_' || number, "
        "ended_at = ?",
        [clock.now()],
    )
    conn.execute("UPDATE openai_batch_jobs SET status = 'running', approved_at = created_at")
    for part in store.list_parts(conn, job.id):
        store.count_outcomes(conn, part.id)
        ids = conn.execute(
            "SELECT id FROM openai_batch_requests WHERE part_id = ?", [part.id]
        ).fetchall()
        rng.shuffle(ids)
        with (folder / f"part-{part.number}.jsonl").open("wb") as file:
            file.writelines(response(rng, words, n) for (n,) in ids)
    conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    conn.close()


class Words:
    """Text of made-up words, fast."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        letters = "abcdefghijklmnopqrstuvwxyzäéß"
        self.words = [
            "".join(rng.choice(letters) for _ in range(rng.randint(2, 10))) for _ in range(5_000)
        ]

    def text(self, count: int) -> str:
        """So many words."""
        first = self.rng.randrange(len(self.words) - count)
        return " ".join(self.words[first : first + count])


def response(rng: random.Random, words: Words, n: int) -> bytes:
    """One line of an output or error file, about 1 KB; one in a hundred failed."""
    if rng.random() < 0.01:
        error = {"message": "The server had an error", "type": "server_error", "code": None}
        status, body = 500, {"error": {**error, "param": None}}
    else:
        answer = {
            "mood": rng.choice(["good", "bad", "mixed"]),
            "score": rng.randrange(1000) / 1000,
            "summary": words.text(18),
        }
        status, body = 200, completion(rng, json.dumps(answer, ensure_ascii=False))
    line = {
        "id": f"batch_req_{rng.getrandbits(128):032x}",
        "custom_id": f"{UID}-{n}",
        "response": {
            "status_code": status,
            "request_id": f"{rng.getrandbits(128):032x}",
            "body": body,
        },
        "error": None,
    }
    return json.dumps(line, ensure_ascii=False).encode() + b"\n"


def completion(rng: random.Random, content: str) -> dict[str, Any]:
    """A chat completion with all that OpenAI's have."""
    return {
        "id": f"chatcmpl-{rng.getrandbits(116):029x}",
        "object": "chat.completion",
        "created": 1763700000,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": content,
                    "refusal": None,
                    "annotations": [],
                },
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": rng.randint(100, 400),
            "completion_tokens": rng.randint(20, 60),
            "total_tokens": 300,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        "service_tier": "default",
        "system_fingerprint": "fp_568f3bfff7",
    }


def files(folder: Path) -> list[Path]:
    """The result files, in the order of their parts."""
    return sorted(folder.glob("part-*.jsonl"), key=lambda path: int(path.stem[5:]))


# What is measured


def decoded(path: Path) -> Iterator[tuple[str, float, str, int]]:
    """The answers of a file by typed decoding, nothing else."""
    import msgspec

    struct = msgspec.defstruct
    message = struct("Message", [("content", str | None, None)])
    choice = struct("Choice", [("message", message)])
    body = struct("Body", [("choices", list[choice], [])])
    reply = struct("Reply", [("status_code", int), ("body", body)])
    shape = struct("Line", [("custom_id", str), ("response", reply)])
    answer = struct("Answer", [("mood", str), ("score", float), ("summary", str)])
    read_line, read_answer = msgspec.json.Decoder(shape).decode, msgspec.json.Decoder(answer).decode
    with path.open("rb") as file:
        for data in file:
            line = read_line(data)
            if line.response.status_code == 200:
                one = read_answer(line.response.body.choices[0].message.content or "")
                yield one.mood, one.score, one.summary, int(line.custom_id[len(UID) + 1 :])


def add_columns(conn: sqlite3.Connection) -> None:
    """The three columns."""
    for name, kind in (("mood", "TEXT"), ("score", "REAL"), ("summary", "TEXT")):
        conn.execute(f"ALTER TABLE reviews ADD COLUMN {name} {kind}")


def bare(conn: sqlite3.Connection, folder: Path) -> None:
    """Decode, sort in a private temporary database, update."""
    add_columns(conn)
    for path in files(folder):
        private = sqlite3.connect("", isolation_level=None)
        private.execute("PRAGMA journal_mode = OFF")
        private.execute("CREATE TABLE answers (mood, score, summary, id)")
        private.execute("BEGIN")
        private.executemany("INSERT INTO answers VALUES (?, ?, ?, ?)", decoded(path))
        answers = private.execute("SELECT * FROM answers ORDER BY id")
        while chunk := answers.fetchmany(10_000):
            update(conn, chunk)
        private.close()


def bare_in_memory(conn: sqlite3.Connection, folder: Path) -> None:
    """Decode, sort as a list, update."""
    add_columns(conn)
    for path in files(folder):
        answers = sorted(decoded(path), key=lambda one: one[3])
        for start in range(0, len(answers), 10_000):
            update(conn, answers[start : start + 10_000])


def update(conn: sqlite3.Connection, chunk: list[Any]) -> None:
    """One transaction of bare updates."""
    conn.execute("BEGIN IMMEDIATE")
    conn.executemany(SQL, chunk)
    conn.execute("COMMIT")


def by_hand(conn: sqlite3.Connection, folder: Path, responses: str) -> None:
    """Keep all that `sync` keeps of answers that are as they should be, in few steps."""
    import msgspec
    import xxhash

    pack, digest = msgspec.msgpack.Encoder().encode, xxhash.xxh3_128_digest
    kinds = [("mood", str), ("score", float), ("summary", str)]
    read_answer = msgspec.json.Decoder(msgspec.defstruct("Answer", kinds)).decode
    add_columns(conn)
    conn.execute("PRAGMA cache_size = -8000")
    for number, path in enumerate(files(folder)):
        if responses == "all":
            keep_lines(conn, path, number)
        private = sqlite3.connect("", isolation_level=None)
        private.execute("PRAGMA journal_mode = OFF")
        private.execute("CREATE TABLE answers (answer, why, model, p, cached, c, reasoning, id)")
        private.execute("BEGIN")
        marks = "?, ?, ?, ?, ?, ?, ?, ?"
        private.executemany(f"INSERT INTO answers VALUES ({marks})", with_tokens(path))
        answers = private.execute("SELECT * FROM answers ORDER BY id")
        done = 0
        while chunk := answers.fetchmany(1_000):
            if not conn.in_transaction:
                conn.execute("BEGIN IMMEDIATE")
            conn.text_factory = bytes
            rows = conn.execute(UNCHANGED, [chunk[0][-1], chunk[-1][-1]]).fetchall()
            conn.text_factory = str
            same = {one for one, asked, *row in rows if digest(pack(tuple(row))) and asked}
            values = [
                (one.mood, one.score, one.summary) for one in (read_answer(c[0]) for c in chunk)
            ]
            known = [one[-1] in same for one in chunk]
            assert all(known)
            conn.executemany(
                SQL, [(*cells, one[-1]) for cells, one in zip(values, chunk, strict=True)]
            )
            wrote = [f'{{"wrote": "{digest(pack(cells)).hex()}"}}' for cells in values]
            conn.executemany(
                SETTLE, [(*one[:-1], was, one[-1]) for one, was in zip(chunk, wrote, strict=True)]
            )
            done += len(chunk)
            if done % 4_000 == 0:
                conn.execute("COMMIT")
        if conn.in_transaction:
            conn.execute("COMMIT")
        private.close()


UNCHANGED = (
    "SELECT r.id, r.source_hash, t.title, t.body FROM openai_batch_requests AS r "
    "JOIN reviews AS t ON t.id = r.row_key WHERE r.id BETWEEN ? AND ? "
    "AND r.status = 'pending' AND r.part_id IS NOT NULL AND t.mood IS NULL"
)
SETTLE = (
    "UPDATE openai_batch_requests SET status = 'ok', answer = ?, finish_reason = ?, model = ?, "
    "prompt_tokens = ?, cached_tokens = ?, completion_tokens = ?, reasoning_tokens = ?, "
    "write_status = 'written', previous = ? WHERE id = ?"
)


def with_tokens(path: Path) -> Iterator[tuple[Any, ...]]:
    """The answers of a file as they came, with the model and the tokens."""
    import msgspec

    struct = msgspec.defstruct
    details = struct("Details", [("cached_tokens", int, 0), ("reasoning_tokens", int, 0)])
    counts = [("prompt_tokens", int), ("completion_tokens", int)]
    counts += [("prompt_tokens_details", details), ("completion_tokens_details", details)]
    message = struct("Message", [("content", str | None, None)])
    choice = struct("Choice", [("message", message), ("finish_reason", str)])
    usage = struct("Usage", counts) | None
    body = struct(
        "Body", [("choices", list[choice], []), ("model", str, ""), ("usage", usage, None)]
    )
    reply = struct("Reply", [("status_code", int), ("body", body)])
    read = msgspec.json.Decoder(struct("Line", [("custom_id", str), ("response", reply)])).decode
    with path.open("rb") as file:
        for data in file:
            line = read(data)
            if line.response.status_code == 200:
                body, used = line.response.body, line.response.body.usage
                yield (
                    body.choices[0].message.content,
                    body.choices[0].finish_reason,
                    body.model,
                    used.prompt_tokens,
                    used.prompt_tokens_details.cached_tokens,
                    used.completion_tokens,
                    used.completion_tokens_details.reasoning_tokens,
                    int(line.custom_id[len(UID) + 1 :]),
                )


def keep_lines(conn: sqlite3.Connection, path: Path, number: int) -> None:
    """Keep the lines of a file as they came."""
    with path.open() as file:
        found = (
            (int(line[line.index(UID) + len(UID) + 1 :].partition('"')[0]), number, n, line)
            for n, line in enumerate(file, 1)
        )
        while chunk := list(islice(found, 4_000)):
            conn.execute("BEGIN IMMEDIATE")
            conn.executemany(
                "INSERT INTO openai_batch_responses "
                "(request_id, part_id, kind, file_id, line_number, line, received_at) "
                "VALUES (?, ?, 'output', 'file', ?, ?, '2026-11-29T00:00:00Z')",
                [
                    (request, number, n + 1_000_000 * number, line)
                    for request, number, n, line in chunk
                ],
            )
            conn.execute("COMMIT")


def collect(conn: sqlite3.Connection, folder: Path, responses: str) -> None:
    """What `sync` does once the files are there."""
    from sqlite_utils_openai_batch import store
    from sqlite_utils_openai_batch.jobs.sync.collect import ResultFile, finish, take_files
    from sqlite_utils_openai_batch.jobs.writeback import Writer

    conn.execute("UPDATE openai_batch_jobs SET output = json_set(output, '$.responses', ?)",
                 [responses])  # fmt: skip
    job = store.get_job(conn, 1)
    writer = Writer(conn, job)
    for part in store.list_parts(conn, job.id):
        path = folder / f"part-{part.number}.jsonl"
        collected = take_files(
            conn, job, part, [ResultFile("output", f"file-{part.number}", path)], writer
        )
        finish(conn, job, part, "completed", collected)
    writer.close()


def import_responses(conn: sqlite3.Connection, folder: Path) -> None:
    """What `import-responses` does with the same files, where nothing was sent."""
    from sqlite_utils_openai_batch.jobs.files.import_ import bring_in
    from sqlite_utils_openai_batch.jobs.files.survey import Surveyor

    conn.execute("UPDATE openai_batch_parts SET status = 'prepared', batch_id = NULL")
    conn.execute("UPDATE openai_batch_jobs SET status = 'prepared', approved_at = NULL, "
                 "output = json_set(output, '$.responses', 'none')")  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        surveyor = Surveyor(conn, "work.db", Path(name), lambda words: None)
        bring_in(conn, surveyor.survey(list(map(str, files(folder)))), Path(name))


def pandas(conn: sqlite3.Connection, folder: Path) -> None:
    """The way of notebooks: a frame of answers, merged with the table, written over it."""
    import pandas as pd

    answers = []
    for path in files(folder):
        with path.open() as file:
            for text in file:
                line = json.loads(text)
                if line["response"]["status_code"] == 200:
                    content = line["response"]["body"]["choices"][0]["message"]["content"]
                    number = int(line["custom_id"].split("-")[1])
                    answers.append({"id": number, **json.loads(content)})
    table = pd.read_sql("SELECT * FROM reviews", conn)
    merged = table.merge(pd.DataFrame(answers), on="id", how="left")
    merged.to_sql("reviews", conn, if_exists="replace", index=False)


WORK: dict[str, Callable[[sqlite3.Connection, Path], None]] = {
    "decode + update": bare,
    "the same in memory": bare_in_memory,
    "by hand, none": lambda conn, folder: by_hand(conn, folder, "none"),
    "by hand, all": lambda conn, folder: by_hand(conn, folder, "all"),
    "collect, none": lambda conn, folder: collect(conn, folder, "none"),
    "collect, all": lambda conn, folder: collect(conn, folder, "all"),
    "import-responses": import_responses,
    "pandas": pandas,
}


# Measuring


def measure(name: str, folder: Path) -> dict[str, float]:
    """Do one thing in this process: seconds, and bytes at their highest."""
    path = folder / "work.db"
    conn = sqlite3.connect(path, isolation_level=None)
    gc.set_threshold(5_000)  # as each command does; so all ways are alike
    usage = resource.getrusage(resource.RUSAGE_SELF)
    before, started = usage.ru_utime + usage.ru_stime, time.perf_counter()
    WORK[name](conn, folder)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    figures = {
        "cpu": usage.ru_utime + usage.ru_stime - before,
        "wall": time.perf_counter() - started,
        "memory": usage.ru_maxrss * 1024,
        "log": (folder / "work.db-wal").stat().st_size,
        "answered": conn.execute("SELECT count(mood) FROM reviews").fetchone()[0],
    }
    conn.close()
    return figures


def in_process(python: str, name: str, folder: Path) -> dict[str, float]:
    """`measure` in a fresh process over a fresh copy."""
    for left in folder.glob("work.db*"):
        left.unlink()
    shutil.copy(folder / "data.db", folder / "work.db")
    command = [python, __file__, "--measure", name, "--folder", str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--one-file", action="store_true", help="all lines in a single file")
    parser.add_argument("--rounds", type=int, default=3, help="the fastest of so many counts")
    parser.add_argument("--pandas", metavar="PYTHON", help="a Python that has pandas")
    parser.add_argument("--make", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help="where to work  [default: a temporary one]")
    given = parser.parse_args()
    if given.make:
        make(given.folder, given.rows, given.one_file)
    elif given.measure:
        print(json.dumps(measure(given.measure, given.folder)))
    else:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            # In a process of its own: a child's peak of memory begins at its parent's.
            again = [sys.executable, *sys.argv, "--make", "--folder", folder]
            subprocess.run(again, check=True)
            report(given, Path(folder))


def report(given: argparse.Namespace, folder: Path) -> None:
    """Measure everything and print the table."""
    names = [name for name in WORK if name != "pandas" or given.pandas]
    best: dict[str, dict[str, float]] = {}
    for _ in range(given.rounds):
        for name in names:
            python = given.pandas if name == "pandas" else sys.executable
            figures = in_process(python, name, folder)
            if name not in best or figures["cpu"] < best[name]["cpu"]:
                best[name] = figures
    size = sum(path.stat().st_size for path in files(folder))
    print(f"{given.rows:,} lines, {size / 1e6:,.0f} MB in {len(files(folder))} file(s); "
          f"Python {sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}\n")  # fmt: skip
    print("| work | CPU s | ratio | wall s | memory MB | log MB |\n|---|--:|--:|--:|--:|--:|")
    for name, one in best.items():
        print(
            f"| {name} | {one['cpu']:.2f} | {one['cpu'] / best['decode + update']['cpu']:.2f} "
            f"| {one['wall']:.2f} | {one['memory'] / 1e6:.0f} | {one['log'] / 1e6:.0f} |"
        )
        assert one["answered"] == best["decode + update"]["answered"]


if __name__ == "__main__":
    main()
