from __future__ import annotations

import time

import openai
import pytest

from sqlite_utils_openai_batch.local import LocalServer, ServerLimits, SimulatedAnswerer

from .bench import CHAT, EMBEDDINGS, RESPONSES, Bench, Serve, chat, request_lines

DAY = 86_400
ENDPOINTS = [
    "/v1/responses", "/v1/chat/completions", "/v1/embeddings", "/v1/completions",
    "/v1/moderations", "/v1/images/generations", "/v1/images/edits", "/v1/videos",
]  # fmt: skip


def test_a_batch_from_end_to_end(bench: Bench) -> None:
    created = bench.create(request_lines([chat("one"), chat("two")]), metadata={"token": "x-1"})
    assert (created.status, created.object) == ("validating", "batch")
    assert created.id.startswith("batch_")
    assert (created.output_file_id, created.error_file_id, created.errors) == (None, None, None)
    assert (created.model, created.in_progress_at, created.completed_at) == (None, None, None)
    assert created.request_counts is not None and created.usage is not None
    assert created.request_counts.model_dump() == {"completed": 0, "failed": 0, "total": 0}
    assert created.usage.total_tokens == 0
    assert created.expires_at == created.created_at + DAY

    batch = bench.ended(created)
    assert (batch.status, batch.error_file_id) == ("completed", None)
    assert (batch.endpoint, batch.completion_window) == (CHAT, "24h")
    assert (batch.model, batch.metadata) == ("gpt-4o-mini", {"token": "x-1"})
    assert batch.request_counts is not None
    assert batch.request_counts.model_dump() == {"completed": 2, "failed": 0, "total": 2}
    assert bench.texts(batch) == {
        "r-1": "simulated answer to r-1: one",
        "r-2": "simulated answer to r-2: two",
    }


def test_times_are_in_order_and_only_of_what_happened(bench: Bench) -> None:
    batch = bench.run(request_lines([chat()]))
    assert batch.in_progress_at and batch.finalizing_at and batch.completed_at
    assert batch.created_at <= batch.in_progress_at <= batch.finalizing_at <= batch.completed_at
    never = (batch.failed_at, batch.expired_at, batch.cancelling_at, batch.cancelled_at)
    assert never == (None, None, None, None)


def test_usage_is_the_sum_of_the_lines(bench: Bench) -> None:
    batch = bench.run(request_lines([chat("x" * n) for n in (1, 40, 400)]))
    lines = bench.lines(batch.output_file_id).values()
    sums = [line["response"]["body"]["usage"] for line in lines]
    assert batch.usage is not None
    assert batch.usage.input_tokens == sum(u["prompt_tokens"] for u in sums)
    assert batch.usage.output_tokens == sum(u["completion_tokens"] for u in sums)
    assert batch.usage.total_tokens == batch.usage.input_tokens + batch.usage.output_tokens


def test_output_file_is_a_file_like_any_other(bench: Bench) -> None:
    batch = bench.run(request_lines([chat()]), output_expires_after=None)
    assert batch.output_file_id
    file = bench.client.files.retrieve(batch.output_file_id)
    assert (file.purpose, file.filename) == ("batch_output", f"{batch.id}_output.jsonl")
    assert file.bytes == len(bench.bytes(file.id))
    assert file.expires_at == file.created_at + 30 * DAY
    assert [f.id for f in bench.client.files.list(purpose="batch_output")] == [file.id]


