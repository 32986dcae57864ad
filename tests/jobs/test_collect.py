"""Result files → outcomes, answers, columns: whatever bytes they hold, cut wherever it may be."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from finished import (
    Copies,
    answered,
    chat_line,
    custom_id,
    error_line,
    request_ids,
    sent,
    statuses,
    take,
)
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.answers.reader import own_id
from sqlite_utils_openai_batch.base.outcome import Outcome
from sqlite_utils_openai_batch.jobs.sync.collect import ResultFile, Taker, finish, take_files
from sqlite_utils_openai_batch.jobs.sync.staging import Chunk, Staging
from sqlite_utils_openai_batch.jobs.writeback import Writer
from sqlite_utils_openai_batch.results.reader import Reader
from sqlite_utils_openai_batch.store.connection import connect

ROWS = 6
MANY_EXAMPLES = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def table(conn: sqlite3.Connection, rows: int = ROWS) -> None:
    """A table `t` of numbered texts, and `audit`, a row for each time a row of it is written."""
    conn.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)")
    conn.execute("CREATE TABLE audit (id INTEGER)")
    conn.execute(
        "CREATE TRIGGER watch AFTER UPDATE ON t BEGIN INSERT INTO audit VALUES (new.id); END"
    )
    conn.execute("BEGIN")
    conn.executemany("INSERT INTO t VALUES (?, ?)", ((n, f"row {n}") for n in range(1, rows + 1)))
    conn.execute("COMMIT")


@pytest.fixture
def conn(tmp_path: Path, journal: str) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "data.db", isolation_level=None)) as made:
        made.execute(f"PRAGMA journal_mode = {journal}")
        table(made)
    with closing(connect(tmp_path / "data.db")) as opened:
        yield opened


@pytest.fixture(scope="module")
def copies() -> Iterator[Copies]:
    made = Copies()
    yield made
    made.close()


def asked(conn: sqlite3.Connection, schema: str | None, keep: str, size: int) -> None:
    """A job about the rows of `table`, all of whose batches have ended."""
    table(conn)
    sent(conn, "t", schema=schema, responses=keep, part_requests=size)


def name(job: store.Job, n: int) -> str:
    """The custom_id of the request about row n: requests are in the order of rows."""
    return custom_id(job, n)


def sums_hold(conn: sqlite3.Connection, job: store.Job) -> dict[str, int]:
    """Outcomes of a job by its parts; checked against its requests."""
    counts = store.outcome_counts(store.list_parts(conn, job.id))
    there = dict(
        conn.execute(
            "SELECT status, count(*) FROM openai_batch_requests WHERE job_id = ? GROUP BY status",
            [job.id],
        ).fetchall()
    )
    assert counts == there
    assert sum(counts.values()) == store.get_job(conn, job.id).requests
    return counts


# Any bytes

NAMES = st.sampled_from([
    "{uid}-1", "{uid}-2", "{uid}-6", "{uid}-7", "{uid}-0", "{uid}-01", "{uid}- 1", "{uid}-1 ",
    "{uid}-", "{uid}-1.0", "{uid}-+1", "{uid}-٣", "{uid}-1e0", "{uid}-99999999999999999999",
    "{uid}", "1", "", "other-1", "{uid}-1-1",
])  # fmt: skip
DEEP = st.sampled_from([
    b"[" * 100_000, b'{"custom_id":' * 2_000, b'{"a":' * 3_000 + b"1" + b"}" * 3_000,
])  # fmt: skip
NUMBERS = st.sampled_from([b"1e999", b"-1e999", b"9" * 400, b"NaN", b"Infinity", b"1e-999"])


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """A line as a server may send it, or as no server should."""
    kind = draw(st.integers(0, 9))
    known = draw(NAMES)
    if kind <= 2:
        return chat_line(known, f"answer to {known}")
    if kind == 3:
        return error_line(known, draw(st.sampled_from([0, 400, 429, 500])), "no " + known)
    line = chat_line(known, f"answer to {known}")
    if kind == 4:
        return line[: draw(st.integers(0, len(line)))]
    if kind == 5:
        at = draw(st.integers(0, len(line)))
        junk = draw(
            st.sampled_from([b"\x00", b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b"\r", b"\\u0000"])
        )
        return line[:at] + junk + line[at:]
    if kind == 6:
        return line.decode().encode(draw(st.sampled_from(["utf-16", "utf-8-sig", "utf-32"])))
    if kind == 7:
        return line.replace(b"20", draw(NUMBERS))
    if kind == 8:
        return draw(DEEP)
    return draw(st.binary(max_size=60))


JUNK = re.compile("[\0\r\ufffd]")


@MANY_EXAMPLES
@given(
    some=st.lists(lines(), max_size=12),
    end=st.sampled_from([b"\n", b"\r\n", b"\n\n", b"\n \n"]),
    bom=st.booleans(),
    last=st.booleans(),
    keep=st.sampled_from(["all", "failed", "none"]),
)
@example(
    some=[chat_line("{uid}-1", "answer to {\0uid}-1")], end=b"\n", bom=False, last=False, keep="all"
)
@example(some=[b'{"custom_id": "{uid}-1"}'] * 3, end=b"\n", bom=True, last=False, keep="all")
def test_any_bytes_reach_no_wrong_row_and_are_counted(
    some: list[bytes], end: bytes, bom: bool, last: bool, keep: str, tmp_path: Path, copies: Copies
) -> None:
    with copies.of(asked, None, keep, ROWS) as (conn, job):
        whole = end.join(line.replace(b"{uid}", job.uid.encode()) for line in some)
        data = (b"\xef\xbb\xbf" if bom else b"") + whole + (end if last else b"")
        collected = take(conn, job, tmp_path, data)
        for row, answer in conn.execute("SELECT id, answer FROM t").fetchall():
            # Junk within an answer is part of it, also within the mark that the uid stands for.
            said = None if answer is None else JUNK.sub("", answer).replace("{uid}", job.uid)
            assert said in (None, f"answer to {job.uid}-{row}")
        counts = sums_hold(conn, job)
        assert "pending" not in counts
        pieces = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
        filled = [number for number, piece in enumerate(pieces, 1) if piece.strip()]
        assert collected.lines == len(filled)
        kept = conn.execute(
            "SELECT line_number, line, request_id FROM openai_batch_responses ORDER BY line_number"
        ).fetchall()
        if keep == "all":
            assert [number for number, _, _ in kept] == filled
        for number, line, request_id in kept:
            stored = line.encode() if isinstance(line, str) else line
            assert stored == pieces[number - 1].removesuffix(b"\r")
            assert request_id is None or 1 <= request_id <= ROWS
        nobodys = sum(1 for *_, request_id in kept if request_id is None)
        assert nobodys == collected.unknown
        assert conn.execute("SELECT count(*) FROM audit").fetchone()[0] <= ROWS


MOODS = ['{"mood": "good", "n": 1}', '{"mood": "bad", "n": 2}', '{"mood": "fair", "n": 3}',
         '```json\n{"mood": "bad", "n": 4}\n```', '{"mood": "good"}', "no", ""]  # fmt: skip
SAID = st.one_of(
    lines(),
    st.builds(
        lambda n, content, reason: chat_line(f"{{uid}}-{n}", content, finish_reason=reason),
        st.integers(1, ROWS),
        st.sampled_from(MOODS),
        st.sampled_from(["stop"] * 8 + ["length", None]),
    ),
)


@MANY_EXAMPLES
@given(
    files=st.lists(st.lists(SAID, max_size=8), min_size=1, max_size=2),
    schema=st.sampled_from([None, "mood good|bad, n int"]),
    keep=st.sampled_from(["all", "failed", "none"]),
    size=st.sampled_from([2, ROWS]),
)
def test_many_lines_at_once_are_settled_as_each_by_itself(
    files: list[list[bytes]],
    schema: str | None,
    keep: str,
    size: int,
    tmp_path: Path,
    copies: Copies,
) -> None:
    """Nothing that is kept tells the quick way of usual answers from the way of all others."""

    def kept(*, quick: bool) -> tuple[Any, ...]:
        with copies.of(asked, schema, keep, size) as (conn, job):
            conn.execute("DROP TRIGGER watch")
            conn.execute("UPDATE openai_batch_jobs SET uid = 'u'")
            conn.execute("UPDATE t SET text = 'another' WHERE id = 3")
            job = store.get_job(conn, job.id)
            found = []
            with pytest.MonkeyPatch.context() as patch:
                if not quick:
                    patch.setattr(Taker, "usual", lambda *_: [])
                for part, some in zip(store.list_parts(conn, job.id), files, strict=False):
                    said = [line.replace(b"{uid}", b"u") for line in some]
                    name = f"file-{part.number}"
                    taken = take(conn, job, tmp_path, said, part=part, file_id=name)
                    found.append((taken.lines, taken.unknown, taken.surplus, taken.spent))
            for name, columns in {
                "t": "*",
                "openai_batch_requests": "*",
                "openai_batch_responses": "request_id, kind, file_id, line_number, line",
                "openai_batch_parts": "number, status, requests, outcomes, cost_nanousd, "
                "prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens",
            }.items():
                found += conn.execute(f"SELECT {columns} FROM {name} ORDER BY 1, 2").fetchall()
            return tuple(found)

    assert kept(quick=True) == kept(quick=False)


def test_a_line_of_50_megabytes(conn: sqlite3.Connection, tmp_path: Path) -> None:
    job = sent(conn, "t", responses="failed")
    big = "x" * 50_000_000
    take(conn, job, tmp_path, [chat_line(name(job, 2), big), chat_line(name(job, 1), "small")])
    found = conn.execute("SELECT id, length(answer) FROM t WHERE answer IS NOT NULL").fetchall()
    assert found == [(1, 5), (2, 50_000_000)]


@pytest.mark.parametrize(
    ("given_id", "expected"),
    [
        ("abc-1", 1), ("abc-123456789012345678", 123456789012345678),
        ("abc-1234567890123456789", None), ("abc-01", None), ("abc-0", None), ("abc-", None),
        ("abc", None), ("ABC-1", None), (None, None), ("abc-１", None),
        ("abc-²", None), ("abc-1\n", None), ("", None),
    ],
)  # fmt: skip
def test_ids_are_never_guessed(given_id: str | None, expected: int | None) -> None:
    assert own_id("abc-", given_id) == expected


# Which line wins


def test_the_first_ok_wins_and_beats_whatever_came_before(
    conn: sqlite3.Connection, tmp_path: Path
) -> None:
    job = sent(conn, "t")
    collected = take(conn, job, tmp_path, [
        error_line(name(job, 1)),
        chat_line(name(job, 1), "late"), chat_line(name(job, 1), "later"),
        chat_line(name(job, 2), "first"),
        error_line(name(job, 2)), chat_line(name(job, 2), "second"),
        error_line(name(job, 3), message="one"), error_line(name(job, 3), message="two"),
    ])  # fmt: skip
    assert conn.execute("SELECT answer FROM t WHERE id < 4").fetchall() == [
        ("late",), ("first",), (None,),
    ]  # fmt: skip
    assert collected.surplus == 2
    found = conn.execute("SELECT error_message FROM openai_batch_requests WHERE id = 3").fetchone()
    assert found == ("one",)
    assert sums_hold(conn, job) == {"ok": 2, "http_error": 1, "missing": 3}


LINES = [
    *((kind, n) for kind in ("ok", "error") for n in range(1, 4)),
    *(("ok", n) for n in range(1, 3)),
]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(order=st.permutations(LINES))
def test_their_order_changes_no_outcome(
    order: list[tuple[str, int]], tmp_path: Path, copies: Copies
) -> None:
    with copies.of(asked, None, "all", ROWS) as (conn, job):
        take(conn, job, tmp_path, [
            chat_line(name(job, n), f"row {n}") if kind == "ok" else error_line(name(job, n))
            for kind, n in order
        ])  # fmt: skip
        assert conn.execute("SELECT id, answer FROM t WHERE answer IS NOT NULL").fetchall() == [
            (1, "row 1"), (2, "row 2"), (3, "row 3"),
        ]  # fmt: skip
        assert sums_hold(conn, job) == {"ok": 3, "missing": 3}


def moved(conn: sqlite3.Connection, job: store.Job, n: int) -> store.Part:
    """Put a request into a new part, as asking again does."""
    part_id = store.insert_part(
        conn, job_id=job.id, number=2, status="in_progress", requests=1, bytes=0, batch_id="b2"
    )
    store.move_requests(conn, [n], part_id)
    for part in store.list_parts(conn, job.id):
        store.count_outcomes(conn, part.id)
    return store.get_part(conn, part_id)


def test_a_late_answer_counts_where_its_request_is_now(
    conn: sqlite3.Connection, tmp_path: Path
) -> None:
    job = sent(conn, "t")
    first = store.list_parts(conn, job.id)[0]
    second = moved(conn, job, 1)
    late = [chat_line(name(job, 1), "late"), error_line(name(job, 2))]
    take(conn, job, tmp_path, late, part=first)
    assert store.get_part(conn, second.id).counts == {"ok": 1}
    assert conn.execute("SELECT answer FROM t WHERE id = 1").fetchone() == ("late",)
    # What its own part brings is paid for, kept, and changes nothing.
    again = take(conn, job, tmp_path, [chat_line(name(job, 1), "own")], part=second, file_id="f2")
    assert again.surplus == 1
    assert conn.execute("SELECT answer FROM t WHERE id = 1").fetchone() == ("late",)
    assert conn.execute("SELECT count(*) FROM audit WHERE id = 1").fetchone() == (1,)
    sums_hold(conn, job)


def test_sums_hold_where_writing_stops_in_the_middle(
    conn: sqlite3.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sqlite_utils_openai_batch.store.connection.COMMIT_ROWS", 1)
    monkeypatch.setattr("sqlite_utils_openai_batch.jobs.sync.staging.CHUNK_ROWS", 1)
    conn.execute(
        "CREATE TRIGGER no BEFORE UPDATE ON t WHEN old.id = 3 BEGIN "
        "SELECT RAISE(ROLLBACK, 'no'); END"
    )
    job = sent(conn, "t")
    first = store.list_parts(conn, job.id)[0]
    second = moved(conn, job, 1)
    answers = [chat_line(name(job, n), "late") for n in (4, 1, 3, 2)]
    collected = take(conn, job, tmp_path, [*answers, b"{}", answers[0]], part=first)
    assert (collected.lines, collected.unknown, collected.written) == (6, 1, False)
    assert collected.spent.requests == 5
    assert conn.execute("SELECT id FROM t WHERE answer = 'late'").fetchall() == [(1,), (2,)]
    # What was written before that is committed, and the other part knows of it.
    assert store.get_part(conn, second.id).counts == {"ok": 1}
    assert sums_hold(conn, job) == {"ok": 4, "missing": 2}


def test_a_late_error_says_nothing_of_a_request_that_is_asked_again(
    conn: sqlite3.Connection, tmp_path: Path
) -> None:
    job = sent(conn, "t")
    first = store.list_parts(conn, job.id)[0]
    moved(conn, job, 1)
    take(conn, job, tmp_path, [error_line(name(job, 1))], part=first)
    assert statuses(conn, job)[1] == ("pending", None)
    sums_hold(conn, job)


@pytest.mark.parametrize(
    ("ended", "expected"),
    [("completed", "missing"), ("expired", "expired"), ("cancelled", "cancelled")],
)
def test_what_a_batch_left_unanswered(
    ended: str, expected: str, conn: sqlite3.Connection, tmp_path: Path
) -> None:
    job = sent(conn, "t")
    take(conn, job, tmp_path, [chat_line(name(job, 4), "four")], ended=ended)
    assert sums_hold(conn, job) == {"ok": 1, expected: 5}


def test_an_empty_file(conn: sqlite3.Connection, tmp_path: Path) -> None:
    job = sent(conn, "t")
    assert take(conn, job, tmp_path, b"").lines == 0
    assert sums_hold(conn, job) == {"missing": 6}


# What is kept


@pytest.mark.parametrize(
    ("keep", "numbers"), [("all", [1, 2, 3, 4, 5]), ("failed", [2, 3, 4, 5]), ("none", [3, 4, 5])]
)
def test_which_lines_are_kept(
    keep: str, numbers: list[int], conn: sqlite3.Connection, tmp_path: Path
) -> None:
    job = sent(conn, "t", responses=keep)
    data = [
        chat_line(name(job, 1), "one"),
        error_line(name(job, 2)),
        chat_line("nobody", "knows"),
        chat_line(name(job, 1), "one more"),
        b"\xff no UTF-8",
    ]
    collected = take(conn, job, tmp_path, data)
    assert (collected.lines, collected.unknown, collected.surplus) == (5, 2, 1)
    kept = conn.execute(
        "SELECT line_number, request_id, typeof(line), kind, file_id FROM openai_batch_responses "
        "ORDER BY line_number"
    ).fetchall()
    owners = {1: 1, 2: 2, 3: None, 4: 1, 5: None}
    assert kept == [
        (n, owners[n], "blob" if n == 5 else "text", "output", "file-1") for n in numbers
    ]
    (detail,) = [
        json.loads(row["detail"])
        for row in store.log_lines(conn, job.id)
        if row["event"] == "collected"
    ]
    assert detail == {"batch": None, "lines": 5, "unknown": 2, "surplus": 1}


@pytest.mark.parametrize("keep", ["all", "failed", "none"])
def test_the_same_file_again_changes_nothing(
    keep: str, conn: sqlite3.Connection, tmp_path: Path
) -> None:
    job = sent(conn, "t", responses=keep)
    data = [
        chat_line(name(job, 2), "two"), chat_line(name(job, 1), "one"), error_line(name(job, 3)),
        chat_line(name(job, 1), "one more"),
        chat_line("nobody", "x"), chat_line(name(job, 99), "y"),
    ]  # fmt: skip
    take(conn, job, tmp_path, data)
    before = everything(conn)
    take(conn, job, tmp_path, data)
    assert everything(conn) == before


def everything(conn: sqlite3.Connection) -> dict[str, list[Any]]:
    """All that collecting may change, but times."""
    return {
        "t": conn.execute("SELECT * FROM t ORDER BY id").fetchall(),
        "audit": conn.execute("SELECT * FROM audit").fetchall(),
        "requests": conn.execute("SELECT * FROM openai_batch_requests").fetchall(),
        "parts": conn.execute(
            "SELECT outcomes, prompt_tokens, completion_tokens, cost_nanousd "
            "FROM openai_batch_parts"
        ).fetchall(),
        "responses": conn.execute(
            "SELECT request_id, part_id, kind, file_id, line_number, line "
            "FROM openai_batch_responses"
        ).fetchall(),
    }


# Cut in the middle


class Cut(BaseException):
    """Stands for a kill: nobody catches it."""


class Cutting(sqlite3.Connection):
    """A connection that is cut before or after its nth commit."""

    def __init__(self, path: Path, commits: int, before: bool) -> None:
        super().__init__(path, isolation_level=None)
        self.left = commits
        self.before = before

    def execute(self, sql: str, *params: Any) -> sqlite3.Cursor:  # type: ignore[override]
        if sql == "COMMIT":
            self.left -= 1
            if self.left < 0 and self.before:
                raise Cut
        done = super().execute(sql, *params)
        if self.left < 0 and sql == "COMMIT":
            raise Cut
        return done


@pytest.mark.parametrize("keep", ["all", "none"])
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("commits", range(7))
def test_cut_at_any_commit_nothing_is_done_twice(
    commits: int, before: bool, keep: str, conn: sqlite3.Connection, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("sqlite_utils_openai_batch.store.connection.COMMIT_ROWS", 2)
    monkeypatch.setattr("sqlite_utils_openai_batch.jobs.sync.staging.CHUNK_ROWS", 2)
    job = sent(conn, "t", responses=keep)
    data = [
        *(chat_line(name(job, n), f"answer {n}") for n in (5, 2, 6, 1, 3)),
        error_line(name(job, 4)),
        chat_line(name(job, 5), "a second one"),
    ]
    expected = expectations(data, keep, tmp_path)
    with closing(Cutting(tmp_path / "data.db", commits, before)) as victim, suppress(Cut):
        take(victim, job, tmp_path, data)
    take(conn, job, tmp_path, data)
    found = everything(conn)
    assert {key: found[key] for key in ("t", "audit", "parts")} == {
        key: expected[key] for key in ("t", "audit", "parts")
    }
    assert len(found["responses"]) == len(expected["responses"])
    sums_hold(conn, job)


def expectations(data: list[bytes], keep: str, folder: Path) -> dict[str, list[Any]]:
    """What an undisturbed run leaves."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as conn:
        table(conn)
        job = sent(conn, "t", responses=keep)
        uid = json.loads(data[0])["custom_id"].split("-")[0]
        mine = [line.replace(uid.encode(), job.uid.encode()) for line in data]
        take(conn, job, folder, mine, file_id="expected")
        return everything(conn)


