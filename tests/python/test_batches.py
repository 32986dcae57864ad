"""The commands as functions: what programs and notebooks call."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import pydantic
import pytest
import sqlite_utils

import sqlite_utils_openai_batch as face
from sqlite_utils_openai_batch import (
    Batches,
    CeilingError,
    ConfigurationError,
    DatabaseError,
    JobError,
    NeedsAttention,
    NothingToAsk,
    OpenAIBatchError,
    SchemaError,
    SourceError,
    TemplateError,
    Unreachable,
    UsageError,
)
from sqlite_utils_openai_batch.local import LocalServer

PROMPT = "Say: {{ text }}"
LABEL = "mood good|bad"


@pytest.fixture
def batches(notes: Path, tmp_path: Path, server: LocalServer) -> Batches:
    return Batches(tmp_path / notes, base_url=server.base_url, key=server.key)


@pytest.fixture
def simulated(notes: Path, tmp_path: Path) -> Any:
    """The same at a server whose answers fit the schema."""
    with LocalServer() as running:
        yield Batches(tmp_path / notes, base_url=running.base_url, key=running.key)


def posts(server: LocalServer) -> int:
    return sum(1 for entry in server.journal() if entry["method"] == "POST")


def test_run_writes_beside_the_rows(batches: Batches, tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []
    job = batches.run(
        "notes", prompt=PROMPT, max_cost=2.5, name="nightly", poll=0.05,
        progress=lambda job: heard.append((job.done, job.requests)),
    )  # fmt: skip
    assert (job.status, job.outcomes, job.requests) == ("completed", {"ok": 12}, 12)
    assert heard[-1] == (12, 12)
    rows = list(job.results())
    assert [row["id"] for row in rows] == list(range(1, 13))
    assert all(f"note {row['id']}" in row["answer"] and row["status"] == "ok" for row in rows)
    with closing(sqlite3.connect(batches.path)) as conn:
        assert conn.execute("SELECT count(*) FROM notes WHERE answer LIKE '%note%'").fetchone() == (
            12,
        )
    assert batches.job("nightly").id == batches.job(job.id).id == batches.job().id == job.id
    assert [one.id for one in batches.jobs()] == [job.id]


@pytest.mark.parametrize("name", ["run", "try_"])
def test_nothing_is_sent_unless_somebody_says_so(
    batches: Batches, server: LocalServer, unchanged: Any, notes: Path, name: str
) -> None:
    check, before = unchanged(notes), posts(server)
    for given in ({}, {"approve": False}, {"approve": 1}, {"max_cost": None}):
        with pytest.raises(UsageError, match="nothing was sent"):
            getattr(batches, name)("notes", prompt=PROMPT, **given)
    assert posts(server) == before
    check()


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"promt": "x"}, UsageError, "There is no option 'promt'. Did you mean prompt?"),
        ({"prompt": "{{ texte }}"}, TemplateError, "No column 'texte' in notes"),
        ({"prompt": PROMPT, "where": "id > 99"}, NothingToAsk, "No rows of notes match"),
        ({"prompt": PROMPT, "schema": 3}, SchemaError, "a Pydantic model, a dataclass or a Typed"),
        ({"prompt": PROMPT, "schema": int}, SchemaError, "a Pydantic model"),
        ({"prompt": PROMPT, "limit": "many"}, UsageError, "not a whole number"),
        ({"prompt": PROMPT, "max_cost": 0}, UsageError, "nothing could be sent for that"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_sent(
    batches: Batches, server: LocalServer, unchanged: Any, notes: Path, given: Any, error: Any,
    said: str,
) -> None:  # fmt: skip
    check, before = unchanged(notes), posts(server)
    with pytest.raises(error, match=said):
        batches.run("notes", **{"max_cost": 1, **given})
    assert posts(server) == before
    check()


def test_other_errors(batches: Batches, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such table: 'note'"):
        batches.run("note", prompt=PROMPT, approve=True)
    with pytest.raises(JobError, match="No jobs in"):
        batches.job()
    with pytest.raises(DatabaseError, match="No such database"):
        Batches(tmp_path / "none.db")
    for nothing in (None, 5, ["a.db"]):
        with pytest.raises(DatabaseError, match="Give the path of its file"):
            Batches(nothing)  # type: ignore[arg-type]
    (tmp_path / "text.db").write_text("no database at all, this is a text\n" * 50)
    with pytest.raises(DatabaseError):
        Batches(tmp_path / "text.db")
    with pytest.raises(Unreachable):
        Batches(batches.path, base_url="http://127.0.0.1:9/v1", key="any").run(
            "notes", prompt=PROMPT, approve=True
        )
    assert batches.jobs() == []


def test_a_ceiling_that_cannot_hold(notes: Path, tmp_path: Path, server: LocalServer) -> None:
    batches = Batches(tmp_path / notes, base_url=server.base_url, key=server.key)
    with pytest.raises(CeilingError) as caught:
        batches.run("notes", prompt=PROMPT, max_cost=0.001, price_input="100", price_output="100")
    assert caught.value.exit_code == 2


def test_a_database_of_sqlite_utils(simulated: Batches) -> None:
    with closing(sqlite_utils.Database(simulated.path).conn) as conn:
        db = sqlite_utils.Database(conn)
        batches = Batches(db, base_url=simulated.base_url, key="any")
        assert batches.run("notes", prompt=PROMPT, approve=True, poll=0.05).status == "completed"
        assert db["notes"].get(1)["answer"]
        conn.execute("BEGIN")
        conn.execute("UPDATE notes SET mark = 9")
        with pytest.raises(DatabaseError, match="not committed"):
            Batches(db)
        conn.rollback()
    with (
        closing(sqlite3.connect(":memory:")) as memory,
        pytest.raises(DatabaseError, match="in memory only"),
    ):
        Batches(sqlite_utils.Database(memory))


class Model(pydantic.BaseModel):
    mood: Literal["good", "bad"] = "good"
    score: Annotated[float, pydantic.Field(ge=0, le=1)]
    why: str | None = None


@dataclasses.dataclass
class Data:
    mood: Literal["good", "bad"]
    score: Annotated[float, msgspec.Meta(ge=0, le=1)]
    why: str | None = None
    tags: list[str] = dataclasses.field(default_factory=list)


class Typed(TypedDict):
    mood: Literal["good", "bad"]
    score: float


class Node(pydantic.BaseModel):
    name: str
    inside: list[Node] = []


@pytest.mark.parametrize(
    ("schema", "columns"),
    [
        (Model, {"mood": "TEXT", "score": "REAL", "why": "TEXT"}),
        (Data, {"mood": "TEXT", "score": "REAL", "why": "TEXT", "tags": "TEXT"}),
        (Typed, {"mood": "TEXT", "score": "REAL"}),
        (Node, {"name": "TEXT", "inside": "TEXT"}),
        ("mood good|bad, score 0..1", {"mood": "TEXT", "score": "REAL"}),
        (
            {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]},
            {"age": "INTEGER"},
        ),
    ],
)
def test_schemas(simulated: Batches, schema: Any, columns: dict[str, str]) -> None:
    look = simulated.preview("notes", prompt=PROMPT, schema=schema)
    assert look.columns == columns
    asked = look.requests[0]["response_format"]["json_schema"]
    assert asked["strict"] and asked["schema"]["required"] == list(columns)
    job = simulated.run("notes", prompt=PROMPT, schema=schema, approve=True, poll=0.05)
    assert job.outcomes == {"ok": 12}


def test_a_default_of_a_class_is_no_answer(simulated: Batches) -> None:
    for schema in (Model, Data):
        asked = simulated.preview("notes", prompt=PROMPT, schema=schema).requests[0]
        properties = asked["response_format"]["json_schema"]["schema"]["properties"]
        assert sorted(properties["mood"]["enum"]) == ["bad", "good"]
        assert "null" in json.dumps(properties["why"])
        assert "null" not in json.dumps(properties.get("tags", ""))


def test_a_schema_in_a_file_and_a_prompt_that_looks_like_one(
    simulated: Batches, tmp_path: Path
) -> None:
    (tmp_path / "prompt.txt").write_text("From a file: {{ text }}\n")
    (tmp_path / "schema.json").write_text(
        '{"type": "object", "properties": {"n": {"type": "integer"}}}'
    )
    look = simulated.preview(
        "notes",
        prompt=tmp_path / "prompt.txt",
        schema=tmp_path / "schema.json",
        system="be/kind.txt",
    )
    assert [message["content"] for message in look.requests[0]["messages"]] == [
        "be/kind.txt", "From a file: note 1",
    ]  # fmt: skip
    assert look.columns == {"n": "INTEGER"}


def test_preview_and_try_write_nothing(simulated: Batches, unchanged: Any, notes: Path) -> None:
    check = unchanged(notes)
    look = simulated.preview("notes", prompt=PROMPT, schema=LABEL, n=2, limit=5)
    assert (look.rows, look.to_ask, len(look.requests), look.cost) == (5, 5, 2, None)
    assert "Nothing was sent." in str(look)
    tried = simulated.try_("notes", prompt=PROMPT, schema=LABEL, n=3, max_cost=1)
    assert len(tried) == 3 and list(tried[0]) == ["id", "mood", "status", "error"]
    assert all(row["mood"] in ("good", "bad") and row["status"] == "ok" for row in tried)
    check()


def test_preview_needs_no_key(notes: Path, tmp_path: Path) -> None:
    look = Batches(tmp_path / notes).preview("notes", prompt=PROMPT, options={"max_tokens": 20})
    assert look.host == "api.openai.com" and look.at_most is not None
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY"):
        Batches(tmp_path / notes).run("notes", prompt=PROMPT, max_cost=1)


def test_come_back_at_once_and_wait_later(simulated: Batches) -> None:
    job = simulated.run("notes", prompt=PROMPT, approve=True, wait=False)
    assert job.status in ("running", "completed")
    same = Batches(simulated.path, key="any").job()
    assert same.wait(poll=0.05) is same
    assert (same.status, same.wait().status) == ("completed", "completed")


def test_prepare_and_submit(simulated: Batches) -> None:
    job = simulated.prepare("notes", prompt=PROMPT)
    with pytest.raises(JobError, match="not approved yet"):
        job.wait()
    with pytest.raises(UsageError, match="nobody said that it may"):
        simulated.submit(job)
    assert job.status == "prepared"
    assert simulated.submit(job, approve=True).wait(poll=0.05).status == "completed"


def test_failed_rows_are_asked_again(batches: Batches) -> None:
    with closing(sqlite3.connect(batches.path)) as conn, conn:
        conn.execute("UPDATE notes SET text = '[cut] ' || text WHERE id IN (3, 7)")
    job = batches.run("notes", prompt=PROMPT, approve=True, poll=0.05)
    assert job.outcomes == {"ok": 10, "truncated": 2}
    assert [row["id"] for row in job.results(status="failed")] == [3, 7]
    assert job.results(status=["truncated"], columns=["id", "error"]).columns == ["id", "error"]
    with pytest.raises(UsageError):
        batches.retry(job, status="ok", approve=True)
    with pytest.raises(UsageError, match="No outcome is called"):
        job.results(status="cut")
    again = batches.retry(job, status="truncated", set={"max_tokens": 99}, approve=True, poll=0.05)
    assert again.id == job.id and again.outcomes == {"ok": 10, "truncated": 2}


def test_apply_revert_and_compare(simulated: Batches) -> None:
    first = simulated.run("notes", prompt=PROMPT, schema=LABEL, approve=True, poll=0.05, name="a")
    second = simulated.run(
        "notes", prompt=PROMPT, schema=LABEL, prefix="b_", approve=True, poll=0.05, name="b"
    )
    [found] = simulated.compare("a", "b")
    assert (found["column"], found["compared"]) == ("mood", 12)
    assert simulated.compare(first, gold={"mood": "text"})[0]["agreement"] == 0
    with pytest.raises(UsageError, match="Compare with what"):
        simulated.compare(first, second, gold="text")
    assert simulated.revert(second).restored == 12
    assert simulated.apply(second.id, prefix="c_").written == 12
    with closing(sqlite3.connect(simulated.path)) as conn:
        columns = {row[1] for row in conn.execute("PRAGMA table_info(notes)")}
    assert {"mood", "c_mood"} <= columns and "b_mood" not in columns


def test_cancel_and_pause(held: Any, notes: Path, tmp_path: Path) -> None:
    running, answerer = held
    batches = Batches(tmp_path / notes, base_url=running.base_url, key=running.key)
    job = batches.run("notes", prompt=PROMPT, approve=True, wait=False)
    assert batches.pause(job).status == "paused"
    assert batches.submit(job, approve=True).status == "running"
    batches.cancel(job)
    answerer.release()
    assert job.wait(poll=0.05).status == "cancelled"
    with pytest.raises(JobError, match="nothing to cancel"):
        batches.cancel(job)


def test_a_job_that_needs_a_person(notes: Path, tmp_path: Path, web: Any, reply: Any) -> None:
    web.reply("GET /batches", reply(200, {"object": "list", "data": [], "has_more": False}))
    error = {"message": "You exceeded your current quota.", "code": "insufficient_quota"}
    web.reply("POST /files", reply(429, {"error": error}))
    batches = Batches(tmp_path / notes, base_url=web.base_url, key="any")
    with pytest.raises(NeedsAttention, match=r"Job 1 is paused: .* is out of credit"):
        batches.run("notes", prompt=PROMPT, approve=True, poll=0.05)
    job = batches.job()
    assert (job.status, job.outcomes) == ("paused", {"pending": 12})
    with pytest.raises(NeedsAttention, match="is out of credit"):
        batches.submit(job, approve=True)
    assert job.message and "out of credit" in job.message


def test_like_an_earlier_job(simulated: Batches) -> None:
    simulated.run("notes", prompt=PROMPT, approve=True, poll=0.05, name="nightly")
    with closing(sqlite3.connect(simulated.path)) as conn, conn:
        conn.execute("UPDATE notes SET text = 'changed' WHERE id = 2")
    job = simulated.run(like="nightly", changed=True, approve=True, poll=0.05)
    assert (job.name, job.requests) == ("nightly", 1)


def test_sync(simulated: Batches) -> None:
    job = simulated.run("notes", prompt=PROMPT, approve=True, wait=False)
    for _ in range(200):
        if not simulated.sync():
            break
    assert job.status == "completed"


def test_data_frames(simulated: Batches) -> None:
    pandas = pytest.importorskip("pandas")
    polars = pytest.importorskip("polars")
    with closing(sqlite3.connect(simulated.path)) as conn, conn:
        conn.execute("UPDATE notes SET mark = NULL WHERE id = 2")
    job = simulated.run("notes", prompt=PROMPT, schema="mood good|bad", approve=True, poll=0.05)
    frame = job.results().to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns) == ["id", "text", "mark", "mood", "status", "error"]
    assert str(frame["mark"].dtype) == "Int64" and frame["mark"].isna().sum() == 1
    other = job.results(columns=["id", "mark"]).to_polars()
    assert isinstance(other, polars.DataFrame) and other.shape == (12, 2)
    assert other["mark"].null_count() == 1


@pytest.mark.parametrize("name", ["pandas", "polars"])
def test_a_data_frame_that_cannot_be_made(
    simulated: Batches, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    job = simulated.run("notes", prompt=PROMPT, approve=True, poll=0.05, limit=1)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigurationError, match=f"pip install {name}"):
        getattr(job.results(), f"to_{name}")()


def test_a_bar() -> None:
    from sqlite_utils_openai_batch.python.progress import bar

    assert bar(3, 12, "a <b>", "running") == (
        '<progress max="12" value="3"></progress> a &lt;b&gt;: 3 of 12 answered, running'
    )


@pytest.mark.parametrize("name", face.__all__)
def test_the_face_has_what_it_names(name: str) -> None:
    found = getattr(face, name)
    assert name.endswith("Error") is False or issubclass(found, OpenAIBatchError)


def test_the_face_is_lazy() -> None:
    script = (
        "import sys, sqlite_utils_openai_batch as face; "
        "assert not {'openai', 'msgspec', 'sqlite_utils', 'jinja2'} & {*sys.modules}; "
        "from sqlite_utils_openai_batch import Batches; "
        "assert not {m for m in sys.modules if m.startswith('sqlite_utils_openai_batch.cli')}; "
        "assert not {'openai', 'starlette', 'datasette'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_an_editor_offers_the_names() -> None:
    import sqlite_utils_openai_batch as package

    assert set(package.__all__) <= set(dir(package))
