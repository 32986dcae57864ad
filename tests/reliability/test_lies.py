"""Each fault of the provider: final outcomes, and how many requests were paid for."""

from __future__ import annotations

from pathlib import Path

import pytest

from sqlite_utils_openai_batch.local import LocalServer, SimulatedAnswerer

from .conftest import KEY, Zygote, answers, asking, client_of, make_table, outcome_sums
from .faults import CASES, Case

OPTIONS = {"grace": 0, "late": 3600.0}


def requests_run(server: LocalServer) -> int:
    """Requests that the provider ran, over all batches: what would be paid for.

    An expired batch ran only what it answered.
    """
    server.faults.clear()
    with client_of(server, KEY) as client:
        ran = 0
        for batch in client.batches.list(limit=100).data:
            if batch.status != "failed" and batch.request_counts:
                ran += batch.request_counts.total
        return ran


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.fault)
def test_fault(zygote: Zygote, tmp_path: Path, case: Case) -> None:
    with LocalServer(answerer=SimulatedAnswerer(echo=True), faults=[case.fault]) as server:
        db = make_table(tmp_path / "notes.db")
        done = zygote.run(*asking(db, server), **OPTIONS)
        assert done["code"] == case.code, done["output"]
        assert outcome_sums(db) == case.outcomes
        for number, answer in answers(db).items():
            assert answer is None or f"note number {number};" in answer
        filled = sum(answer is not None for answer in answers(db).values())
        assert filled == case.outcomes.get("ok", 0)
        assert requests_run(server) == case.ran, done["output"]


@pytest.mark.parametrize(
    ("fault", "options", "outcomes", "code"),
    [
        ("not-json:2", ("--schema", "note"), {"ok": 5, "invalid_json": 5}, 3),
        ("wrong-shape:2", ("--schema", "note"), {"ok": 5, "schema_violation": 5}, 3),
        ("reasoning-first", ("--endpoint", "/v1/responses"), {"ok": 10}, 0),
    ],
)
def test_fault_in_answers_of_a_shape(
    zygote: Zygote,
    tmp_path: Path,
    fault: str,
    options: tuple[str, ...],
    outcomes: dict[str, int],
    code: int,
) -> None:
    with LocalServer(answerer=SimulatedAnswerer(echo=True), faults=[fault]) as server:
        db = make_table(tmp_path / "notes.db")
        done = zygote.run(*asking(db, server), *options, **OPTIONS)
        assert done["code"] == code, done["output"]
        assert outcome_sums(db) == outcomes
        assert requests_run(server) == 10, done["output"]