def test_output_expires_after(bench: Bench) -> None:
    batch = bench.run(
        request_lines([chat()]), output_expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert batch.output_file_id
    file = bench.client.files.retrieve(batch.output_file_id)
    assert file.expires_at == file.created_at + 3600


def test_answers_are_not_in_the_order_of_the_questions(bench: Bench) -> None:
    batch = bench.run(request_lines([chat(str(n)) for n in range(50)]))
    keys = list(bench.lines(batch.output_file_id))
    assert sorted(keys) == sorted(f"r-{n}" for n in range(1, 51))
    assert keys[0] != "r-1"


def test_failed_requests_have_a_file_of_their_own(serve_with: Serve) -> None:
    bench = serve_with(faults=["fail-lines:3"])
    batch = bench.run(request_lines([chat(str(n)) for n in range(7)]))
    assert batch.status == "completed" and batch.request_counts is not None
    assert batch.request_counts.model_dump() == {"completed": 5, "failed": 2, "total": 7}
    assert set(bench.lines(batch.output_file_id)) == {"r-1", "r-2", "r-4", "r-5", "r-7"}
    errors = bench.lines(batch.error_file_id)
    assert set(errors) == {"r-3", "r-6"}
    assert errors["r-3"]["error"] is None
    assert errors["r-3"]["response"]["status_code"] == 400
    assert errors["r-3"]["response"]["body"]["error"]["type"] == "invalid_request_error"


def test_list_is_newest_first_and_pages(bench: Bench) -> None:
    ids = [bench.create(request_lines([chat()])).id for _ in range(5)]
    assert [b.id for b in bench.client.batches.list()] == ids[::-1]
    assert [b.id for b in bench.client.batches.list(limit=2)] == ids[::-1]
    page = bench.client.batches.list(limit=2, after=ids[3])
    assert [b.id for b in page.data] == [ids[2], ids[1]]
    assert page.has_more


def test_paging_goes_on_while_new_batches_arrive(bench: Bench) -> None:
    ids = [bench.create(request_lines([chat()])).id for _ in range(4)]
    seen = []
    for batch in bench.client.batches.list(limit=1):
        seen.append(batch.id)
        bench.create(request_lines([chat()]))
    assert seen == ids[::-1]


def test_bad_list_parameters(bench: Bench) -> None:
    for limit in (0, 101):
        with pytest.raises(openai.BadRequestError) as caught:
            bench.client.batches.list(limit=limit)
        assert caught.value.param == "limit"
    with pytest.raises(openai.NotFoundError):
        bench.client.batches.list(after="batch_unknown")


def test_unknown_batch(bench: Bench) -> None:
    for call in (bench.client.batches.retrieve, bench.client.batches.cancel):
        with pytest.raises(openai.NotFoundError, match="No batch found"):
            call("batch_unknown")


def test_a_key_sees_its_own_batches_only(batch_server: LocalServer, bench: Bench) -> None:
    batch = bench.run(request_lines([chat()]))
    with openai.OpenAI(base_url=batch_server.base_url, api_key="else", max_retries=0) as other:
        assert list(other.batches.list()) == []
        for call in (other.batches.retrieve, other.batches.cancel):
            with pytest.raises(openai.NotFoundError):
                call(batch.id)
        with pytest.raises(openai.NotFoundError):
            other.files.content(batch.output_file_id or "")


CREATE = {"input_file_id": "file-x", "endpoint": CHAT, "completion_window": "24h"}


@pytest.mark.parametrize(
    ("change", "param", "code", "message"),
    [
        ({"endpoint": "/v1/x"}, "endpoint", "invalid_value",
         "Invalid value: '/v1/x'. Supported values are: " + ", ".join(f"'{e}'" for e in ENDPOINTS)),
        ({"completion_window": "1h"}, "completion_window", "invalid_value",
         "Invalid value: '1h'. Supported values are: '24h'."),
        ({"input_file_id": None}, "input_file_id", "missing_required_parameter",
         "Missing required parameter: 'input_file_id'."),
        ({"endpoint": None}, "endpoint", "missing_required_parameter",
         "Missing required parameter: 'endpoint'."),
        ({"completion_window": None}, "completion_window", "missing_required_parameter",
         "Missing required parameter: 'completion_window'."),
        ({"input_file_id": 7}, "input_file_id", "invalid_type",
         "Invalid type for 'input_file_id': expected a string, but got an integer instead."),
        ({"metadata": {"tags": ["a"]}}, "metadata.tags", "invalid_type",
         "Invalid type for 'metadata.tags': expected a string, but got an array instead."),
        ({"metadata": "x"}, "metadata", "invalid_type",
         "Invalid type for 'metadata': expected an object, but got a string instead."),
        ({"metadata": {f"k{n}": "v" for n in range(17)}}, "metadata",
         "object_above_max_properties", "Too many properties in 'metadata'"),
        ({"metadata": {"k" * 65: "v"}}, "metadata", "string_above_max_length", "64 characters"),
        ({"metadata": {"k": "v" * 513}}, "metadata", "string_above_max_length", "512 characters"),
        ({"output_expires_after": {"anchor": "now", "seconds": 3600}},
         "output_expires_after.anchor", "invalid_value", "'created_at'"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 60}},
         "output_expires_after.seconds", "invalid_value", "from 3600 to 2592000"),
    ],
)  # fmt: skip
def test_refused_creations(
    bench: Bench, change: dict[str, object], param: str, code: str, message: str
) -> None:
    reply = bench.raw("POST", "/batches", json={**CREATE, **change})
    error = reply.json()["error"]
    assert reply.status_code == 400
    assert (error["param"], error["code"], error["type"]) == (param, code, "invalid_request_error")
    assert message in error["message"]
    assert list(bench.client.batches.list()) == []


