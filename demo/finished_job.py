"""The finished job of `demo.db`: which city and country is a film about?

The small model of the local batch server answered once (`record_job.py`), and what it said is
kept in `finished_job.jsonl`. The product makes the job again from that with each build: it plans
it, sends it as a batch to a server on this machine, collects the answers and writes them. Nothing
in it was corrected: where the model is wrong, the job is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.jobs.plan.ask import Ask
from sqlite_utils_openai_batch.jobs.plan.conflicts import check_free
from sqlite_utils_openai_batch.jobs.plan.plan import settle
from sqlite_utils_openai_batch.jobs.plan.prepare import prepare
from sqlite_utils_openai_batch.jobs.sync.engine import approve
from sqlite_utils_openai_batch.jobs.sync.watch import watch
from sqlite_utils_openai_batch.local import Answer, Answerer, LocalServer
from sqlite_utils_openai_batch.provider.client import Provider
from sqlite_utils_openai_batch.store.connection import connect

RECORDED = Path(__file__).resolve().parent / "finished_job.jsonl"

NAME = "demo-model"
MODEL = "SmolLM2-135M-Instruct"
# Films whose overview names a city; a model this small guesses where it finds none.
FILMS = (12, 17, 21, 32, 40, 47, 48, 63, 66, 69, 70, 80, 89, 93, 95)
ASK = Ask(
    table="movies",
    where=f"id in ({', '.join(map(str, FILMS))})",
    model=MODEL,
    prompt="{{ overview }}",
    options={"temperature": 0},
    schema="city, country Japan|Iran|India|Italy|France|Spain|Germany|Mexico|Brazil|South Africa",
    name=NAME,
    provider="local",
)
# The same as the command line keeps it, for the page that shows how to ask this again.
RECIPE = {
    "table": ASK.table,
    "where": ASK.where,
    "prompt": ASK.prompt,
    "options": [["temperature", "0"]],
    "schema": ASK.schema,
    "name": NAME,
    "local": True,
}


class RecordedAnswers:
    """Answers a request with what the model said to exactly this request."""

    label = "recorded answers of the small model"
    concurrency = 1

    def __init__(self, file: Path = RECORDED) -> None:
        lines = map(json.loads, file.read_text(encoding="utf-8").splitlines())
        self._answers = {as_key(line["request"]): line["response"] for line in lines}

    async def answer(self, url: str, body: Mapping[str, Any], custom_id: str) -> Answer:
        """Answer one request; LookupError where it was never put to the model."""
        found = self._answers.get(as_key(body))
        if found is None:
            raise LookupError("No recorded answer to this request: run demo/record_job.py again.")
        return Answer(200, found)

    async def models(self) -> list[str]:
        """The one that was asked."""
        return [MODEL]

    async def allowed_models(self) -> list[str] | None:
        """Any."""
        return None

    async def close(self) -> None:
        """Nothing is held."""


def as_key(body: Mapping[str, Any]) -> str:
    """A request's body as text that is the same for equal bodies."""
    return json.dumps(body, sort_keys=True, ensure_ascii=False)


def make_job(path: Path, answerer: Answerer) -> None:
    """Have the product run the job over the database at `path`, from the plan to the columns.

    Raises RuntimeError where not every film was answered.
    """
    with (
        closing(connect(path)) as conn,
        LocalServer(answerer=answerer) as server,
        closing(Provider(server.base_url, server.key)) as provider,
    ):
        plan = settle(conn, ASK)
        with closing(plan):
            check_free(conn, plan, path.name)
            job, _ = prepare(
                conn, plan, uid=store.new_uid(), provider="local", base_url=None,
                account="local", settings={"recipe": RECIPE},
            )  # fmt: skip
        watch(conn, [approve(conn, job).id], lambda _: provider, poll=0.1)
        job = store.get_job(conn, job.id)
        counts = store.outcome_counts(store.list_parts(conn, job.id))
        if job.status != "completed" or counts != {"ok": len(FILMS)}:
            raise RuntimeError(f"The finished job ended {job.status}, with {counts or 'nothing'}.")
        # As one file without a log beside it, and no room that steps before have left.
        conn.execute("PRAGMA journal_mode = DELETE")
        conn.execute("VACUUM")
