from __future__ import annotations

import json

import pytest

from sqlite_utils_openai_batch.local import ServerLimits

from .bench import CHAT, EMBEDDINGS, RESPONSES, Bench, Serve, chat, request_line, request_lines

GOOD = request_line("good", chat())


def body_without(name: str) -> dict[str, object]:
    return {key: value for key, value in chat().items() if key != name}


@pytest.mark.parametrize(
    ("bad", "code", "param", "message"),
    [
        ("{\n", "invalid_json_line", None, "This line is not parseable as valid JSON."),
        ("[]\n", "invalid_json_line", None, "This line is not parseable as valid JSON."),
        (json.dumps({"method": "POST", "url": CHAT, "body": chat()}) + "\n",
         "missing_required_parameter", "custom_id", "Missing required parameter: 'custom_id'."),
        (json.dumps({"custom_id": "b", "url": CHAT, "body": chat()}) + "\n",
         "missing_required_parameter", "method", "Missing required parameter: 'method'."),
        (json.dumps({"custom_id": "b", "method": "POST", "body": chat()}) + "\n",
         "missing_required_parameter", "url", "Missing required parameter: 'url'."),
        (json.dumps({"custom_id": "b", "method": "POST", "url": CHAT}) + "\n",
         "missing_required_parameter", "body", "Missing required parameter: 'body'."),
        (request_line(7, chat()),
         "invalid_type", "custom_id", "Invalid type for 'custom_id': expected a string."),
        (request_line("b", "text"),
         "invalid_type", "body", "Invalid type for 'body': expected an object."),
        (request_line("b", chat(), method="GET"),
         "invalid_value", "method", "Invalid value: 'GET'. Supported values are: 'POST'."),
        (request_line("b", body_without("model")),
         "invalid_request", "body.model", "Model parameter is required."),
        (request_line("b", body_without("messages")),
         "invalid_request", "body.messages", "Messages parameter is required."),
        (request_line("b", chat(model="gpt-4o")),
         "mismatched_model", "body.model",
         "The model 'gpt-4o' is not the model 'gpt-4o-mini' of this file's first request. All"
         " requests of a batch name the same model."),
        (request_line("b", chat(), RESPONSES),
         "invalid_url", "url",
         "The URL provided for this request does not match the batch endpoint."),
        (request_line("b", chat(stream=True)),
         "streaming_unsupported", "body.stream",
         "Chat Completions: Streaming is not supported in the Batch API."),
        (request_line("good", chat()),
         "duplicate_custom_id", "custom_id",
         "The custom_id 'good' is used by another request of this file."),
    ],
)  # fmt: skip
def test_bad_line_fails_the_batch(
    bench: Bench, bad: str, code: str, param: str | None, message: str
) -> None:
    batch = bench.run(GOOD + bad)
    assert (batch.status, batch.output_file_id, batch.error_file_id) == ("failed", None, None)
    assert batch.failed_at and batch.in_progress_at is None
    assert bench.errors(batch) == [(code, 2, param, message)]
    assert batch.errors and batch.errors.object == "list"


def test_all_bad_lines_are_in_one_list(bench: Bench) -> None:
    lines = [
        GOOD,
        "{\n",
        GOOD.replace('"good"', '"fine"'),
        GOOD,
        request_line("b", chat(model="x")),
    ]
    batch = bench.run("".join(lines))
    found = [(code, line) for code, line, _, _ in bench.errors(batch)]
    assert found == [("invalid_json_line", 2), ("duplicate_custom_id", 4), ("mismatched_model", 5)]


def test_blank_lines_count_but_do_no_harm(bench: Bench) -> None:
    assert bench.run(f"{GOOD}\n\n").status == "completed"
    batch = bench.run(GOOD + "\n\n{\n")
    assert bench.errors(batch)[0][:2] == ("invalid_json_line", 4)


def test_line_separators_in_strings_are_no_line_ends(bench: Bench) -> None:
    line = json.dumps(
        {"custom_id": "a", "method": "POST", "url": CHAT, "body": chat("\u2028\u2029\u0085\u000b")},
        ensure_ascii=False,
    )
    batch = bench.run(line + "\r\n")
    assert bench.texts(batch) == {"a": "simulated answer to a: \u2028\u2029\u0085\u000b"}


def test_too_many_requests(serve_with: Serve) -> None:
    bench = serve_with(limits=ServerLimits(requests=2))
    assert bench.run(request_lines([chat()] * 2)).status == "completed"
    batch = bench.run(request_lines([chat()] * 3))
    message = "The input file holds too many requests. The maximum of a batch is 2."
    assert bench.errors(batch) == [("too_many_tasks", None, None, message)]


def test_too_many_embedding_inputs(serve_with: Serve) -> None:
    bench = serve_with(limits=ServerLimits(embedding_inputs=3))
    model = "text-embedding-3-small"
    tokens = {"model": model, "input": [1, 2, 3, 4]}
    two = {"model": model, "input": ["a", "b"]}
    assert bench.run(request_lines([two, tokens], EMBEDDINGS), EMBEDDINGS).status == "completed"
    batch = bench.run(request_lines([two, two], EMBEDDINGS), EMBEDDINGS)
    message = "The input file holds too many embedding inputs. The maximum of a batch is 3."
    assert bench.errors(batch) == [("too_many_tasks", None, None, message)]


def test_published_limits() -> None:
    limits = ServerLimits()
    assert (limits.requests, limits.embedding_inputs) == (50_000, 50_000)
    assert limits.batch_file_bytes == 200_000_000


@pytest.mark.parametrize(
    ("endpoint", "body", "message"),
    [
        (RESPONSES, {"model": "m"}, "Input parameter is required."),
        (EMBEDDINGS, {"model": "m"}, "Input parameter is required."),
        ("/v1/completions", {"model": "m"}, "Prompt parameter is required."),
        ("/v1/moderations", {"model": "m"}, "Input parameter is required."),
    ],
)
def test_each_endpoint_has_its_own_required_parameter(
    bench: Bench, endpoint: str, body: dict[str, str], message: str
) -> None:
    [error] = bench.errors(bench.run(request_lines([body], endpoint), endpoint))
    assert error[0] == "invalid_request"
    assert error[3] == message


def test_failed_batches_hold_no_tokens(serve_with: Serve) -> None:
    content = request_lines([chat()])
    bench = serve_with(limits=ServerLimits(enqueued_tokens=len(content) // 4))
    assert bench.run(content + "{\n").status == "failed"
    assert bench.run(content).status == "completed"