def test_both_files_of_a_batch_and_no_writer(conn: sqlite3.Connection, tmp_path: Path) -> None:
    job = sent(conn, "t")
    part = store.list_parts(conn, job.id)[0]
    (tmp_path / "o").write_bytes(chat_line(name(job, 2), "two"))
    (tmp_path / "e").write_bytes(error_line(name(job, 1)))
    files = [
        ResultFile("output", "f-o", tmp_path / "o"),
        ResultFile("error", "f-e", tmp_path / "e"),
    ]
    collected = take_files(conn, job, part, files)
    finish(conn, job, part, "completed", collected)
    assert sums_hold(conn, job) == {"ok": 1, "http_error": 1, "missing": 4}
    part = store.list_parts(conn, job.id)[0]
    assert (part.collected_at is None, part.written_at) == (False, None)
    writer = Writer(conn, job)
    writer.write_part(part)
    writer.close()
    assert conn.execute("SELECT answer FROM t WHERE id = 2").fetchone() == ("two",)
    assert store.list_parts(conn, job.id)[0].written_at is not None


def test_another_jobs_lines(conn: sqlite3.Connection, tmp_path: Path) -> None:
    other = answered(conn, tmp_path, "t", {1: "x"}, output="a")
    job = sent(conn, "t", output="b")
    foreign = [chat_line(custom_id(other, 1), "not mine"), chat_line(custom_id(job, 1), "its id")]
    collected = take(conn, job, tmp_path, foreign)
    assert collected.unknown == 2
    assert conn.execute("SELECT count(b) FROM t").fetchone() == (0,)
    assert request_ids(conn, job)[1] == 7


