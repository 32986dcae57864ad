"""Every reply has the structure that OpenAI publishes, and fits the client's own types.

`published.json` is that structure. The live service differs from it in one thing, which the
server follows: members that don't apply (times not reached, ids of files that don't exist) are
sent as null, although the description doesn't say that they may be.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from openai.types import Batch, CreateEmbeddingResponse, FileObject
from openai.types.chat import ChatCompletion
from openai.types.responses import Response
from pydantic import TypeAdapter

from sqlite_utils_openai_batch.local import ServerLimits

from .bench import CHAT, EMBEDDINGS, RESPONSES, Bench, Serve, chat, request_lines

PUBLISHED = json.loads((Path(__file__).parent / "published.json").read_text())
NULL_IN_FILES = {"expires_at", "status_details"}
NULL_IN_BATCHES = {
    "model", "errors", "output_file_id", "error_file_id", "in_progress_at", "finalizing_at",
    "completed_at", "failed_at", "expired_at", "cancelling_at", "cancelled_at", "metadata",
}  # fmt: skip


def check(value: Any, name: str) -> None:
    schema = {"$ref": f"#/$defs/{name}", "$defs": PUBLISHED["$defs"]}
    jsonschema_rs.validator_for(schema).validate(value)


def without_nulls(value: dict[str, Any], allowed: set[str]) -> dict[str, Any]:
    assert {name for name, inner in value.items() if inner is None} <= allowed
    return {name: inner for name, inner in value.items() if inner is not None}


def strictly(kind: type[Any], value: Any) -> None:
    """The client builds its objects from anything; validating is stricter."""
    TypeAdapter(kind).validate_python(value)


def check_batch(value: dict[str, Any]) -> None:
    check(without_nulls(value, NULL_IN_BATCHES), "Batch")
    strictly(Batch, value)


def check_file(value: dict[str, Any]) -> None:
    check(without_nulls(value, NULL_IN_FILES), "OpenAIFile")
    strictly(FileObject, value)


def test_files(bench: Bench) -> None:
    files = {"file": ("a.jsonl", request_lines([chat()]).encode())}
    file = bench.raw("POST", "/files", files=files, data={"purpose": "batch"}).json()
    check_file(file)
    check_file(bench.raw("GET", f"/files/{file['id']}").json())
    listed = bench.raw("GET", "/files").json()
    check({**listed, "data": [without_nulls(f, NULL_IN_FILES) for f in listed["data"]]},
          "ListFilesResponse")  # fmt: skip
    deleted = bench.raw("DELETE", f"/files/{file['id']}").json()
    check(deleted, "DeleteFileResponse")


ENDS = {
    "completed": ([], request_lines([chat()])),
    "failed": ([], "{}\n"),
    "expired": (["expire:1"], request_lines([chat()] * 3)),
    "cancelled": (["stuck"], request_lines([chat()] * 3)),
}


@pytest.mark.parametrize("end", ENDS)
def test_batches(serve_with: Serve, end: str) -> None:
    faults, content = ENDS[end]
    bench = serve_with(faults=faults)
    body = {
        "input_file_id": bench.upload(content).id,
        "endpoint": CHAT,
        "completion_window": "24h",
        "metadata": {"token": "x"},
    }
    check(body, "CreateBatchRequest")
    created = bench.raw("POST", "/batches", json=body).json()
    check_batch(created)
    path = f"/batches/{created['id']}"
    check_batch(bench.raw("GET", path).json())
    if end == "cancelled":
        check_batch(bench.raw("POST", path + "/cancel").json())
    assert bench.server.wait_for(created["id"]) == end
    ended = bench.raw("GET", path).json()
    check_batch(ended)
    assert ended[f"{end}_at"] >= ended["created_at"]
    listed = bench.raw("GET", "/batches").json()
    check({**listed, "data": [without_nulls(b, NULL_IN_BATCHES) for b in listed["data"]]},
          "ListBatchesResponse")  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/files/file-x", 404),
        ("GET", "/batches/batch_x", 404),
        ("POST", "/batches", 400),
        ("POST", "/files", 400),
        ("GET", "/nothing", 404),
        ("PUT", "/files", 405),
        ("GET", "/models/none", 404),
    ],
)
def test_errors(bench: Bench, method: str, path: str, status: int) -> None:
    reply = bench.raw(method, path)
    assert reply.status_code == status
    check(reply.json(), "ErrorResponse")


def test_every_validation_error(serve_with: Serve) -> None:
    bench = serve_with(limits=ServerLimits(requests=1, enqueued_tokens=1))
    for content in ("{}\n", "{}\n{\n", request_lines([chat()]), request_lines([chat()] * 2)):
        created = bench.create(content)
        assert bench.server.wait_for(created.id) == "failed"
        batch = bench.raw("GET", f"/batches/{created.id}").json()
        for error in batch["errors"]["data"]:
            check(without_nulls(error, {"line", "param"}), "BatchError")


SCHEMA = {
    "type": "object",
    "properties": {"mood": {"enum": ["good", "bad"]}},
    "required": ["mood"],
    "additionalProperties": False,
}
FORMAT = {"name": "answer", "strict": True, "schema": SCHEMA}


@pytest.mark.parametrize(
    ("endpoint", "body", "name", "kind"),
    [
        (CHAT, chat(), "CreateChatCompletionResponse", ChatCompletion),
        (CHAT, chat(n=3), "CreateChatCompletionResponse", ChatCompletion),
        (CHAT, chat(max_tokens=1), "CreateChatCompletionResponse", ChatCompletion),
        (CHAT, chat(response_format={"type": "json_schema", "json_schema": FORMAT}),
         "CreateChatCompletionResponse", ChatCompletion),
        (CHAT, chat(tools=[{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}],
                    tool_choice="required"), "CreateChatCompletionResponse", ChatCompletion),
        (RESPONSES, {"model": "m", "input": "hi", "instructions": "Be kind."},
         "Response", Response),
        (RESPONSES, {"model": "m", "input": [{"role": "user", "content": "hi"}],
                     "text": {"format": {"type": "json_schema", **FORMAT}}}, "Response", Response),
        (RESPONSES, {"model": "m", "input": "hi", "max_output_tokens": 16}, "Response", Response),
        (EMBEDDINGS, {"model": "m", "input": ["a", "b"], "dimensions": 8},
         "CreateEmbeddingResponse", CreateEmbeddingResponse),
        ("/v1/completions", {"model": "m", "prompt": "hi"}, "CreateCompletionResponse", None),
        ("/v1/moderations", {"input": ["a", "b"]}, "CreateModerationResponse", None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("fault", ["", "refuse:1", "cut:1", "filter:1", "reasoning-first"])
def test_answers(
    serve_with: Serve, endpoint: str, body: dict[str, Any], name: str, kind: Any, fault: str
) -> None:
    bench = serve_with(faults=[fault] if fault else [])
    batch = bench.run(request_lines([body], endpoint), endpoint)
    line = bench.lines(batch.output_file_id)["r-1"]
    assert set(line) == {"id", "custom_id", "response", "error"}
    assert set(line["response"]) == {"status_code", "request_id", "body"}
    assert line["id"].startswith("batch_req_")
    answer = line["response"]["body"]
    check(answer, name)
    if kind is not None:
        strictly(kind, answer)
    directly = bench.raw("POST", endpoint.removeprefix("/v1"), json=body).json()
    check(directly, name)
