"""What a provider says of its capacity, in whatever words: waited for; cut only what can't fit."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripted import Batches, Line, Refusal, Script, failure, serving

from sqlite_utils_openai_batch.base import waits
from sqlite_utils_openai_batch.jobs import queue
from sqlite_utils_openai_batch.provider import errors

ASK = ("-m", "gpt-4o-mini", "--prompt", "{{ text }}")
OF_TOKENS = (
    "Enqueued token limit reached for gpt-4o-mini in organization org-X. Limit: 90,000 enqueued "
    "tokens. Please try again once some in_progress batches have been completed."
)
OF_REQUESTS = "Enqueued request limit reached for gpt-4o-mini. Limit: 1,000,000 enqueued requests."


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "RETRY_SECONDS", 0.0)


def send(run: Any, server: Batches, notes: Path, *more: str, code: int = 0) -> Any:
    return run("run", notes, "notes", *ASK, "--base-url", server.base_url, "-y", "--poll", "0.05",
               *more, code=code)  # fmt: skip


def answered(rows: Any, notes: Path) -> int:
    return int(rows(notes, "SELECT count(answer) FROM notes")[0][0])


# In whatever words


class Refusing(Script):
    """Has no room at first: it says so when a batch is made, or when it is looked at."""

    def __init__(self, times: int, message: str, code: str | None, status: int | None) -> None:
        self.times, self.error, self.status = times, failure(message, code), status

    def create(self, number: int, lines: list[Line]) -> Refusal | None:
        return (self.status, self.error) if self.status and number <= self.times else None

    def validate(self, number: int, lines: list[Line]) -> list[dict[str, Any]]:
        return [self.error | {"line": None}] if not self.status and number <= self.times else []


SAID: dict[str, tuple[str, str | None, int | None]] = {
    "tokens": (OF_TOKENS, "token_limit_exceeded", None),
    "requests": (OF_REQUESTS, None, None),
    "requests at once": (OF_REQUESTS, None, 400),
    "requests by another code": (OF_REQUESTS, "rate_limit_exceeded", 400),
    "another code alone": ("Slow down.", "rate_limit_exceeded", None),
    "forbidden": ("You have too many active batches.", "forbidden", 403),
    "a number of batches": ("The maximum number of in-progress batches is 20.", "invalid", 400),
    "full": ("The queue is full.", None, 429),
    "later": ("No slot. Please try again later.", "batch_failed", None),
}


@pytest.mark.parametrize("said", SAID.values(), ids=SAID)
def test_no_room_waits_and_goes_on(
    said: tuple[str, str | None, int | None], run: Any, notes: Path, rows: Any
) -> None:
    with serving(Refusing(3, *said)) as server:
        send(run, server, notes)
        assert server.created == [12, 12, 12, 12], "never cut"
        assert len(server.uploads) == 1, "uploaded once"
    assert answered(rows, notes) == 12
    assert rows(notes, "SELECT DISTINCT attempts FROM openai_batch_requests") == [(1,)]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("invalid_request", "This model's maximum context length is 8,192 tokens."),
        ("billing_hard_limit_reached", "Billing hard limit has been reached."),
        ("insufficient_quota", "You exceeded your current quota."),
        ("model_not_found", "The provided model 'x' is not supported by the Batch API."),
        ("file_too_large", "File is too large."),
    ],
)
def test_what_is_no_matter_of_room(code: str, said: str) -> None:
    assert not errors.waits_for_room(code, said)


def test_money_that_is_gone_is_not_waited_for(run: Any, notes: Path) -> None:
    said = ("You exceeded your current quota.", "insufficient_quota", 400)
    with serving(Refusing(1, *said)) as server:
        assert "is out of credit" in send(run, server, notes, code=4).err
        assert server.created == [12]


@pytest.mark.parametrize(
    ("message", "limits"),
    [
        (OF_TOKENS, {queue.TOKENS: 90_000}),
        (OF_REQUESTS, {queue.REQUESTS: 1_000_000}),
        ("Your limit of 5 000 requests is reached", {queue.REQUESTS: 5_000}),
        ("limit: 200.000 input tokens; limit: 7 pending requests",
         {queue.TOKENS: 200_000, queue.REQUESTS: 7}),
        ("Enqueued token limit reached", {}),
        ("Limit: 0 enqueued tokens", {}),
    ],
)  # fmt: skip
def test_limits_that_a_refusal_names(message: str, limits: dict[str, int]) -> None:
    assert queue.limits_in(message) == limits


# A queue that somebody else fills


@pytest.mark.parametrize("message", [OF_TOKENS, OF_REQUESTS, "The queue is full."])
def test_a_queue_filled_by_others_is_waited_for_patiently(
    message: str, run: Any, notes: Path, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts were halved down to one request, 63 uploads a minute; then the job was paused."""
    monkeypatch.setattr(waits, "RETRY_SECONDS", 240.0)
    with serving(Refusing(1_000, message, None, None)) as server:
        send(run, server, notes, "--part-requests", "4", "--no-wait")
        for _ in range(4):
            said = run("sync", notes).err
        assert server.created == [4], "the other parts wait with the first"
        assert "Next try" in said
        shown = run("jobs", notes).out
        assert re.search(r"queue full at 127\.0\.0\.1:\d+, next try \d\d:\d\d", shown), shown
        assert re.search(r"queue full at \S+, next try \d\d:\d\d", run("show", notes).out)
    assert rows(notes, "SELECT status, message FROM openai_batch_jobs") == [("running", None)]
    assert rows(notes, "SELECT count(*) FROM openai_batch_parts") == [(3,)]


