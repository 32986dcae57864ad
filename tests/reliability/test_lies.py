"""Each fault of the provider: final outcomes, and how many requests were paid for."""

from __future__ import annotations

from pathlib import Path

import openai
import pytest

from sqlite_utils_openai_batch.local import LocalServer, SimulatedAnswerer

from .conftest import KEY, Zygote, answers, asking, make_table, outcome_sums
from .faults import CASES, Case

OPTIONS = {"grace": 0, "late": 3600.0}


def requests_run(server: LocalServer) -> int:
    """Requests that the provider ran, over all batches: what would be paid for.

    An expired batch ran only what it answered.
    """
    server.faults.clear()
    with openai.OpenAI(base_url=server.base_url, api_key=KEY) as client:
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
