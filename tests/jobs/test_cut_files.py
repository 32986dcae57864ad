"""Result files that come short: compared with their size and the counts, never bought again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scripted import Batches, Line, Script, failed, serving

from sqlite_utils_openai_batch.base import waits

ASK = ("-m", "gpt-4o-mini", "--prompt", "{{ text }}")


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "RETRY_SECONDS", 0.0)


def send(run: Any, server: Batches, notes: Path, *more: str, code: int = 0) -> Any:
    return run("run", notes, "notes", *ASK, "--base-url", server.base_url, "-y", "--poll", "0.05",
               *more, code=code)  # fmt: skip


class Short(Script):
    """Sends only some of a result file, so many times; its headers say that this is all."""

    def __init__(self, keep: str, times: int = 1, told: str = "size") -> None:
        self.keep, self.times, self.told = keep, times, told

    def download(self, number: int, data: bytes) -> bytes:
        if number > self.times:
            return data
        lines = data.splitlines(keepends=True)
        return {
            "mid-line": data[: len(data) // 2 + 37],
            "line end": b"".join(lines[:7]),
            "last byte but one": data[:-2],
            "first line": lines[0],
            "nothing": b"",
        }[self.keep]

    def size(self, data: bytes) -> int | None:
        return len(data) if self.told == "size" else None


KEEP = ["mid-line", "line end", "last byte but one", "first line", "nothing"]


@pytest.mark.parametrize("told", ["size", "counts"])
@pytest.mark.parametrize("keep", KEEP)
def test_a_file_that_comes_short_is_downloaded_again(
    keep: str, told: str, run: Any, notes: Path, rows: Any
) -> None:
    """The rest of its rows was asked again at once, and paid for twice."""
    with serving(Short(keep, told=told)) as server:
        send(run, server, notes)
        assert server.created == [12]
        assert server.downloads == 2
    assert rows(notes, "SELECT count(answer) FROM notes") == [(12,)]
    if keep != "nothing":
        shown = run("show", notes).out
        assert "came at first, so it was downloaded again" in shown, shown


@pytest.mark.parametrize("keep", ["mid-line", "line end"])
def test_a_file_that_stays_short_is_waited_for(
    keep: str, run: Any, notes: Path, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(Short(keep, times=1_000)) as server:
        send(run, server, notes, "--no-wait")
        for _ in range(3):
            said = run("sync", notes).err
        assert "Nothing is lost" in said
        assert "Next try" in said
        assert "bytes came, and nothing is bought again, next try" in run("show", notes).out
        monkeypatch.setattr(waits, "RETRY_SECONDS", 300.0)
        run("sync", notes)
        asked = server.downloads
        run("sync", notes)
        assert server.downloads == asked, "not at once, once it has come short again and again"
        assert server.created == [12]
    assert rows(notes, "SELECT status FROM openai_batch_jobs") == [("running",)]
    assert rows(notes, "SELECT DISTINCT status FROM openai_batch_requests") == [("pending",)]


def test_what_a_whole_file_leaves_out_is_asked_again(run: Any, notes: Path, rows: Any) -> None:
    class Lacking(Script):
        def line(self, number: int, place: int, request: Line) -> Line | None:
            return None if (number, place) == (1, 5) else super().line(number, place, request)

        def counts(self, total: int, out: int, err: int) -> dict[str, int]:
            return {"total": total, "completed": total, "failed": 0}

    with serving(Lacking()) as server:
        send(run, server, notes)
        assert server.created == [12, 1]
    assert rows(notes, "SELECT count(answer) FROM notes") == [(12,)]


def test_a_size_that_is_too_large_by_mistake(run: Any, notes: Path, rows: Any) -> None:
    """Where all that was counted is there, the size is what is wrong."""

    class Boasting(Script):
        def size(self, data: bytes) -> int | None:
            return len(data) + 100

    with serving(Boasting()) as server:
        send(run, server, notes)
        assert server.created == [12]
    assert rows(notes, "SELECT count(answer) FROM notes") == [(12,)]


def test_an_error_file_that_comes_short(run: Any, notes: Path, rows: Any) -> None:
    class Failing(Short):
        def line(self, number: int, place: int, request: Line) -> Line | None:
            return failed(request, 400, {"error": {"message": f"No {place}."}})

    with serving(Failing("line end")) as server:
        send(run, server, notes, code=3)
        assert server.created == [12]
    found = rows(notes, "SELECT DISTINCT status, error_message LIKE 'No %' "
                        "FROM openai_batch_requests")  # fmt: skip
    assert found == [("http_error", 1)]


def test_a_job_that_is_cancelled_takes_what_came(
    run: Any, notes: Path, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(Short("line end", times=1_000)) as server:
        send(run, server, notes, "--no-wait")
        run("sync", notes)
        monkeypatch.setattr(waits, "LATE_FILES_SECONDS", 0.0)
        run("cancel", notes, "1", code=3)
    assert rows(notes, "SELECT count(answer) FROM notes") == [(7,)]