def test_the_most_metadata_that_is_allowed(bench: Bench) -> None:
    metadata = {f"{n:064}": "v" * 512 for n in range(16)}
    assert bench.run(request_lines([chat()]), metadata=metadata).metadata == metadata


def test_body_that_is_no_json(bench: Bench) -> None:
    reply = bench.raw("POST", "/batches", content=b"{")
    assert reply.status_code == 400
    assert "could not parse the JSON body" in reply.json()["error"]["message"]


def test_missing_input_file_fails_the_batch_later(bench: Bench) -> None:
    created = bench.client.batches.create(**CREATE)  # type: ignore[arg-type]
    assert created.status == "validating"
    batch = bench.ended(created)
    assert batch.status == "failed" and batch.failed_at
    message = "Cannot find file file-x, or organization org-local does not have access to it."
    assert bench.errors(batch) == [("invalid_request", None, "file_id", message)]


def test_the_same_request_twice_makes_two_batches(bench: Bench) -> None:
    file = bench.upload(request_lines([chat()]))
    create = {**CREATE, "input_file_id": file.id}
    headers = {"Idempotency-Key": "same"}
    ids = {
        bench.client.batches.create(**create, extra_headers=headers).id  # type: ignore[arg-type]
        for _ in range(2)
    }
    assert len(ids) == 2
    creations = [
        e for e in bench.server.journal() if (e["method"], e["path"]) == ("POST", "/v1/batches")
    ]
    assert {e["batch_id"] for e in creations} == ids
    assert {e["input_file_id"] for e in creations} == {file.id}


def test_two_thousand_batches_an_hour(serve_with: Serve) -> None:
    bench = serve_with(limits=ServerLimits(creates_per_hour=2))
    for _ in range(2):
        bench.create(request_lines([chat()]))
    with pytest.raises(openai.RateLimitError) as caught:
        bench.create(request_lines([chat()]))
    assert caught.value.response.headers["retry-after"] == "60"
    bench.server.clock.advance(3601)
    bench.create(request_lines([chat()]))
    assert ServerLimits().creates_per_hour == 2000


# cancelling


def test_cancel_in_progress_keeps_what_is_done(serve_with: Serve) -> None:
    bench = serve_with(faults=["stuck"])
    created = bench.create(request_lines([chat(str(n)) for n in range(10)]))
    wait_for_counts(bench, created.id, 5)
    cancelled = bench.client.batches.cancel(created.id)
    assert cancelled.status == "cancelling" and cancelled.cancelling_at
    batch = bench.ended(created)
    assert batch.status == "cancelled" and batch.cancelled_at and batch.completed_at is None
    assert batch.request_counts is not None
    assert batch.request_counts.model_dump() == {"completed": 5, "failed": 0, "total": 10}
    assert set(bench.lines(batch.output_file_id)) == {f"r-{n}" for n in range(1, 6)}
    assert batch.error_file_id is None
    assert bench.client.batches.cancel(created.id).status == "cancelled"


def test_cancel_while_validating(serve_with: Serve) -> None:
    bench = serve_with(faults=["stuck:validating"])
    created = bench.create(request_lines([chat()]))
    bench.client.batches.cancel(created.id)
    batch = bench.ended(created)
    assert (batch.status, batch.output_file_id, batch.in_progress_at) == ("cancelled", None, None)


@pytest.mark.parametrize("content", [request_lines([chat()]), '{"custom_id": "a"}\n'])
def test_cancel_of_what_has_ended(bench: Bench, content: str) -> None:
    batch = bench.run(content)
    with pytest.raises(openai.ConflictError) as caught:
        bench.client.batches.cancel(batch.id)
    assert caught.value.message.endswith(
        f"Cannot cancel a batch with status '{batch.status}'.'}}}}"
    ) or (f"Cannot cancel a batch with status '{batch.status}'." in caught.value.message)


