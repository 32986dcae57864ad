from __future__ import annotations

import json
from pathlib import Path

import httpx2
import openai
import pytest

from sqlite_utils_openai_batch.base.errors import UsageError
from sqlite_utils_openai_batch.local import FAULTS, LocalServer, SimulatedAnswerer
from sqlite_utils_openai_batch.local.faults.registry import Faults, parse

from .bench import CHAT, RESPONSES, Bench, Serve, chat, request_lines, text_of
from .test_batches import wait_for_counts, wait_for_status

TEN = request_lines([chat(str(n)) for n in range(10)])
ALL = {f"r-{n}" for n in range(1, 11)}
EVEN = {f"r-{n}" for n in range(2, 11, 2)}
SCHEMA = {"type": "object", "properties": {"mood": {"type": "string"}}, "required": ["mood"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}


def test_every_fault_has_a_test() -> None:
    here = Path(__file__).parent
    tests = (here / "test_faults.py").read_text() + (here / "test_webhooks.py").read_text()
    assert [name for name in FAULTS if f'"{name}' not in tests] == []


def test_every_fault_has_one_line_of_documentation() -> None:
    for fault in FAULTS.values():
        assert fault.doc.endswith(".") and "\n" not in fault.doc
        assert len(fault.doc) <= 100


# how faults are written


@pytest.mark.parametrize(
    ("spec", "argument", "left"),
    [
        ("lost-create-reply", None, 1),
        ("lost-create-reply:3", None, 3),
        ("lost-create-reply*3", None, 3),
        ("server-error", 500, 1),
        ("server-error:503*2", 503, 2),
        ("slow:0.5", 0.5, -1),
        ("expire:10*1", 10, 1),
        ("stuck:finalizing", "finalizing", -1),
    ],
)
def test_specs(spec: str, argument: object, left: int) -> None:
    active = parse(spec)
    assert (active.argument, active.left) == (argument, left)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nonsense", "There is no fault 'nonsense'. There are: lost-upload-reply, "),
        ("server-error:x", "In the fault 'server-error:x', 'x' is not a number."),
        ("expire*x", "In the fault 'expire\\*x', 'x' is not a number."),
        ("lost-create-reply:0", "0 must be more than 0"),
    ],
)
def test_bad_specs(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        LocalServer(faults=[spec])


def test_faults_strike_so_often() -> None:
    faults = Faults(["server-error*2", "expire:5*1", "crlf"])
    assert faults.bind() == {"expire": 5, "crlf": None}
    assert faults.bind() == {"crlf": None}
    assert [bool(faults.strike("server-error")) for _ in range(3)] == [True, True, False]
    assert faults.active() == [{"fault": "crlf", "argument": None, "left": None}]


# the control route


def test_faults_are_switched_at_run_time(bench: Bench) -> None:
    assert bench.raw("GET", "/-/faults").json() == {"faults": []}
    on = bench.raw("POST", "/-/faults", json={"fault": "expire:5*2"}).json()
    assert on == {"faults": [{"fault": "expire", "argument": 5, "left": 2}]}
    assert bench.run(TEN).status == "expired"
    assert bench.raw("DELETE", "/-/faults/expire").json() == {"faults": []}
    assert bench.run(TEN).status == "completed"
    bench.raw("POST", "/-/faults", json={"fault": "server-error*9"})
    assert bench.raw("GET", "/files").status_code == 500
    assert bench.raw("DELETE", "/-/faults").json() == {"faults": []}
    assert bench.raw("GET", "/files").status_code == 200


def test_control_refuses_nonsense(bench: Bench) -> None:
    for body, message in (({"fault": "x"}, "no fault 'x'"), ({}, "'fault'")):
        reply = bench.raw("POST", "/-/faults", json=body)
        assert reply.status_code == 400
        assert message in reply.json()["error"]["message"]
    assert bench.raw("DELETE", "/-/faults/x").status_code == 400
    assert bench.raw("POST", "/-/clock", json={"advance": -1}).status_code == 400


def test_control_needs_the_servers_own_key(bench: Bench) -> None:
    for path in ("/-/faults", "/-/journal"):
        for key in ("Bearer else", ""):
            reply = bench.raw("GET", path, headers={"authorization": key})
            assert reply.status_code == 401


def test_clock_and_journal_over_http(bench: Bench) -> None:
    file = bench.upload(TEN)
    reply = bench.raw("POST", "/-/clock", json={"advance": 31 * 86_400})
    assert reply.json()["now"] >= file.created_at + 31 * 86_400
    with pytest.raises(openai.NotFoundError):
        bench.client.files.retrieve(file.id)
    entries = bench.raw("GET", "/-/journal").json()["journal"]
    assert [(e["method"], e["path"], e["status"]) for e in entries] == [
        ("POST", "/v1/files", 200),
        ("GET", f"/v1/files/{file.id}", 404),
    ]
    assert bench.raw("DELETE", "/-/journal").json() == {"journal": []}
    assert bench.server.journal() == []


# requests


def test_lost_upload_reply(serve_with: Serve) -> None:
    bench = serve_with(faults=["lost-upload-reply"])
    with pytest.raises(openai.APIConnectionError):
        bench.upload(TEN, "token-1.jsonl")
    [file] = bench.client.files.list()
    assert file.filename == "token-1.jsonl"
    [entry] = [e for e in bench.server.journal() if e["method"] == "POST"]
    assert (entry["status"], entry["file_id"]) == (None, file.id)
    assert bench.run(TEN).status == "completed"


def test_lost_create_reply(serve_with: Serve) -> None:
    bench = serve_with(faults=["lost-create-reply"])
    with pytest.raises(openai.APIConnectionError):
        bench.create(TEN, metadata={"token": "t-1"})
    [batch] = bench.client.batches.list()
    assert batch.metadata == {"token": "t-1"}
    assert bench.server.wait_for(batch.id) == "completed"
    [entry] = [e for e in bench.server.journal() if e["path"] == "/v1/batches" and "metadata" in e]
    assert (entry["status"], entry["batch_id"], entry["requests"]) == (None, batch.id, 10)
    assert entry["metadata"] == {"token": "t-1"}


def test_lost_reply_and_a_client_that_retries_make_two_batches(serve_with: Serve) -> None:
    bench = serve_with(faults=["lost-create-reply"])
    file = bench.upload(TEN)
    retrying = bench.client.with_options(max_retries=2)
    retrying.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
    assert len(list(bench.client.batches.list())) == 2


@pytest.mark.parametrize(
    ("fault", "status"),
    [("server-error", 500), ("upload-error", 503), ("upload-error:408", 408)],
)
def test_upload_fails_then_succeeds(serve_with: Serve, fault: str, status: int) -> None:
    bench = serve_with(faults=[fault])
    with pytest.raises(openai.APIStatusError) as caught:
        bench.upload(TEN)
    assert caught.value.status_code == status
    assert list(bench.client.files.list()) == []
    bench.upload(TEN)


def test_create_error(serve_with: Serve) -> None:
    bench = serve_with(faults=["create-error"])
    with pytest.raises(openai.InternalServerError) as caught:
        bench.create(TEN)
    assert caught.value.status_code == 502
    assert list(bench.client.batches.list()) == []
    bench.create(TEN)


def test_rate_limit(serve_with: Serve) -> None:
    bench = serve_with(faults=["rate-limit:7"])
    with pytest.raises(openai.RateLimitError) as caught:
        bench.client.files.list()
    assert caught.value.response.headers["retry-after"] == "7"
    assert caught.value.code == "rate_limit_exceeded"
    bench.client.files.list()


def test_file_not_found_for_a_moment(serve_with: Serve) -> None:
    bench = serve_with(faults=["file-not-found"])
    with pytest.raises(openai.BadRequestError, match="Cannot find file") as caught:
        bench.create(TEN)
    assert caught.value.param == "file_id"
    assert bench.run(TEN).status == "completed"


def test_token_limit_at_creation(serve_with: Serve) -> None:
    bench = serve_with(faults=["token-limit-create:90000"])
    with pytest.raises(openai.BadRequestError, match="Limit: 90,000 enqueued tokens") as caught:
        bench.create(TEN)
    assert caught.value.code == "token_limit_exceeded"
    assert bench.run(TEN).status == "completed"


def test_reset_upload(serve_with: Serve) -> None:
    bench = serve_with(faults=["reset-upload"])
    with pytest.raises(openai.APIConnectionError):
        bench.upload(TEN + " " * 5_000_000)
    assert list(bench.client.files.list()) == []
    bench.upload(TEN)


def test_reset_download(serve_with: Serve) -> None:
    bench = serve_with()
    content = TEN.encode() * 1000
    file = bench.upload(content)
    bench.server.faults.add("reset-download*2")
    with pytest.raises(openai.APIConnectionError):
        bench.client.files.content(file.id)
    received = b""
    with (
        pytest.raises(httpx2.RemoteProtocolError),
        bench.client.files.with_streaming_response.content(file.id) as reply,
    ):
        assert reply.headers["content-length"] == str(len(content))
        for chunk in reply.iter_bytes():
            received += chunk
    assert 0 < len(received) <= len(content) // 2
    assert content.startswith(received)
    assert bench.bytes(file.id) == content


@pytest.mark.parametrize("fault", ["slow:0.2", "slow-list:0.2"])
def test_slow_replies_run_into_timeouts(serve_with: Serve, fault: str) -> None:
    bench = serve_with(faults=[fault])
    with pytest.raises(openai.APITimeoutError):
        bench.client.with_options(timeout=0.05).batches.list()
    assert list(bench.client.batches.list()) == []


def test_slow_download(serve_with: Serve) -> None:
    bench = serve_with(faults=["slow-download:0.01"])
    content = TEN.encode() * 100
    assert bench.bytes(bench.upload(content).id) == content


def test_stale_list(serve_with: Serve) -> None:
    bench = serve_with(faults=["stale-list:60"])
    batch = bench.run(TEN)
    assert list(bench.client.batches.list()) == []
    assert list(bench.client.files.list()) == []
    assert bench.client.batches.retrieve(batch.id).status == "completed"
    bench.server.clock.advance(61)
    assert [b.id for b in bench.client.batches.list()] == [batch.id]
    assert len(list(bench.client.files.list())) == 2


def test_no_list(serve_with: Serve) -> None:
    bench = serve_with(faults=["no-list"])
    for call in (bench.client.batches.list, bench.client.files.list):
        with pytest.raises(openai.NotFoundError, match="Invalid URL"):
            call()
    assert bench.run(TEN).status == "completed"


def test_no_has_more(serve_with: Serve) -> None:
    bench = serve_with(faults=["no-has-more"])
    ids = [bench.create(TEN).id for _ in range(2)]
    seen = [batch.id for _, batch in zip(range(6), bench.client.batches.list(), strict=False)]
    assert seen == ids[::-1] * 3


def test_pending_file(serve_with: Serve) -> None:
    bench = serve_with(faults=["pending-file:2"])
    file = bench.upload(TEN)
    seen = [file.status, *(bench.client.files.retrieve(file.id).status for _ in range(3))]
    assert seen == ["uploaded", "uploaded", "uploaded", "processed"]


# batches


def test_token_limit_in_validation(serve_with: Serve) -> None:
    bench = serve_with(faults=["token-limit"])
    [error] = bench.errors(bench.run(TEN))
    assert error[:3] == ("token_limit_exceeded", None, None)
    assert "Limit: 2,000,000 enqueued tokens." in (error[3] or "")
    assert bench.run(TEN).status == "completed"


def test_late_ids(serve_with: Serve) -> None:
    bench = serve_with(faults=["late-ids:60"])
    batch = bench.run(TEN)
    assert (batch.status, batch.output_file_id) == ("completed", None)
    bench.server.clock.advance(60)
    assert len(bench.lines(bench.client.batches.retrieve(batch.id).output_file_id)) == 10


def test_null_ids(serve_with: Serve) -> None:
    bench = serve_with(faults=["null-ids"])
    batch = bench.run(TEN)
    assert (batch.status, batch.output_file_id, batch.error_file_id) == ("completed", None, None)
    assert batch.request_counts is not None and batch.request_counts.completed == 10


def test_absent_and_empty_ids(serve_with: Serve) -> None:
    for fault, shown in (("absent-ids", {}), ("empty-ids", {"error_file_id": ""})):
        bench = serve_with(faults=[fault])
        batch = bench.run(TEN)
        raw = bench.raw("GET", f"/batches/{batch.id}").json()
        assert {k: v for k, v in raw.items() if k == "error_file_id"} == shown
        assert raw["output_file_id"]


def test_empty_error_file(serve_with: Serve) -> None:
    bench = serve_with(faults=["empty-error-file"])
    batch = bench.run(TEN)
    assert bench.bytes(batch.error_file_id) == b""
    assert len(bench.lines(batch.output_file_id)) == 10


def test_error_only(serve_with: Serve) -> None:
    bench = serve_with(faults=["error-only:429"])
    batch = bench.run(TEN)
    assert (batch.status, batch.output_file_id) == ("completed", None)
    assert batch.request_counts is not None
    assert batch.request_counts.model_dump() == {"completed": 0, "failed": 10, "total": 10}
    errors = bench.lines(batch.error_file_id)
    assert set(errors) == ALL
    assert errors["r-1"]["response"]["body"]["error"]["type"] == "rate_limit_error"


@pytest.mark.parametrize(
    ("fault", "status"),
    [("fail-lines", 400), ("throttle-lines", 429), ("crash-lines", 500), ("zero-lines", 0)],
)
def test_lines_that_fail(serve_with: Serve, fault: str, status: int) -> None:
    bench = serve_with(faults=[fault])
    batch = bench.run(TEN)
    errors = bench.lines(batch.error_file_id)
    assert set(errors) == EVEN
    assert set(bench.lines(batch.output_file_id)) == ALL - EVEN
    for line in errors.values():
        assert (line["error"], line["response"]["status_code"]) == (None, status)


def test_error_lines(serve_with: Serve) -> None:
    bench = serve_with(faults=["error-lines:5"])
    errors = bench.lines(bench.run(TEN).error_file_id)
    assert set(errors) == {"r-5", "r-10"}
    assert errors["r-5"]["response"] is None
    assert errors["r-5"]["error"]["code"] == "server_error"


@pytest.mark.parametrize(
    ("fault", "text", "reason", "refusal"),
    [
        ("refuse:2", None, "stop", "I'm sorry, but I can't help with that."),
        ("cut:2", '{"mood":"simulate', "length", None),
        ("filter:2", None, "content_filter", None),
        ("empty-answers:2", "", "stop", None),
        ("not-json:2", "This is not JSON.", "stop", None),
        ("wrong-shape:2", '{"unexpected":true}', "stop", None),
    ],
)
def test_bad_answers(
    serve_with: Serve, fault: str, text: str | None, reason: str, refusal: str | None
) -> None:
    bench = serve_with(faults=[fault])
    batch = bench.run(request_lines([chat("x", response_format=FORMAT)] * 2))
    lines = bench.lines(batch.output_file_id)
    assert json.loads(text_of(lines["r-1"])) == {"mood": "simulated answer to r-1"}
    choice = lines["r-2"]["response"]["body"]["choices"][0]
    assert choice["finish_reason"] == reason
    assert (choice["message"]["content"], choice["message"]["refusal"]) == (text, refusal)


def test_wrong_until_told(serve_with: Serve) -> None:
    """An answer breaks the schema at first, and is right when it was sent back."""
    bench = serve_with(faults=["wrong-until-told:1"])
    first = bench.run(request_lines([chat("x", response_format=FORMAT)]))
    (line,) = bench.lines(first.output_file_id).values()
    assert text_of(line) == '{"unexpected":true}'
    asked = chat("x", response_format=FORMAT)
    asked["messages"] += [
        {"role": "assistant", "content": '{"unexpected":true}'},
        {"role": "user", "content": "That doesn't fit."},
    ]
    again = bench.run(request_lines([asked]))
    (line,) = bench.lines(again.output_file_id).values()
    assert json.loads(text_of(line)) == {"mood": "simulated answer to r-1"}


@pytest.mark.parametrize(
    ("fault", "status", "reason", "content"),
    [
        ("refuse:1", "completed", None, [("refusal", "I'm sorry, but I can't help with that.")]),
        ("cut:1", "incomplete", "max_output_tokens", [("output_text", "simulated a")]),
        ("filter:1", "incomplete", "content_filter", []),
        ("not-json:1", "completed", None, [("output_text", "This is not JSON.")]),
    ],
)
def test_bad_answers_of_responses(
    serve_with: Serve, fault: str, status: str, reason: str | None, content: list[tuple[str, str]]
) -> None:
    bench = serve_with(faults=[fault])
    batch = bench.run(request_lines([{"model": "m", "input": "x"}], RESPONSES), RESPONSES)
    body = bench.lines(batch.output_file_id)["r-1"]["response"]["body"]
    assert body["status"] == status
    assert (body["incomplete_details"] or {}).get("reason") == reason
    parts = body["output"][0]["content"]
    assert [(p["type"], p.get("text", p.get("refusal"))) for p in parts] == content


def test_reasoning_first(serve_with: Serve) -> None:
    bench = serve_with(faults=["reasoning-first"])
    batch = bench.run(request_lines([{"model": "m", "input": "x"}], RESPONSES), RESPONSES)
    output = bench.lines(batch.output_file_id)["r-1"]["response"]["body"]["output"]
    assert [item["type"] for item in output] == ["reasoning", "message"]


def test_large_answers(serve_with: Serve) -> None:
    bench = serve_with(faults=["large-answers:100000"])
    texts = bench.texts(bench.run(TEN))
    for key, text in texts.items():
        assert text == f"simulated answer to {key}" + " " * 100_000


def test_line_separators_in_answers(serve_with: Serve) -> None:
    bench = serve_with(faults=["u2028"])
    batch = bench.run(TEN)
    data = bench.bytes(batch.output_file_id)
    assert "\u2028 \u2029 \u0085".encode() in data
    assert data.count(b"\n") == 10
    assert len(data.decode().splitlines()) == 40


def test_expire_with_partial_results(serve_with: Serve) -> None:
    for fault, done in (("expire", 5), ("expire:3", 3)):
        bench = serve_with(faults=[fault])
        batch = bench.run(TEN)
        assert batch.status == "expired" and batch.expired_at and batch.request_counts is not None
        assert batch.request_counts.model_dump() == {
            "completed": done,
            "failed": 10 - done,
            "total": 10,
        }
        assert len(bench.lines(batch.output_file_id)) == done
        codes = {line["error"]["code"] for line in bench.lines(batch.error_file_id).values()}
        assert codes == {"batch_expired"}


def test_cancel_race(serve_with: Serve) -> None:
    bench = serve_with(faults=["stuck", "cancel-race"])
    created = bench.create(TEN)
    wait_for_counts(bench, created.id, 5)
    assert bench.client.batches.cancel(created.id).status == "cancelling"
    batch = bench.ended(created)
    assert (batch.status, batch.cancelled_at) == ("completed", None)
    assert batch.completed_at and batch.cancelling_at
    assert set(bench.lines(batch.output_file_id)) == ALL


def test_cancelled_lines(serve_with: Serve) -> None:
    bench = serve_with(faults=["stuck", "cancelled-lines"])
    created = bench.create(TEN)
    wait_for_counts(bench, created.id, 5)
    bench.client.batches.cancel(created.id)
    batch = bench.ended(created)
    errors = bench.lines(batch.error_file_id)
    assert set(errors) | set(bench.lines(batch.output_file_id)) == ALL
    assert {line["error"]["code"] for line in errors.values()} == {"batch_cancelled"}


@pytest.mark.parametrize("status", ["validating", "in_progress", "finalizing"])
def test_stuck(serve_with: Serve, status: str) -> None:
    bench = serve_with(faults=[f"stuck:{status}"])
    created = bench.create(TEN)
    wait_for_status(bench, created.id, status)
    assert bench.client.batches.retrieve(created.id).output_file_id is None
    bench.server.faults.remove("stuck")
    assert bench.ended(created).status == "completed"


def test_stuck_cancelling(serve_with: Serve) -> None:
    bench = serve_with(faults=["stuck:cancelling"], answerer=SimulatedAnswerer(duration=3600))
    created = bench.create(TEN)
    wait_for_status(bench, created.id, "in_progress")
    bench.client.batches.cancel(created.id)
    bench.run(TEN[:-1].replace("gpt-4o-mini", "m") + "{\n")
    assert bench.client.batches.retrieve(created.id).status == "cancelling"
    bench.server.faults.remove("stuck")
    assert bench.ended(created).status == "cancelled"


def test_unknown_status(serve_with: Serve) -> None:
    bench = serve_with(faults=["stuck", "unknown-status:queued"])
    created = bench.create(TEN)
    wait_for_counts(bench, created.id, 5)
    assert bench.client.batches.retrieve(created.id).status == "queued"
    bench.server.faults.clear()
    assert bench.ended(created).status == "completed"


# files


def spoiled(serve_with: Serve, *faults: str) -> tuple[bytes, list[str]]:
    """The bytes of the output file of a batch of ten, and the custom_ids that are in it."""
    bench = serve_with(faults=faults)
    batch = bench.run(TEN)
    assert batch.status == "completed" and batch.request_counts is not None
    assert batch.request_counts.model_dump() == {"completed": 10, "failed": 0, "total": 10}
    data = bench.bytes(batch.output_file_id)
    keys = []
    for line in data.split(b"\n"):
        try:
            parsed = json.loads(line)
        except ValueError:
            continue
        keys.append(parsed["custom_id"] if isinstance(parsed, dict) else None)
    return data, keys


def test_missing_lines(serve_with: Serve) -> None:
    _, keys = spoiled(serve_with, "missing-lines:3")
    assert len(keys) == 7 and set(keys) < ALL


def test_all_lines_missing(serve_with: Serve) -> None:
    bench = serve_with(faults=["missing-lines:10"])
    batch = bench.run(TEN)
    assert (batch.status, batch.output_file_id) == ("completed", None)


def test_duplicate_lines(serve_with: Serve) -> None:
    _, keys = spoiled(serve_with, "duplicate-lines:2")
    assert len(keys) == 12 and set(keys) == ALL


def test_foreign_lines(serve_with: Serve) -> None:
    _, keys = spoiled(serve_with, "foreign-lines:2")
    assert len(keys) == 12
    assert set(keys) - ALL == {"nobody-sent-this-1", "nobody-sent-this-2"}


def test_nameless_lines(serve_with: Serve) -> None:
    _, keys = spoiled(serve_with, "nameless-lines:2")
    assert len(keys) == 10 and keys.count(None) == 2  # type: ignore[arg-type]


def test_garbage_lines(serve_with: Serve) -> None:
    data, keys = spoiled(serve_with, "garbage-lines:3")
    assert set(keys) == ALL | {None}
    assert data.count(b"\n") == 13
    assert b"<html>" in data


def test_line_ends(serve_with: Serve) -> None:
    plain, keys = spoiled(serve_with)
    assert set(keys) == ALL and plain.endswith(b"}\n") and plain.count(b"\n") == 10
    data, keys = spoiled(serve_with, "no-final-newline")
    assert set(keys) == ALL and data.endswith(b"}") and data.count(b"\n") == 9
    data, keys = spoiled(serve_with, "crlf")
    assert set(keys) == ALL and data.count(b"}\r\n") == 10
    data, keys = spoiled(serve_with, "blank-lines")
    assert set(keys) == ALL and data.count(b"}\n\n") == 10
    data, keys = spoiled(serve_with, "bom", "no-final-newline", "crlf")
    assert data.startswith(b'\xef\xbb\xbf{"id"') and set(keys) == ALL


def test_body_as_string(serve_with: Serve) -> None:
    data, _ = spoiled(serve_with, "body-as-string")
    body = json.loads(data.splitlines()[0])["response"]["body"]
    assert isinstance(body, str)
    assert json.loads(body)["object"] == "chat.completion"


def test_no_error_key_and_error_type(serve_with: Serve) -> None:
    bench = serve_with(faults=["no-error-key", "error-type", "error-lines"])
    batch = bench.run(TEN)
    for line in bench.lines(batch.output_file_id).values():
        assert set(line) == {"id", "custom_id", "response"}
    for line in bench.lines(batch.error_file_id).values():
        assert line["error"] == {
            "message": "This request could not be executed.",
            "type": "server_error",
        }