def test_waits_grow_to_half_an_hour(
    run: Any, notes: Path, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "RETRY_SECONDS", 5.0)
    assert [waits.growing(n) for n in range(1, 8)] == [5, 20, 80, 320, 1280, 1800, 1800]


def test_room_is_taken_as_soon_as_a_batch_of_ours_ends(
    run: Any, notes: Path, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Small(Script):
        """Takes one batch at a time."""

        def create(self, number: int, lines: list[Line]) -> Refusal | None:
            busy = any(one["status"] == "in_progress" for one in server.batches.values())
            return (400, failure(OF_REQUESTS)) if busy else None

    monkeypatch.setattr(waits, "RETRY_SECONDS", 1_000.0)
    with serving(Small()) as server:
        send(run, server, notes, "--part-requests", "4")
        assert len(server.batches) == 3
    assert answered(rows, notes) == 12


# Cut only where it alone is too large


class Narrow(Script):
    """A queue of so many requests, or of so many tokens at ten each."""

    def __init__(self, most: int, unit: str) -> None:
        self.most, self.unit = most, unit

    def validate(self, number: int, lines: list[Line]) -> list[dict[str, Any]]:
        if len(lines) <= self.most:
            return []
        limit = self.most * (10 if self.unit == "tokens" else 1)
        message = f"Enqueued {self.unit} limit reached. Limit: {limit} enqueued {self.unit}."
        return [failure(message) | {"line": None}]


@pytest.mark.parametrize("unit", ["tokens", "requests"])
def test_a_part_that_alone_is_too_large_is_cut(unit: str, run: Any, notes: Path, rows: Any) -> None:
    with serving(Narrow(6, unit)) as server:
        send(run, server, notes)
        assert server.created[0] == 12
        assert sorted(server.ran) == sorted(set(server.ran))
        assert len(server.created) <= 6
    assert answered(rows, notes) == 12


# A file that is too large (issue 16, line 9)


class Tight(Script):
    """Takes no file above so many bytes; says so at the upload, or of the batch."""

    def __init__(self, most: int, error: dict[str, Any], status: int | None) -> None:
        self.most, self.error, self.status = most, error, status

    def upload(self, number: int, data: bytes) -> Refusal | None:
        return (self.status, self.error) if self.status and len(data) > self.most else None

    def validate(self, number: int, lines: list[Line]) -> list[dict[str, Any]]:
        large = not self.status and len(lines) * 150 > self.most
        return [self.error | {"line": None}] if large else []


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (failure("File is too large."), 400),
        (failure("Request Entity Too Large"), 413),
        (failure("The uploaded file exceeds the limit.", "payload_too_large"), 422),
        (failure("The file is larger than the maximum of 0.5 KB.", "file_too_large"), None),
        (failure("Too many lines.", "too_many_tasks"), None),
    ],
)
@pytest.mark.parametrize("most", [500, 1_000])
def test_a_file_that_is_too_large_is_cut(
    error: dict[str, Any], status: int | None, most: int, run: Any, notes: Path, rows: Any
) -> None:
    with serving(Tight(most, error, status)) as server:
        send(run, server, notes)
        assert sorted(server.ran) == sorted(set(server.ran)), "nothing is asked twice"
        assert len(server.uploads) <= 12
    assert answered(rows, notes) == 12


def test_other_parts_are_cut_before_they_are_refused(run: Any, notes: Path, rows: Any) -> None:
    with serving(Tight(500, failure("File is too large."), 400)) as server:
        send(run, server, notes, "--part-requests", "6")
        assert sum(size > 500 for size in server.uploads) == 1
    assert answered(rows, notes) == 12


def test_a_row_that_is_too_large_alone_costs_that_row(
    run: Any, database: Callable[..., Path], rows: Any
) -> None:
    db = database(
        "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT);"
        f"INSERT INTO notes (text) VALUES ('one'), ('{'x' * 2_000}'), ('three');"
    )
    with serving(Tight(500, failure("File is too large."), 400)) as server:
        send(run, server, db, code=3)
    assert rows(db, "SELECT id FROM notes WHERE answer IS NULL") == [(2,)]
    ((status, message),) = rows(
        db, "SELECT status, error_message FROM openai_batch_requests WHERE status != 'ok'"
    )
    assert status == "too_large"
    assert "File is too large." in message


def test_the_option_for_smaller_parts_is_named(run: Any, notes: Path) -> None:
    with serving(Tight(500, failure("File is too large."), 400)) as server:
        said = send(run, server, notes, "--no-wait").err
    assert "--part-bytes makes parts smaller from the beginning" in said


def test_a_part_of_an_accounts_limit_stays_one(run: Any, notes: Path, rows: Any) -> None:
    """Several databases divide a limit by `--enqueued-tokens`: the whole of it, which a refusal
    names, is not one database's. A lower one is."""
    limits = "SELECT value, source FROM openai_batch_limits WHERE kind = 'enqueued_tokens'"
    script = Refusing(1, OF_TOKENS, "token_limit_exceeded", None)
    with serving(script) as server:
        send(run, server, notes, "--enqueued-tokens", "30000")
    assert rows(notes, limits) == [(30_000, "option")]
    with serving(Refusing(1, OF_TOKENS, "token_limit_exceeded", None)) as server:
        send(run, server, notes, "--enqueued-tokens", "95000", "--output", "more")
    assert rows(notes, limits)[-1] == (90_000, "refusal")