def wait_for_counts(bench: Bench, batch_id: str, completed: int) -> None:
    """Wait until that many requests of a batch are answered."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        counts = bench.client.batches.retrieve(batch_id).request_counts
        if counts and counts.completed >= completed:
            return
    raise AssertionError(f"{batch_id} has not come to {completed} answers")


# expiry


def test_window_expires_with_partial_results(serve_with: Serve) -> None:
    bench = serve_with(faults=["stuck"], window=3600)
    created = bench.create(request_lines([chat(str(n)) for n in range(10)]))
    assert created.expires_at == created.created_at + 3600
    wait_for_counts(bench, created.id, 5)
    bench.server.clock.advance(3600)
    batch = bench.ended(created)
    assert batch.status == "expired" and batch.expired_at and batch.request_counts is not None
    assert batch.request_counts.model_dump() == {"completed": 5, "failed": 5, "total": 10}
    assert len(bench.lines(batch.output_file_id)) == 5
    errors = bench.lines(batch.error_file_id)
    assert set(errors) == {f"r-{n}" for n in range(6, 11)}
    assert errors["r-6"]["response"] is None
    assert errors["r-6"]["error"] == {
        "code": "batch_expired",
        "message": "This request could not be executed before the completion window expired.",
    }


def test_nothing_expires_unless_told(serve_with: Serve) -> None:
    bench = serve_with(faults=["stuck"])
    created = bench.create(request_lines([chat(), chat()]))
    bench.server.clock.advance(29 * DAY)
    bench.server.faults.clear()
    assert bench.ended(created).status == "completed"


# the queue


def test_enqueued_tokens_are_counted_per_model_and_given_back(serve_with: Serve) -> None:
    content = request_lines([chat("x" * 400)])
    tokens = len(content) // 4
    bench = serve_with(faults=["stuck"], limits=ServerLimits(enqueued_tokens=tokens + 10))
    first = bench.create(content)
    wait_for_status(bench, first.id, "in_progress")
    second = bench.run(content)
    message = (
        f"Enqueued token limit reached for gpt-4o-mini in organization org-local. Limit:"
        f" {tokens + 10:,} enqueued tokens. Please try again once some in_progress batches have"
        " been completed."
    )
    assert bench.errors(second) == [("token_limit_exceeded", None, None, message)]
    other = bench.create(content.replace("gpt-4o-mini", "gpt-4o"))
    wait_for_status(bench, other.id, "in_progress")
    bench.server.faults.clear()
    assert bench.ended(first).status == "completed"
    assert bench.run(content).status == "completed"


def wait_for_status(bench: Bench, batch_id: str, status: str) -> None:
    """Wait until a batch shows a status."""
    deadline = time.monotonic() + 30
    while bench.client.batches.retrieve(batch_id).status != status:
        assert time.monotonic() < deadline


# other endpoints and speeds


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        (RESPONSES, {"model": "gpt-4o-mini", "input": "hello"}),
        (EMBEDDINGS, {"model": "text-embedding-3-small", "input": ["a", "b"]}),
        ("/v1/completions", {"model": "gpt-3.5-turbo-instruct", "prompt": "hello"}),
        ("/v1/moderations", {"input": "hello"}),
    ],
)
def test_other_endpoints(bench: Bench, endpoint: str, body: dict[str, object]) -> None:
    batch = bench.run(request_lines([body], endpoint), endpoint)
    assert batch.status == "completed", batch.errors
    assert bench.lines(batch.output_file_id)["r-1"]["response"]["status_code"] == 200


def test_endpoint_without_simulated_answers(bench: Bench) -> None:
    body = {"model": "gpt-image-1", "prompt": "a cat"}
    batch = bench.run(request_lines([body], "/v1/images/generations"), "/v1/images/generations")
    assert batch.output_file_id is None
    line = bench.lines(batch.error_file_id)["r-1"]
    assert line["response"]["status_code"] == 404


@pytest.mark.parametrize("brake", [{"duration": 3600}, {"rate": 1 / 900}])
def test_rate_and_duration_brake_a_batch(serve_with: Serve, brake: dict[str, float]) -> None:
    bench = serve_with(answerer=SimulatedAnswerer(**brake))  # type: ignore[arg-type]
    created = bench.create(request_lines([chat(str(n)) for n in range(4)]))
    wait_for_status(bench, created.id, "in_progress")
    for done in (1, 2, 3):
        bench.server.clock.advance(900)
        wait_for_counts(bench, created.id, done)
        batch = bench.client.batches.retrieve(created.id)
        assert (batch.status, batch.output_file_id) == ("in_progress", None)
        assert batch.request_counts is not None and batch.request_counts.completed == done
    bench.server.clock.advance(900)
    assert bench.ended(created).status == "completed"