def test_what_was_forgiven_is_no_second_answer(conn: sqlite3.Connection, tmp_path: Path) -> None:
    job = sent(conn, "t", schema="mood good|bad")
    fenced = [chat_line(name(job, n), '```json\n{"mood": "good"}\n```') for n in range(1, 7)]
    take(conn, job, tmp_path, fenced)
    before = everything(conn)
    assert take(conn, job, tmp_path, fenced).surplus == 0
    assert everything(conn)["t"] == before["t"]
    seen = "SELECT DISTINCT status, error_message FROM"
    notes = [("ok", "the JSON was taken out of a code fence")]
    assert conn.execute(f"{seen} openai_batch_requests").fetchall() == notes
    # A note is no error to those who read the results.
    assert conn.execute(f"{seen} openai_batch_results").fetchall() == [("ok", None)]
    with closing(Reader(conn, job)) as results:
        assert {row[-2:] for row in results.rows()} == {("ok", None)}


# The staging


OUTCOMES = st.builds(
    Outcome,
    custom_id=st.none(),
    status=st.sampled_from(["ok", "http_error"]),
    answer=st.none() | st.text(st.characters(codec="utf-8")) | st.binary(),
    error_message=st.none() | st.text(st.characters(codec="utf-8")),
    prompt_tokens=st.none() | st.integers(0, 2**63 - 1),
    values=st.none()
    | st.tuples(
        st.text(st.characters(codec="utf-8")),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False),
    ),
)


@settings(max_examples=60, deadline=None)
@given(
    found=st.lists(st.tuples(st.integers(1, 5), OUTCOMES), max_size=20), room=st.integers(0, 2_000)
)
def test_memory_and_disk_give_the_same(found: list[tuple[int, Outcome]], room: int) -> None:
    wanted = [(n, 0, at, outcome) for at, (n, outcome) in enumerate(found)]
    with Staging() as memory, Staging(memory_bytes=room) as disk:
        for *place, outcome in wanted:
            memory.add(Chunk.of([(*place, outcome)]))
            disk.add(Chunk.of([(*place, outcome)]))
        in_memory = [line for chunk in memory.chunks() for line in chunk.lines()]
        on_disk = [line for chunk in disk.chunks() for line in chunk.lines()]
    assert in_memory == on_disk == sorted(wanted, key=lambda line: line[0])
