"""Requests that the provider lost: asked again by itself, as after a 5xx."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scripted import Line, Script, failed, serving

from sqlite_utils_openai_batch.answers.outcome import is_providers_fault

LOST: dict[str, tuple[int | None, Any, Any]] = {
    "status 0": (0, {}, None),
    "status 0 as null": (0, None, None),
    "status 0 with words": (0, {"error": {"message": "aborted", "code": "x"}}, None),
    "a negative status": (-1, {}, None),
    "408": (408, {}, None),
    "503 without a body": (503, {}, None),
    "nothing at all": (None, None, None),
    "no status, an empty body": (None, {}, None),
    "no status, an empty text": (None, "", None),
    "expired": (None, None, {"code": "batch_expired", "message": "late"}),
    "request expired": (0, {}, {"code": "request_expired", "message": "late"}),
    "in other letters": (None, None, {"code": "BatchExpired", "message": "late"}),
    "timed out": (None, None, {"code": "request_timeout", "message": "late"}),
    "unavailable": (None, None, {"code": "ServiceUnavailable", "message": "down"}),
    "deadline": (None, None, {"code": "deadline_exceeded"}),
}


class Losing(Script):
    def __init__(self, status: int | None, body: Any, error: Any) -> None:
        self.reply = status, body, error

    def line(self, number: int, place: int, request: Line) -> Line | None:
        if number == 1 and place <= 2:
            return failed(request, *self.reply)
        return super().line(number, place, request)

    def counts(self, total: int, out: int, err: int) -> dict[str, int]:
        return {"total": total, "completed": total, "failed": 0}


@pytest.mark.parametrize("reply", LOST.values(), ids=LOST)
def test_a_lost_request_is_asked_again(
    reply: tuple[int | None, Any, Any], run: Any, notes: Path, rows: Any
) -> None:
    with serving(Losing(*reply)) as server:
        run("run", notes, "notes", "-m", "gpt-4o-mini", "--prompt", "{{ text }}",
            "--base-url", server.base_url, "-y", "--poll", "0.05")  # fmt: skip
        assert server.created == [12, 2]
    assert rows(notes, "SELECT count(answer) FROM notes") == [(12,)]
    assert rows(notes, "SELECT status, count(*) FROM openai_batch_requests GROUP BY 1") == [
        ("ok", 12)
    ]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("http_error", "400 invalid_request_error"),
        ("http_error", "404 model_not_found"),
        ("http_error", "0 insufficient_quota"),
        ("api_error", "invalid_request"),
        ("api_error", "content_policy_violation"),
        ("api_error", None),
    ],
)
def test_what_would_fail_again_is_not(status: str, code: str | None) -> None:
    assert not is_providers_fault(status, code)


def test_a_request_that_is_always_lost_ends(run: Any, notes: Path, rows: Any) -> None:
    class Always(Losing):
        def line(self, number: int, place: int, request: Line) -> Line | None:
            return failed(request, *self.reply)

    with serving(Always(0, {}, None)) as server:
        run("run", notes, "notes", "-m", "gpt-4o-mini", "--prompt", "{{ text }}",
            "--base-url", server.base_url, "-y", "--poll", "0.05", code=3)  # fmt: skip
        assert server.created == [12, 12, 12], "three attempts, as after any other fault"
