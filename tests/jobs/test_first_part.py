"""The small part that goes ahead of a job of several, and a job that its answers stop."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from scripted import Batches, Line, Script, answer, failed, serving

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.base import clock
from sqlite_utils_openai_batch.store.connection import connect

ASK = ("-m", "gpt-4o-mini", "--prompt", "{{ text }}")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """`data.db` with a table `t` of 30 rows."""
    with closing(sqlite3.connect(tmp_path / "data.db")) as conn:
        conn.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)")
        conn.executemany("INSERT INTO t (text) VALUES (?)", [(f"row {n}",) for n in range(30)])
        conn.commit()
    return Path("data.db")


def send(run: Any, server: Batches, db: Path, *more: str, code: int = 0) -> Any:
    return run("run", db, "t", *ASK, "--base-url", server.base_url, "-y", "--poll", "0.05", *more,
               code=code)  # fmt: skip


class Bad(Script):
    """Fails all requests in some way, until it is mended."""

    def __init__(self, how: str) -> None:
        self.how = how

    def line(self, number: int, place: int, request: Line) -> Line | None:
        if self.how == "mended by a cap" and request["body"].get("max_tokens", 0) > 100:
            return answer(request, "long enough")
        if self.how in ("truncated", "mended by a cap"):
            return answer(request, "too lo", "length")
        if self.how == "refused":
            line = answer(request, "")
            line["response"]["body"]["choices"][0]["message"].update(refusal="I can't.")
            return line
        if self.how == "400":
            return failed(request, 400, {"error": {"message": "No such parameter: x", "code": "x"}})
        if self.how == "503":
            return failed(request, 503, {})
        if self.how == "out of credit":
            error = {"message": "You exceeded your quota.", "code": "insufficient_quota"}
            return failed(request, 429, {"error": error})
        return answer(request, {"no json": "Sure! Here you are.", "schema": '{"x": 1}'}[self.how])


BAD = {
    "no json": (("--schema", "mood good|bad"), "The server seems to ignore the schema"),
    "schema": (("--schema", "mood good|bad"), "The server seems to ignore the schema"),
    "truncated": (("-o", "max_tokens", "50"), "Answers are longer than they may be."),
    "refused": ((), "The model declines"),
    "400": ((), "No such parameter: x"),
    "out of credit": ((), "You exceeded your quota."),
}


@pytest.mark.parametrize("how", BAD)
def test_a_fault_that_the_first_part_proves_is_not_paid_for_again(
    how: str, run: Any, table: Path, rows: Any
) -> None:
    options, words = BAD[how]
    with serving(Bad(how)) as server:
        said = send(run, server, table, "--part-requests", "7", *options, code=4).err
        assert server.created == [7]
        assert "7 of the first 7 answers failed" in said, said
        assert words in said
        if how == "no json":
            assert "One of them: Sure! Here you are." in said
        assert "sqlite-utils openai-batch submit data.db 1" in said, "to go on regardless"
        run("sync", table, code=4)
        assert server.created == [7], "still paused"
        shown = run("show", table).out
        assert "nothing more was sent" in shown
        # what buys the same fault again is not what mends it
        mend, goes_on = (line for line in shown.splitlines() if line.startswith(("Mend ", "Or ")))
        assert goes_on == "Or go on  sqlite-utils openai-batch submit data.db 1"
        assert "submit" not in mend
        run("submit", table, "1", "-y")
        run("watch", table, "--poll", "0.05", code=3)
        assert sum(server.created) == 30, "regardless"
    (pending,) = rows(table, "SELECT count(*) FROM openai_batch_requests WHERE status = 'pending'")
    assert pending == (0,)


def test_the_provider_s_fault_stops_nothing(run: Any, table: Path, rows: Any) -> None:
    class Once(Bad):
        def line(self, number: int, place: int, request: Line) -> Line | None:
            return super().line(number, place, request) if number == 1 else answer(request, "ok")

    with serving(Once("503")) as server:
        send(run, server, table, "--part-requests", "10", "--first-wait", "0.01")
    assert rows(table, "SELECT count(answer) FROM t") == [(30,)]


def test_some_bad_answers_stop_nothing(run: Any, table: Path) -> None:
    class Some(Bad):
        def line(self, number: int, place: int, request: Line) -> Line | None:
            return answer(request, "ok") if place <= 2 else super().line(number, place, request)

    with serving(Some("refused")) as server:
        send(run, server, table, "--part-requests", "10", code=3)
        assert server.created == [10, 10, 10]


def parts(rows: Any, db: Path) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = rows(
        db, "SELECT number, requests FROM openai_batch_parts ORDER BY number"
    )
    return found


def test_a_few_requests_go_ahead(run: Any, table: Path, rows: Any) -> None:
    """They are the first rows, in a part before the others; those wait for them."""
    with serving(Script()) as server:
        said = send(run, server, table, "--part-requests", "12", "--first-part", "3", "--no-wait")
        assert server.created == [3]
        assert "waits for the first 3 answers (part 1), or until " in said.err
        assert parts(rows, table) == [(1, 3), (2, 9), (3, 12), (4, 6)]
        first = rows(
            table,
            "SELECT row_key FROM openai_batch_requests JOIN openai_batch_parts AS parts "
            "ON parts.id = part_id WHERE number = 1 ORDER BY 1",
        )
        assert first == [(1,), (2,), (3,)]
        run("watch", table, "--poll", "0.05")
        assert server.created[0] == 3
        assert sorted(server.created[1:]) == [6, 9, 12]
        assert len(server.ran) == len(set(server.ran)) == 30
    found = rows(table, "SELECT id, answer FROM t")
    assert [answer is not None for _, answer in found] == [True] * 30
    with closing(connect(str(table))) as conn:
        job = store.get_job(conn, 1)
        sizes = [(part.bytes, part.estimated_tokens) for part in store.list_parts(conn, 1)]
    assert all(size > 0 for size, _ in sizes)
    assert job.status == "completed"


@pytest.mark.parametrize(
    "options",
    [
        ("--part-requests", "12", "--first-part", "0"),
        ("--part-requests", "12", "--first-wait", "0"),
        ("--part-requests", "30", "--first-part", "3"),
    ],
)
def test_no_part_goes_ahead(options: tuple[str, ...], run: Any, table: Path, rows: Any) -> None:
    with serving(Script()) as server:
        said = run("preview", table, "t", *ASK, "--base-url", server.base_url, *options)
        assert "\nFirst " not in said.err
        send(run, server, table, *options, "--no-wait")
        run("sync", table)
        assert sum(server.created) == 30
    assert len(parts(rows, table)) in (1, 3)


def test_the_rest_follows_after_a_while_in_any_case(run: Any, table: Path) -> None:
    class Slow(Script):
        def ready(self, number: int) -> bool:
            return number > 1

    with serving(Slow()) as server:
        send(run, server, table, "--part-requests", "12", "--first-part", "3", "--no-wait")
        run("sync", table)
        assert server.created == [3]
        with closing(connect(str(table))) as conn, conn:
            before = clock.now(-16 * 60)
            conn.execute(
                "UPDATE openai_batch_parts SET submitted_at = ? WHERE number = 1", [before]
            )
        run("sync", table)
        assert sorted(server.created) == [3, 6, 9, 12]


def test_preview_says_how_many_go_ahead(run: Any, table: Path) -> None:
    there = ("preview", table, "t", *ASK, "--base-url", "http://127.0.0.1:9/v1", "--part-requests")
    assert (
        "\nFirst     10 requests go ahead; the rest follows when the answers are good, "
        "or after 15 min\n"
    ) in run(*there, "10").err
    said = run(*there, "10", "--first-part", "4", "--first-wait", "2.5").err
    assert "First     4 requests go ahead" in said
    assert "or after 2.5 min" in said


def test_not_where_the_job_that_is_repeated_has_shown_good_answers(
    run: Any, table: Path, rows: Any
) -> None:
    with serving(Script()) as server:
        send(run, server, table, "--part-requests", "10")
        again = ("run", table, "--like", "1", "--output", "b", "-y", "--poll", "0.05")
        run(*again, "--no-wait")
        assert server.created == [10] * 6, "all at once"
        said = run("preview", table, "--like", "1", "--output", "c").err
        assert "no part goes ahead: job" in said
        # Another question isn't the same.
        run("run", table, "--like", "1", "--prompt", "Other: {{ text }}", "--output", "d", "-y",
            "--no-wait")  # fmt: skip
        assert len(server.created) == 7


def test_not_where_try_has_shown_good_answers(run: Any, table: Path, server: Any) -> None:
    there = (*ASK, "--base-url", server.base_url, "--part-requests", "10")
    assert "go ahead" in run("preview", table, "t", *there).err
    run("try", table, "t", *there, "-n", "2", "-y")
    assert "no part goes ahead: try has just shown" in run("preview", table, "t", *there).err
    assert "4 requests go ahead" in run("preview", table, "t", *there, "--first-part", "4").err
    other = (*there, "-o", "temperature", "0")
    assert "10 requests go ahead" in run("preview", table, "t", *other).err


def test_a_repair_holds_for_what_was_not_sent_yet(run: Any, table: Path, rows: Any) -> None:
    """`retry --set` of a job that its first answers stopped: the rest is asked with it too."""
    with serving(Bad("mended by a cap")) as server:
        cap = ("-o", "max_tokens", "50")
        said = send(run, server, table, "--part-requests", "10", *cap, code=4).err
        assert "retry data.db 1 --status truncated --set max_tokens=100" in said
        run("retry", table, "1", "--set", "max_tokens=200", "-y", "--poll", "0.05")
        assert server.created == [10, 10, 10, 10]
    assert rows(table, "SELECT DISTINCT answer FROM t") == [("long enough",)]


def test_a_retry_keeps_to_it_too(run: Any, table: Path, rows: Any) -> None:
    """Its first part goes ahead; where that fails again, the others aren't sent."""
    with serving(Bad("truncated")) as server:
        cap = ("-o", "max_tokens", "50", "--part-requests", "10", "--first-part", "0")
        send(run, server, table, *cap, code=3)
        assert server.created == [10, 10, 10]
        said = run("retry", table, "1", "--set", "max_tokens=60", "-y", "--poll", "0.05", code=3)
        assert server.created[3:] == [10, 10, 10], "0 for none holds for retries"
        with closing(connect(str(table))) as conn, conn:
            conn.execute(
                "UPDATE openai_batch_jobs SET options = json_set(options, '$.first_part', 5)"
            )
        said = run("retry", table, "1", "--set", "max_tokens=70", "-y", "--poll", "0.05", code=4)
        assert server.created[6:] == [5]
        assert "5 of the first 5 answers failed" in said.err
