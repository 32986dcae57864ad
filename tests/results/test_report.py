"""`report`: a job as Markdown for a methods section."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from finished import answered, chat_line, custom_id, error_line, request_ids, sent, take

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.base.text import code, fenced, plain
from sqlite_utils_openai_batch.results.report import report
from sqlite_utils_openai_batch.store.connection import connect


@pytest.fixture
def conn(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "data.db")) as made:
        made.executescript(
            "CREATE TABLE films (id INTEGER PRIMARY KEY, text TEXT);"
            "INSERT INTO films VALUES (1, 'a'), (2, 'b'), (3, ' '), (4, 'd'), (5, 'e');"
        )
    with closing(connect(tmp_path / "data.db")) as opened:
        yield opened


def test_all_that_a_methods_section_needs(conn: sqlite3.Connection, tmp_path: Path) -> None:
    job = sent(
        conn,
        "films",
        name="pilot",
        system="You catalogue films.",
        prompt="Film: {{ text }}",
        schema="mood good|bad",
        options={"temperature": 0},
        where="id < 5",
    )
    ids = request_ids(conn, job)
    lines = [
        chat_line(custom_id(job, ids[1]), {"mood": "good"}),
        chat_line(custom_id(job, ids[2]), '```json\n{"mood": "bad"}\n```'),
        error_line(custom_id(job, ids[4]), message="Too | long."),
    ]
    conn.execute("UPDATE films SET text = 'changed' WHERE id = 2")
    take(conn, job, tmp_path, lines)
    conn.execute(
        "UPDATE openai_batch_jobs SET submitted_at = '2026-11-20T13:02:00.000Z', "
        "finished_at = '2026-11-20T14:41:00.000Z', cost_nanousd = 1234000000, versions = "
        '\'{"sqlite-utils-openai-batch": "0.1", "sqlite": "3.40.1"}\''
    )
    assert report(conn, store.get_job(conn, job.id)) == (
        """\
# Job 1: pilot

3 rows of `films` were each put to gpt-4o-mini (answered by gpt-4o-mini-2024-07-18) through the \
batch API of OpenAI on 20 November 2026. Answered: 2.

## Data

- Source: `films`, rows named by `id`
- Condition: `id < 5`
- Rows asked: 3
- Rows left out because their text was blank: 1
- Answers: `films.mood`
- Not written, because the row changed after it was asked about: 1

## Request

Endpoint `/v1/chat/completions`, model `gpt-4o-mini`; `{{ }}` stands for the value of a column.

System:

```
You catalogue films.
```

User:

```
Film: {{ text }}
```

Parameters: `temperature` `0`

Answers had to match this JSON schema, and were checked by it:

```json
{
  "type": "object",
  "properties": {
    "mood": {
      "type": "string",
      "enum": [
        "good",
        "bad"
      ]
    }
  },
  "required": [
    "mood"
  ],
  "additionalProperties": false
}
```

## Outcomes

| outcome | requests | share |
|---|---:|---:|
| ok | 2 | 66.7 % |
| http_error | 1 | 33.3 % |
| sum | 3 | |

| outcome | commonest message | requests |
|---|---|---:|
| http_error | Too \\| long. | 1 |

In 1 answer the JSON was taken out of a code fence.

## Cost and time

- Input tokens: 40
- Output tokens: 10
- Cost: $1.23
- Submitted 2026-11-20 13:02 UTC, finished 2026-11-20 14:41 UTC
- Batches: `batch_1`

## Software

sqlite-utils-openai-batch 0.1, sqlite 3.40.1.
"""
    )


def test_a_query_its_parameters_and_several_models(
    conn: sqlite3.Connection, tmp_path: Path
) -> None:
    job = answered(
        conn, tmp_path, None, {1: "x"}, sql="SELECT id, text FROM films WHERE id = :n",
        params={"n": "1"}, pk=["id"], options={"response_format": {"type": "json_object"}},
        system="Answer in JSON.",
    )  # fmt: skip
    text = report(conn, job)
    assert "1 row of a query is to be put to gpt-4o-mini" in text
    assert "```sql\nSELECT id, text FROM films WHERE id = :n\n```" in text
    assert 'Response format: `{"type": "json_object"}`' in text


def test_a_job_that_was_never_sent(conn: sqlite3.Connection, tmp_path: Path) -> None:
    job = sent(conn, "films")
    text = report(conn, job)
    assert "4 rows of `films` are to be put to gpt-4o-mini through the batch API of OpenAI." in text
    assert "| pending | 4 | 100.0 % |\n| sum | 4 | |" in text
    assert "- Submitted -, finished -" in text


def test_nothing_from_data_is_markup() -> None:
    assert plain("a | b\n<script>*x*") == "a \\| b &lt;script>\\*x\\*"
    assert code("a`b") == "``a`b``"
    assert code("`") == "`` ` ``"
    assert fenced("```\nx") == "````\n```\nx\n````"


def test_the_command(run: Any, notes: Path) -> None:
    run("run", notes, "notes", "--prompt", "{{ text }}", *run.there)
    said = run("report", notes)
    assert said.err == ""
    assert said.out.startswith("# Job 1\n\n12 rows of `notes` were each put to gpt-4o-mini")
    assert re.search(r"- Batches: `batch_\w+`\n", said.out)
