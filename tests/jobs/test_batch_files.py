"""`split`, `extract` and `validate`: any file, whatever is in it, and no database."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from finished import chat_line, error_line
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sqlite_utils_openai_batch.base.errors import FileError
from sqlite_utils_openai_batch.jobs.files.split import Wish, split
from sqlite_utils_openai_batch.jobs.files.validate import CODES, RequestFile
from sqlite_utils_openai_batch.requests.limits import CAPS

CHAT = "/v1/chat/completions"


def request(custom_id: Any = "a-1", url: Any = CHAT, **changes: Any) -> dict[str, Any]:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say: héllo\u2028"}]}
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body} | changes


def line(*args: Any, **changes: Any) -> bytes:
    return json.dumps(request(*args, **changes), ensure_ascii=False).encode()


def body(**changes: Any) -> dict[str, Any]:
    return {"body": request()["body"] | changes}


def embedding(custom_id: str, inputs: Any) -> bytes:
    return line(custom_id, "/v1/embeddings", body={"model": "m", "input": inputs})


def written(name: str, data: bytes | list[bytes]) -> Path:
    path = Path(name)
    path.write_bytes(data if isinstance(data, bytes) else b"\n".join(data) + b"\n")
    return path


def found(path: Path, provider: str = "openai") -> list[tuple[int | None, str, str]]:
    problems = list(RequestFile(path, provider).problems())
    assert {problem.code for problem in problems} <= set(CODES)
    return [(problem.line, problem.code, problem.message) for problem in problems]


# validate


def test_a_good_file(run: Any) -> None:
    path = written("good.jsonl", [line(f"a-{n}") for n in range(3)])
    said = run("validate", path)
    assert said.out == ""
    assert said.err.splitlines() == [
        f"good.jsonl: 3 requests, {path.stat().st_size} B, /v1/chat/completions, gpt-4o-mini.",
        "Limits of openai: 0.0 % of 50,000 requests, 0.0 % of 200.0 MB.",
        "Nothing in it that would be refused.",
    ]


BAD: dict[str, tuple[list[bytes], int | None, str, str]] = {
    "a byte order mark": (
        [b"\xef\xbb\xbf" + line()], 1, "byte_order_mark", "a byte order mark stands before it",
    ),
    "a blank line": ([line("x"), b" ", line()], 2, "blank_line", "a blank line"),
    "a blank line at the end": ([line(), b""], 2, "blank_line", "a blank line at the end"),
    "bytes": ([b'{"custom_id": "\xff"}'], 1, "invalid_utf8", "no UTF-8 at byte 16"),
    "no JSON": (
        [line("x"), line()[:30]], 2, "invalid_json_line",
        "no JSON: unexpected end of data at character 31",
    ),
    "a list": ([b"[1]"], 1, "invalid_json_line", "no JSON object"),
    "no custom_id": ([line(None)], 1, "missing_required_parameter", "custom_id is missing"),
    "an empty custom_id": ([line("")], 1, "missing_required_parameter", "custom_id is missing"),
    "a number": ([line(7)], 1, "invalid_type", "custom_id is not a string"),
    "no body": ([line(body=None)], 1, "missing_required_parameter", "body is missing"),
    "a text for a body": ([line(body="{}")], 1, "invalid_type", "body is not an object"),
    "GET": ([line(method="GET")], 1, "invalid_value", "method is 'GET', not 'POST'"),
    "another endpoint": (
        [line("x"), embedding("y", "text")], 2, "invalid_url",
        "url is '/v1/embeddings', in line 1 it is '/v1/chat/completions'",
    ),
    "no such endpoint": (
        [line("x", "/chat/completions"), line()], 1, "invalid_url",
        "url is '/chat/completions'; batches take /v1/chat/completions, /v1/responses, "
        "/v1/embeddings, /v1/completions, /v1/moderations, /v1/images/generations, "
        "/v1/images/edits, /v1/videos",
    ),
    "no model": ([line(**body(model=None))], 1, "invalid_request", "body.model is missing"),
    "two models": (
        [line("x"), line(**body(model="gpt-5"))], 2, "mismatched_model",
        "body.model is 'gpt-5', in line 1 it is 'gpt-4o-mini'",
    ),
    "nothing said": (
        [line(**body(messages=None))], 1, "invalid_request", "body.messages is missing",
    ),
    "a stream": (
        [line(**body(stream=True))], 1, "streaming_unsupported",
        "body.stream is set: a batch doesn't stream",
    ),
    "the same custom_id": (
        [line("x"), line(), line("x")], 3, "duplicate_custom_id",
        "custom_id 'x' is that of line 1 too",
    ),
    "nothing": ([b""], None, "empty_file", "there is no request in it"),
    "too many requests": (
        [line(str(n)) for n in range(50_001)], None, "too_many_tasks",
        "50,001 requests; openai takes 50,000",
    ),
    "too many inputs": (
        [*(embedding(f"a{n}", ["x"] * 2_000) for n in range(25)), embedding("c", [1, 2])],
        None, "too_many_tasks", "50,001 embedding inputs; openai takes 50,000",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_what_a_provider_would_refuse(run: Any, kind: str) -> None:
    lines, *expected = BAD[kind]
    path = written("bad.jsonl", lines)
    assert found(path) == [tuple(expected)]
    said = run("validate", path, code=1)
    where = "whole file" if expected[0] is None else f"line {expected[0]}"
    assert said.out == f"{where:<10}  {expected[2]}\n"
    assert f"1 problem: 1 {expected[1]}." in said.err
    assert ("split bad.jsonl DIR" in said.err) == (expected[1] == "too_many_tasks")


def test_a_file_that_is_too_large(run: Any) -> None:
    long = line(**body(user="x" * 1_000_000)) + b"\n"
    with Path("large.jsonl").open("wb") as file:
        for n in range(201):
            file.write(long.replace(b'"a-1"', b'"%d"' % n))
    (problem,) = found(Path("large.jsonl"))
    assert problem == (None, "file_too_large", "201.0 MB; openai takes 200.0 MB")


def test_what_azure_takes(run: Any) -> None:
    path = written("a.jsonl", [line("x", "/chat/completions"), line()])
    assert found(path, "azure") == []
    assert "100,000 requests" in run("validate", path, "--provider", "azure").err


def test_the_first_problems_are_printed_and_all_are_counted(run: Any) -> None:
    path = written("bad.jsonl", [b"x"] * 30)
    said = run("validate", path, "-n", "3", code=1)
    assert len(said.out.splitlines()) == 3
    assert "… and 27 more (-n 30)" in said.err
    assert "30 problems: 30 invalid_json_line." in said.err
    rows = list(csv.DictReader(io.StringIO(run("validate", path, "--csv", code=1).out)))
    assert [row["line"] for row in rows] == [str(n) for n in range(1, 31)]
    assert json.loads(run("validate", path, "--nl", code=1).out.splitlines()[0]) == {
        "line": 1, "code": "invalid_json_line",
        "message": "no JSON: unexpected character, expected a JSON value at character 1",
    }  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=200) | st.lists(st.binary(max_size=30)).map(b"\n".join))
def test_any_bytes_are_judged(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "any.jsonl"
    path.write_bytes(data)
    try:
        assert found(path)
    except FileError as error:
        assert ", no file of requests. " in str(error)


# split


def test_split_by_requests(run: Any) -> None:
    data = b"".join(line(f"a-{n}") + b"\n" for n in range(7))
    said = run("split", written("all.jsonl", data), "parts", "--part-requests", "3")
    names = [f"parts/all-{n}.jsonl" for n in (1, 2, 3)]
    assert said.out.splitlines() == names
    assert b"".join(Path(name).read_bytes() for name in names) == data
    assert [len(Path(name).read_bytes().split(b"\n")) - 1 for name in names] == [3, 3, 1]
    table = [row.split()[:2] for row in said.err.splitlines()]
    assert table == [
        ["part", "requests"], ["all-1.jsonl", "3"], ["all-2.jsonl", "3"], ["all-3.jsonl", "1"],
        ["sum", "7"],
    ]  # fmt: skip
    assert sorted(path.name for path in Path("parts").iterdir()) == [
        "all-1.jsonl", "all-2.jsonl", "all-3.jsonl",
    ]  # fmt: skip


def test_split_into_so_many_parts(run: Any) -> None:
    path = written("all.jsonl", [line(f"a-{n}") for n in range(10)])
    run("split", path, "parts", "--parts", "4")
    assert [len(Path(f"parts/all-{n}.jsonl").read_text().splitlines()) for n in (1, 2, 3, 4)]
    run("split", path, "many", "--parts", "40")
    assert len(list(Path("many").iterdir())) == 10
    said = run("split", path, "no", "--parts", "2", "--part-requests", "3", code=2)
    assert "give one of them" in said.err


def test_split_by_tokens_and_by_embedding_inputs(run: Any) -> None:
    path = written("all.jsonl", [line(f"a-{n}", **body(user="x")) for n in range(10)])
    said = run("split", path, "parts", "--part-tokens", "40")
    assert len(said.out.splitlines()) > 1
    assert "tokens, about" in said.err
    inputs = written("e.jsonl", [embedding(str(n), ["x"] * 20_000) for n in range(5)])
    assert len(run("split", inputs, "parts").out.splitlines()) == 3


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    lines=st.lists(st.binary(max_size=60).map(lambda data: data.replace(b"\n", b"")), max_size=25),
    requests=st.integers(1, 9), most=st.integers(150, 400), end=st.sampled_from([b"", b"\n"]),
)  # fmt: skip
def test_parts_are_the_file(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], requests: int, most: int,
    end: bytes,
) -> None:  # fmt: skip
    folder = tmp_path_factory.mktemp("split")
    lines = [b'{"first": 1}', *lines]
    (folder / "all.jsonl").write_bytes(b"\n".join(lines) + end)
    pieces = split(folder / "all.jsonl", folder / "out", Wish("openai", requests, most))
    kept = [line.removesuffix(b"\r") for line in lines if line.strip()]
    whole = b"".join(piece.path.read_bytes() for piece in pieces)
    assert whole == b"".join(line + b"\n" for line in kept if line.strip())
    for piece in pieces:
        data = piece.path.read_bytes()
        assert (piece.bytes, piece.requests) == (len(data), data.count(b"\n"))
        assert piece.bytes <= most
        assert piece.requests <= requests


def test_nothing_is_overwritten_and_nothing_is_left_behind(run: Any) -> None:
    path = written("all.jsonl", [line("1"), line("2"), line("3", **body(user="x" * 900))])
    said = run("split", path, "out", "--part-bytes", "500", code=1)
    assert "Line 3 of 'all.jsonl' fits no part: 1.1 KB, 1 inputs." in said.err
    assert not Path("out").exists()
    run("split", path, "out")
    before = Path("out/all-1.jsonl").read_bytes()
    said = run("split", path, "out", "--part-requests", "1", code=1)
    assert "'out/all-1.jsonl' is there already. Name another folder." in said.err
    assert [(one.name, one.read_bytes()) for one in Path("out").iterdir()] == [
        ("all-1.jsonl", before)
    ]
    run("split", written("other.jsonl", [line()]), "out")


def test_limits_are_the_providers(run: Any) -> None:
    path = written("all.jsonl", [line()])
    most = CAPS["openai"].requests
    said = run("split", path, "out", "--part-requests", str(most + 1), code=2)
    assert "is above the cap of openai: 50,000" in said.err
    run("split", path, "out", "--part-requests", str(most + 1), "--provider", "azure")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "'wrong' is empty: there is nothing to cut."),
        (b"id and text\n", "'wrong' is not JSONL: its first line is not a JSON object."),
        (None, "No such file: 'wrong'."),
    ],
)
def test_what_cant_be_split(run: Any, data: bytes | None, sentence: str) -> None:
    if data is not None:
        written("wrong", data)
    assert run("split", "wrong", "out", code=1).err == f"Error: {sentence}\n"
    assert not Path("out").exists()


# extract


def rows_of(said: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(said.out)))


def test_lines_become_rows(run: Any) -> None:
    first = written("output.jsonl", [chat_line("b", "zwei\u2028"), chat_line("a", "eins")])
    second = written("error.jsonl", [error_line("c"), b'{"custom_id": "d", "resp'])
    said = run("extract", first, second, "--csv")
    assert [tuple(row.values())[:5] for row in rows_of(said)] == [
        ("b", "zwei\u2028", "ok", "", "stop"), ("a", "eins", "ok", "", "stop"),
        ("c", "", "http_error", "Bad luck.", ""),
        ("", "", "api_error", "the line is not a JSON object", ""),
    ]  # fmt: skip
    assert rows_of(said)[0]["prompt_tokens"] == "20"
    assert said.err == "4 rows: 2 ok, 1 http_error, 1 api_error.\n"


def test_rows_in_the_order_of_the_requests(run: Any) -> None:
    asked = written("asked.jsonl", [line(name, **body(messages=[
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": [{"type": "text", "text": f"about {name}"}]},
    ])) for name in "abc"])  # fmt: skip
    answers = written("a.jsonl", [
        error_line("c"), chat_line("c", {"mood": "good", "stars": 5}),
        chat_line("c", {"mood": "bad", "stars": 1}), chat_line("x", "y"),
        chat_line("a", {"mood": "none", "stars": 5}), b"{",
    ])  # fmt: skip
    said = run("extract", answers, "--requests", asked, "--schema", "mood good|bad, stars int",
               "--nl")  # fmt: skip
    found = [json.loads(row) for row in said.out.splitlines()]
    shown = [tuple(row[name] for name in ("custom_id", "prompt", "mood", "stars", "status"))
             for row in found]  # fmt: skip
    assert shown == [
        ("a", "about a", None, None, "schema_violation"),
        ("b", "about b", None, None, "missing"),
        ("c", "about c", "good", 5, "ok"),
    ]
    assert said.err.startswith("3 rows: 1 schema_violation, 1 missing, 1 ok. 3 lines left out:")


def test_only_some_columns(run: Any) -> None:
    path = written("a.jsonl", [chat_line("a", "eins"), error_line("b")])
    said = run("extract", path, "-c", "answer", "-c", "custom_id", "--csv")
    assert said.out == "answer,custom_id\neins,a\n,b\n"
    wrong = run("extract", path, "--requests", path, "-c", "custom", code=2)
    assert "No column 'custom'. Did you mean custom_id?" in wrong.err


def test_a_custom_id_that_was_asked_twice(run: Any) -> None:
    asked = written("asked.jsonl", [line("a"), line("a")])
    said = run("extract", written("a.jsonl", [chat_line("a", "x")]), "--requests", asked, code=1)
    assert "'asked.jsonl' has a custom_id twice" in said.err


def answer(reply: Any) -> bytes:
    response = {"status_code": 200, "request_id": "r", "body": reply}
    return json.dumps({"custom_id": "a", "response": response, "error": None}).encode()


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ({"object": "response", "status": "completed", "output": [
            {"type": "message", "content": [{"type": "output_text", "text": "one"}]}]}, "one"),
        ({"object": "text_completion", "choices": [{"text": "two", "finish_reason": "stop"}]},
         "two"),
        ({"object": "list", "data": [{"index": 0, "embedding": [0.5, -2.0]}]}, "[0.5, -2.0]"),
        ({"id": "modr-1", "results": [{"flagged": False}]}, '[{"flagged": false}]'),
    ],
)  # fmt: skip
def test_the_endpoint_shows_in_the_answers(run: Any, reply: Any, expected: str) -> None:
    said = run("extract", written("a.jsonl", [error_line("b"), answer(reply)]), "--csv")
    told = rows_of(said)[1]
    assert (told["status"], told["answer"].replace(" ", "")) == ("ok", expected.replace(" ", ""))


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"\n", "'wrong' is empty: there is no answer in it."),
        (b"id and text\n1\n", "'wrong' is not an output file of a batch: none of its 2 lines is a "
         "JSON object."),
        (line(), "'wrong' holds requests, not answers. Look at it with: sqlite-utils "
         "openai-batch validate wrong"),
        (None, "No such file: 'wrong'."),
    ],
)  # fmt: skip
def test_what_cant_be_extracted(run: Any, data: bytes | None, sentence: str) -> None:
    if data is not None:
        written("wrong", data)
    assert run("extract", "wrong", code=1).err == f"Error: {sentence}\n"


def test_answers_arent_validated(run: Any) -> None:
    said = run("validate", written("a.jsonl", [chat_line("a", "x")]), code=1)
    assert "'a.jsonl' holds answers, not requests." in said.err


def test_folders_are_no_files(run: Any) -> None:
    Path("folder").mkdir()
    for command in (("split", "folder", "out"), ("extract", "folder"), ("validate", "folder")):
        assert "'folder' is a folder. Name a file in it." in run(*command, code=1).err
    with pytest.raises(FileError):
        RequestFile(Path("folder"), "openai")
