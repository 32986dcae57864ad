"""`--requests FILE`: lines that somebody's own script wrote, through the whole way of a job."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import OpenAI

from sqlite_utils_openai_batch.base.errors import FileError
from sqlite_utils_openai_batch.jobs.files.own import NOTHING, Ids, OwnFile
from sqlite_utils_openai_batch.requests.values import json_bytes
from sqlite_utils_openai_batch.requests.verbatim import Shape, id_span, id_spans

CHAT = "/v1/chat/completions"
# Any text: the order of the file isn't theirs.
NOTES = (
    "CREATE TABLE notes (id INTEGER PRIMARY KEY, text); INSERT INTO notes (text) VALUES (1), (2)"
)
IDS = ("b/2", "a 1", "id_10", "id_9", "Ünï – 3", "00012")


def request(custom_id: str, text: str | None = None, **body: Any) -> dict[str, Any]:
    said = {"role": "user", "content": text or f"about {custom_id}"}
    return {
        "custom_id": custom_id,
        "method": "POST",
        "url": CHAT,
        "body": {"model": "gpt-4o-mini", "messages": [said], **body},
    }


def write(name: str, lines: list[Any], end: str = "\n") -> str:
    texts = [one if isinstance(one, str) else json.dumps(one) for one in lines]
    Path(name).write_text("\n".join(texts) + end)
    return name


def sent(server: Any, key: str) -> list[bytes]:
    """Every line that was uploaded under a key, in the order of the files."""
    found = []
    with closing(OpenAI(base_url=server.base_url, api_key=key)) as client:
        for file in client.files.list(purpose="batch", order="asc"):
            found += client.files.content(file.id).content.splitlines(keepends=True)
    return found


@pytest.fixture
def notes(run: Any) -> str:
    """A database with a table, in one journal mode: nothing here goes by it."""
    with closing(sqlite3.connect("data.db")) as conn:
        conn.executescript(NOTES)
    return "data.db"


def asked(answer: str) -> str:
    return answer.partition(": ")[2]


# The whole way


def test_each_line_is_answered_under_its_custom_id(run: Any, rows: Any) -> None:
    write("mine.jsonl", [request(one) for one in IDS])

    said = run("run", "new.db", "--requests", "mine.jsonl", *run.there)

    assert "6 of 6 rows answered" in said.err
    assert "Written to mine.answer" in said.err
    found = rows("new.db", "SELECT custom_id, answer FROM mine")
    assert [one for one, _ in found] == list(IDS)
    assert all(asked(answer) == f"about {one}" for one, answer in found)
    shown = csv.DictReader(io.StringIO(run("results", "new.db", "--csv").out))
    assert [(one["custom_id"], asked(one["answer"])) for one in shown] == [
        (one, f"about {one}") for one in IDS
    ]


def test_the_bytes_go_out_as_they_came_but_for_the_id(run: Any, server: Any) -> None:
    lines = [
        '{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"m",'
        '"messages":[{"role":"user","content":"caf\\u00e9 \\ud83d\\ude00 1.0"}],"x":1.50}}',
        '{ "body": {"messages" : [{"content": "\\"custom_id\\": \\"no\\"", "role": "user"}],'
        ' "model": "m", "seed": 12345678901234567890 }, "url": "/v1/chat/completions",'
        ' "method": "POST",  "custom_id" : "b \\"q\\"" , "note": null}',
        '{"custom_id": "c", "method": "POST", "url": "/v1/chat/completions", "body": {"model": '
        '"m", "messages": [{"role": "user", "content": "é😀"}], "temperature": 1e-1}}',
    ]
    write("mine.jsonl", lines)

    run("run", "new.db", "--requests", "mine.jsonl", *run.there, "--key", "bytes")

    out = sent(server, "bytes")
    assert len(out) == 3
    for line, came in zip(out, lines, strict=True):
        ours = json.dumps(json.loads(line)["custom_id"])
        theirs = came[slice(*id_span_of(came))]
        assert line.decode() == came.replace(theirs, ours) + "\n"


def id_span_of(line: str) -> tuple[int, int]:
    start, end = id_span(line.encode())
    before = line.encode()[:start].decode()
    return len(before), len(before) + len(line.encode()[start:end].decode())


def test_it_is_cut_into_parts_in_the_order_of_the_file(run: Any, server: Any, rows: Any) -> None:
    texts = [f"number {n}" for n in range(12)]
    write("mine.jsonl", [request(f"id-{n}", text) for n, text in enumerate(texts)])

    run("run", "new.db", "--requests", "mine.jsonl", *run.there, "--key", "parts",
        "--part-requests", "5")  # fmt: skip

    assert rows("new.db", "SELECT number, requests FROM openai_batch_parts") == [
        (1, 5), (2, 5), (3, 2),
    ]  # fmt: skip
    out = [json.loads(line)["body"]["messages"][0]["content"] for line in sent(server, "parts")]
    assert sorted(out, key=lambda one: int(one.split()[1])) == texts
    assert {out.index(f"number {n + 1}") - out.index(f"number {n}") for n in range(4)} == {1}


@pytest.mark.parametrize("option", ["--output", "--output-table"])
def test_a_table_of_answers_of_its_own(run: Any, rows: Any, option: str) -> None:
    write("mine.jsonl", [request(one) for one in IDS])

    run("run", "new.db", "--requests", "mine.jsonl", option, "labels", *run.there)

    found = rows("new.db", "SELECT custom_id, answer FROM labels")
    assert sorted(one for one, _ in found) == sorted(IDS)
    assert all(asked(answer) == f"about {one}" for one, answer in found)
    key = rows("new.db", "SELECT name FROM pragma_table_info('labels') WHERE pk")
    assert key == [("custom_id",)]
    assert rows("new.db", "SELECT name FROM pragma_table_info('mine')") == [
        ("custom_id",), ("request",),
    ]  # fmt: skip


def test_a_schema_checks_the_answers_and_changes_no_request(
    run: Any, rows: Any, server: Any
) -> None:
    answers = ['{"mood": "good"}', '{"mood": "so so"}', "no"]
    write("mine.jsonl", [request(str(n), text) for n, text in enumerate(answers)])

    run("run", "new.db", "--requests", "mine.jsonl", "--schema", "mood good|bad", *run.there,
        "--key", "schema", code=3)  # fmt: skip

    statuses = rows("new.db", "SELECT status FROM openai_batch_requests ORDER BY id")
    # The server repeats a prompt after words of its own, so no answer is JSON here.
    assert statuses == [("invalid_json",)] * 3
    assert all("response_format" not in json.loads(one)["body"] for one in sent(server, "schema"))


@pytest.mark.parametrize("way", ["gz", "stdin", "crlf", "mark and no end"])
def test_however_it_comes(run: Any, rows: Any, way: str) -> None:
    text = "".join(json.dumps(request(one)) + "\n" for one in IDS)
    name = given = "mine.jsonl"
    if way == "gz":
        name = "mine.jsonl.gz"
        Path(name).write_bytes(gzip.compress(text.encode()))
    elif way == "stdin":
        name = "-"
        Path(given).write_text(text)
    elif way == "crlf":
        Path(name).write_bytes(text.replace("\n", "\r\n").encode())
    else:
        Path(name).write_bytes(b"\xef\xbb\xbf\n" + text.rstrip("\n").encode())

    if way == "stdin":
        with Path(given).open() as file:
            run.process("run", "new.db", "--requests", name, *run.there, stdin=file)
    else:
        run("run", "new.db", "--requests", name, *run.there)

    table = "requests" if way == "stdin" else "mine"
    found = rows("new.db", f"SELECT custom_id, answer FROM {table}")
    assert [(one, asked(answer)) for one, answer in found] == [(one, f"about {one}") for one in IDS]


def test_another_endpoint(run: Any, rows: Any) -> None:
    line = request("x") | {"url": "/v1/embeddings", "body": {"model": "e", "input": "a"}}
    write("mine.jsonl", [line, line | {"custom_id": "y"}])

    run("run", "new.db", "--requests", "mine.jsonl", *run.there)

    assert rows("new.db", "SELECT endpoint, model FROM openai_batch_jobs") == [
        ("/v1/embeddings", "e")
    ]
    assert rows("new.db", "SELECT custom_id, typeof(answer) FROM mine")[0] == ("x", "blob")


@pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16le", "UTF-16be"])
def test_a_database_of_any_encoding(run: Any, rows: Any, encoding: str) -> None:
    with closing(sqlite3.connect("new.db")) as conn:
        conn.executescript(f"PRAGMA encoding = '{encoding}'; {NOTES}")
    lines = [json.dumps(request(one, "東京 é 😀"), ensure_ascii=False) for one in IDS]
    write("mine.jsonl", lines)

    run("run", "new.db", "--requests", "mine.jsonl", *run.there)

    found = rows("new.db", "SELECT custom_id, request, typeof(request), answer FROM mine")
    assert [one[:3] for one in found] == [
        (one, line, "text") for one, line in zip(IDS, lines, strict=True)
    ]
    assert {asked(one[3]) for one in found} == {"東京 é 😀"}


# Lines that are like one that was checked

SPACED = json.dumps(request("first", max_tokens=5))
DENSE = json.dumps(request("first"), separators=(",", ":"))
OTHERS = {
    "an input": {**request("first"), "body": {"model": "gpt-4o-mini", "input": "x"}},
    "two messages": {
        **request("first"),
        "body": {
            "messages": [{"role": "system", "content": "é"}, {"content": "x", "role": "user"}],
            "model": "gpt-4o-mini",
        },
    },
    "parts": {
        **request("first"),
        "body": {
            "model": "gpt-4o-mini",
            "messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}],
        },
    },
}
# What may stand where others have a custom_id or a text: right, and wrong in every way.
PIECES = st.sampled_from(
    [
        b'"', b"\\", b'\\"', b"\\u0063", b"\\ud83d\\ude00", b"\\ud83d", b"\\x", b"\xff",
        b"\xed\xa0\x80", b"\t", b"\x00", "é東😀".encode(), b"custom_id", b'"custom_id": "no"',
        b"1e400", b"NaN", b"01", b"null", b"[", b"]", b"{", b"}", b",", b": ", b'"stream": true',
        b'"model": "other"', b" ", b"a", b'"}], "stream": true, "x": [{"y": "',
        b'", "custom_id": "b',
    ]
)  # fmt: skip
WHOLE = st.sampled_from(
    [b"", b'""', b'"a"', b"null", b"1", b"1e400", b"[]", b"[1,]", b"{}", b'"a" ', b'"a","b"',
     b"9" * 400, b"[" * 1021 + b"]" * 1021, b'"\xff"', b'"\\ud83d"']
)  # fmt: skip
ODD = st.lists(PIECES, max_size=4).map(b"".join)


@given(
    first=st.sampled_from([SPACED, DENSE, *map(json.dumps, OTHERS.values())]),
    ids=st.lists(st.one_of(ODD, st.just(b"id")), min_size=1, max_size=3),
    said=st.one_of(WHOLE, ODD, ODD.map(lambda one: b'"%b"' % one)),
    cut=st.integers(0, 3),
)
def test_a_line_that_is_like_another_is_as_right_as_it(
    first: str, ids: list[bytes], said: bytes, cut: int
) -> None:
    shape = Shape.of(first.encode())
    if first == json.dumps(OTHERS["parts"]):
        # Only text is looked at so.
        assert shape is None
        return
    assert shape is not None
    lines = [
        shape.start + one + shape.middle + said + shape.end[: len(shape.end) - cut] for one in ids
    ]

    found = shape.custom_ids(lines)

    file = OwnFile(Path(__file__), "openai", "none")
    body = json.loads(first)["body"]
    file.endpoint = "/v1/responses" if "input" in body else CHAT
    file.model = body["model"]
    file.right = json_bytes(file.without_words(json.loads(first)["body"]))
    plain, problems = [], []
    for line in lines:
        if file.endpoint != CHAT:
            line = line.replace(CHAT.encode(), b"/v1/responses")
        plain.append(file.usual(line))
        problems += file.line(1, line, Ids())
    assert NOTHING in plain or not problems
    if found is None:
        # Only what needs a look of its own is left to it.
        assert cut or said != b'"a"' or set(ids) != {b"id"}
        return
    assert NOTHING not in plain
    assert found == [custom_id for custom_id, _ in plain]
    assert [line[start:end].decode() for line, (start, end) in
            zip(lines, id_spans(lines), strict=True)] == [
        f'"{one.decode()}"' for one in ids
    ]  # fmt: skip
    for _, other in plain:
        assert other is not None
        assert json_bytes(other) == file.right


# What a provider refuses, in a line that stands behind many that are right.
FAR_BEHIND: dict[str, tuple[Any, str]] = {
    "the same id": (request("id-7"), "custom_id 'id-7' is that of line 8 too"),
    "two models": (request("b", model="gpt-4o"), "body.model is 'gpt-4o', in line 1 it is"),
    "a stream": (request("b", stream=True), "body.stream is set"),
    "a line cut at the end": (json.dumps(request("b"))[:-3], "no JSON"),
    "too warm": (request("b", temperature=5), "body.temperature must be"),
    "a number as text": (request("b", temperature="0.5"), "body.temperature must be"),
    "a switch for a number": (request("b", max_tokens=True), "body.max_tokens must be"),
    "another endpoint's name": (request("b", max_output_tokens=5), "body.max_output_tokens"),
    "both names": (request("b", input="x"), "body.input"),
    "an effort": (request("b", reasoning_effort="low"), "body.reasoning_effort"),
    "metadata": (request("b", metadata={"n": 1}), "body.metadata.n must be text"),
    "no role": (request("b", messages=[{"content": "x"}]), r"body.messages[0].role is missing"),
    "no text": (request("b", messages=[{"role": "user"}]), "body.messages[0].content is missing"),
    "a number": (
        request("b", messages=[{"role": "user", "content": 5}]),
        "body.messages[0].content must be text",
    ),
    "no messages": (request("b", messages=[]), "body.messages must be"),
    "text for messages": (request("b", messages="x"), "body.messages must be"),
    "a schema that isn't strict": (
        request(
            "b",
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "a", "strict": True, "schema": {"type": "object"}},
            },
        ),
        "body.response_format",
    ),
    "JSON mode without the word": (
        request("b", "x", response_format={"type": "json_object"}),
        "body.response_format is JSON mode",
    ),
}


@pytest.mark.parametrize("alike", [True, False])
@pytest.mark.parametrize("kind", FAR_BEHIND)
def test_what_is_wrong_far_behind_lines_that_are_right(run: Any, kind: str, alike: bool) -> None:
    bad, words = FAR_BEHIND[kind]
    # Lines of one shape; or of no shape, where the text comes before the id.
    right = [request(f"id-{n}", max_tokens=1) for n in range(2_000)]
    if not alike:
        right = [dict(reversed(one.items())) for one in right]
    name = write("mine.jsonl", [*right[:1_600], bad, *right[1_600:]])

    with pytest.raises(FileError) as told:
        OwnFile(Path(name), "openai", name).check()

    assert "'mine.jsonl' can't be sent: 1 problem." in str(told.value)
    assert re.search(rf"line 1,601 +{re.escape(words)}", str(told.value))


def test_a_file_that_is_written_to_while_it_is_read(
    run: Any, notes: Any, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("mine.jsonl", [request(one) for one in ("a", "b")])
    check = OwnFile.check

    def then_written(file: OwnFile) -> None:
        check(file)
        data = Path("mine.jsonl").read_bytes()
        # As many lines as before, of as many bytes.
        Path("mine.jsonl").write_bytes(data.replace(b"about", b"ab\xffut"))

    monkeypatch.setattr(OwnFile, "check", then_written)

    said = run("prepare", notes, "--requests", "mine.jsonl", *run.there[:2], code=1)

    assert "'mine.jsonl' has changed while it was read. Nothing was sent" in said.err
    assert rows(notes, "SELECT name FROM sqlite_master WHERE name NOT LIKE 'openai_batch%'") == [
        ("notes",)
    ]


# Before and after it


def test_preview_writes_nothing(run: Any, notes: Any, unchanged: Any) -> None:
    write("mine.jsonl", [request(one) for one in IDS])
    check = unchanged(notes)

    said = run("preview", notes, "--requests", "mine.jsonl", "-n", "1", "--raw")

    assert json.loads(said.out)["body"] == request("b/2")["body"]
    assert "6 rows in mine · 6 to ask" in said.err
    check()
    run("preview", "new.db", "--requests", "mine.jsonl", "--output", "labels")
    assert not Path("new.db").exists()


def test_prepared_and_exported_and_submitted(run: Any, notes: Any, rows: Any) -> None:
    write("mine.jsonl", [request(one) for one in IDS])
    run("prepare", notes, "--requests", "mine.jsonl", *run.there[:2])
    Path("mine.jsonl").unlink()

    run("export-requests", notes, "1", "out")
    run("submit", notes, "1", "-y")
    run("watch", notes, "--poll", "0.05")

    (file,) = Path("out").iterdir()
    assert len(file.read_bytes().splitlines()) == 6
    found = rows(notes, "SELECT custom_id, answer FROM mine")
    assert all(asked(answer) == f"about {one}" for one, answer in found)


def test_failed_ones_are_asked_again_with_a_change(run: Any, rows: Any, server: Any) -> None:
    write("mine.jsonl", [request("a", "[cut] x", max_tokens=300), request("b", "fine")])
    run("run", "new.db", "--requests", "mine.jsonl", *run.there, "--key", "again", code=3)

    run("retry", "new.db", "1", "--set", "max_tokens=800", "-y", "--poll", "0.05",
        "--key", "again", code=3)  # fmt: skip

    again = json.loads(sent(server, "again")[-1])
    assert again["body"] == request("a", "[cut] x", max_tokens=800)["body"]
    found = rows("new.db", "SELECT row_key, status FROM openai_batch_requests ORDER BY id")
    assert found == [("a", "truncated"), ("b", "ok")]


def test_the_same_file_again_asks_only_what_is_new(run: Any, rows: Any, server: Any) -> None:
    lines = [request(one) for one in IDS]
    write("mine.jsonl", lines[:4])
    run("run", "new.db", "--requests", "mine.jsonl", *run.there)
    write("mine.jsonl", [lines[4], *lines[:4], lines[5]])

    refused = run("run", "new.db", "--requests", "mine.jsonl", *run.there, code=1)
    run("run", "new.db", "--requests", "mine.jsonl", "--missing", *run.there, "--key", "new")

    assert "already holds values in 4 rows" in refused.err
    assert len(sent(server, "new")) == 2
    found = dict(rows("new.db", "SELECT custom_id, answer FROM mine"))
    assert list(found) == [*IDS[:4], *IDS[4:]]
    assert all(asked(answer) == f"about {one}" for one, answer in found.items())


def test_other_lines_get_another_table(run: Any, rows: Any) -> None:
    write("mine.jsonl", [request("a", "first")])
    run("run", "new.db", "--requests", "mine.jsonl", *run.there)
    write("mine.jsonl", [request("a", "second")])

    refused = run("run", "new.db", "--requests", "mine.jsonl", "--missing", *run.there, code=1)
    run("run", "new.db", "--requests", "mine.jsonl", *run.there)
    run("run", "new.db", "third", "--requests", "mine.jsonl", *run.there)

    assert "Table 'mine' has another request for the custom_id 'a'" in refused.err
    for table, text in (("mine", "first"), ("mine_2", "second"), ("third", "second")):
        ((answer,),) = rows("new.db", f"SELECT answer FROM {table}")
        assert asked(answer) == text


def test_a_table_of_something_else_is_left_alone(run: Any, notes: Any, rows: Any) -> None:
    write("notes.jsonl", [request("a")])

    refused = run("run", notes, "notes", "--requests", "notes.jsonl", *run.there, code=1)
    run("run", notes, "--requests", "notes.jsonl", *run.there)

    assert "Table 'notes' is one of something else" in refused.err
    assert rows(notes, "SELECT count(*) FROM notes") == [(2,)]
    assert rows(notes, "SELECT custom_id FROM notes_2") == [("a",)]


def test_an_unfinished_job_of_the_same_file_is_named(run: Any, rows: Any) -> None:
    write("mine.jsonl", [request("a")])
    run("prepare", "new.db", "--requests", "mine.jsonl", *run.there[:2])

    said = run("run", "new.db", "--requests", "mine.jsonl", *run.there, code=1)

    assert "Job 1 asks the same of mine and isn't finished" in said.err
    assert rows("new.db", "SELECT count(*) FROM mine") == [(1,)]


def test_nothing_is_left_of_what_was_declined(terminal: Any, run: Any, rows: Any) -> None:
    write("mine.jsonl", [request("a")])
    screen = terminal("run", "new.db", "--requests", "mine.jsonl", *run.there[:2])
    screen.answer("Send? [y/N]", "n\n")
    screen.end(0)

    tables = rows("new.db", "SELECT name FROM sqlite_master WHERE name NOT LIKE '%openai_batch%'")
    assert ("mine",) not in tables


def test_the_ceiling_holds_by_the_longest_answer(run: Any) -> None:
    write("mine.jsonl", [request("a", max_tokens=10), request("b", max_tokens=16_000)])

    said = run("run", "new.db", "--requests", "mine.jsonl", *run.there[:2], "--max-cost", "0.001",
               "--price-as", "gpt-4o-mini", code=2)  # fmt: skip

    assert "can't hold" in said.err
    assert 'Write "max_tokens": ' in said.err
    assert not Path("new.db").exists() or b"mine" not in Path("new.db").read_bytes()[:4096]


@pytest.mark.parametrize("place", [0, 7, 15])
def test_the_ceiling_holds_by_the_most_answers(run: Any, place: int) -> None:
    """One line without a cap asks for 100 answers."""
    lines = [request(f"l{n}", **({"n": 100} if n == place else {})) for n in range(16)]
    write("mine.jsonl", lines)
    said = run("run", "new.db", "--requests", "mine.jsonl", *run.there[:2], "--max-cost", "1",
               "--price-as", "gpt-4o-mini", code=2)  # fmt: skip
    # 16,384 tokens × 100 × $0.30 a million for each of them, at most
    assert "can't hold" in said.err


def test_like_takes_the_lines_up_again(run: Any, rows: Any, server: Any) -> None:
    write("mine.jsonl", [request(one) for one in IDS])
    run("run", "new.db", "--requests", "mine.jsonl", *run.there)

    run("run", "new.db", "--like", "1", "--output", "second", *run.there, "--key", "like")

    assert len(sent(server, "like")) == 6
    found = rows("new.db", "SELECT custom_id, answer FROM second")
    assert all(asked(answer) == f"about {one}" for one, answer in found)


def test_rows_of_it_are_chosen_as_ever(run: Any, rows: Any) -> None:
    write("mine.jsonl", [request(one) for one in IDS])

    run("run", "new.db", "--requests", "mine.jsonl", "--where", "custom_id LIKE 'id%'",
        "--limit", "1", *run.there)  # fmt: skip

    assert rows("new.db", "SELECT custom_id FROM mine WHERE answer NOT NULL") == [("id_10",)]


def test_reports_and_command_lines_tell_where_requests_come_from(run: Any) -> None:
    write("mine.jsonl", [request(one, max_tokens=300) for one in IDS])
    run("run", "new.db", "--requests", "mine.jsonl", *run.there)

    report = run("report", "new.db").out

    assert "each request is the text in column `request`, sent as it stands there." in report
    assert "In all of them: `max_tokens` `300`" in report


def test_a_schema_and_a_table_of_its_own(run: Any, rows: Any) -> None:
    write("mine.jsonl", [request(one) for one in IDS])

    said = run("preview", "new.db", "--requests", "mine.jsonl", "--schema", "mood good|bad, score",
               "--output", "labels")  # fmt: skip

    assert "labels.mood TEXT, labels.score TEXT (table labels)" in said.err


def test_an_id_elsewhere_in_a_line_is_left_alone(run: Any, server: Any) -> None:
    lines = [
        request("a", 'Say "custom_id": "a"'),
        request("b", "x", metadata={"custom_id": "b"}),
        {
            "body": request("c", "custom_id")["body"],
            "custom_id": "c",
            "url": CHAT,
            "method": "POST",
        },
    ]
    write("mine.jsonl", lines)

    run("run", "new.db", "--requests", "mine.jsonl", *run.there, "--key", "else")

    bodies = [json.loads(one)["body"] for one in sent(server, "else")]
    assert bodies == [one["body"] for one in lines]


# What is wrong with a file

A = json.dumps(request("a"))
BAD: dict[str, tuple[list[Any], list[str]]] = {
    "no JSON": ([A, A[:40], "x"], [
        "2 problems", "line 2      no JSON: unexpected end of data at character 41", "line 3 ",
    ]),
    "a line cut at the end": ([A, request("b"), A[:-20]], ["line 3      no JSON"]),
    "the same id": ([A, request("b"), A], ["line 3      custom_id 'a' is that of line 1 too"]),
    "two ids in a line": (
        [A, '{"custom_id": "b",' + A[1:].replace('"a"', '"c"')],
        ["line 2      custom_id is there twice"],
    ),
    "an id hidden behind an escape": (
        [A, '{"custom\\u005fid": "b",' + A[1:].replace('"a"', '"c"')],
        ["line 2      custom_id is there twice"],
    ),
    "two models": (
        [A, request("b", model="gpt-4o")],
        ["line 2      body.model is 'gpt-4o', in line 1 it is 'gpt-4o-mini'"],
    ),
    "two endpoints": (
        [A, request("b") | {"url": "/v1/embeddings"}],
        ["line 2      url is '/v1/embeddings', in line 1 it is '/v1/chat/completions'"],
    ),
    "a stream": ([request("a", stream=True)], ["line 1      body.stream is set"]),
    "no id": ([{**request("a"), "custom_id": None}], ["line 1      custom_id is missing"]),
    "a number for an id": ([{**request("a"), "custom_id": 7}], ["line 1      custom_id is not a"]),
    "nothing": ([""], ["whole file  there is no request in it"]),
    "many": ([A, *["x"] * 7], ["7 problems", "line 6 ", "… and 2 more"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("packed", [False, True])
def test_a_bad_file_is_refused_with_its_lines(
    run: Any, notes: Any, unchanged: Any, kind: str, packed: bool
) -> None:
    lines, words = BAD[kind]
    name = write("mine.jsonl", lines)
    if packed:
        data = gzip.compress(Path(name).read_bytes())
        name = "mine.jsonl.gz"
        Path(name).write_bytes(data)
    check = unchanged(notes)

    said = run("run", notes, "--requests", name, *run.there, code=1)

    assert f"'{name}' can't be sent: " in said.err
    for word in (*words, "Nothing was sent."):
        assert word in said.err
    check()


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("gone.jsonl", None, "No such file: 'gone.jsonl'."),
        ("cut.jsonl.gz", gzip.compress(A.encode() * 99)[:-30], "'cut.jsonl.gz' is cut or damaged"),
        ("answers.jsonl", b'{"custom_id": "a", "response": {}}\n', "holds answers, not requests"),
    ],
)
def test_a_file_that_is_none(
    run: Any, notes: Any, unchanged: Any, name: str, data: bytes | None, words: str
) -> None:
    if data is not None:
        Path(name).write_bytes(data)
    check = unchanged(notes)

    said = run("run", notes, "--requests", name, *run.there, code=1)

    assert words in said.err
    check()


MINE = [request("a"), request("b")]


@pytest.mark.parametrize(
    ("text", "kind", "form"),
    [
        (json.dumps(MINE), "a JSON list", "jq -c '.[]'"),
        (json.dumps(MINE, indent=2), "a JSON list", "jq -c '.[]'"),
        (json.dumps(MINE[0], indent=2), "printed over several lines", "jq -c ."),
        ("\n".join(json.dumps(one, indent=1) for one in MINE), "printed over", "jq -c ."),
    ],
    ids=["list", "list over lines", "object over lines", "objects over lines"],
)
@pytest.mark.parametrize("way", ["file", "gzip", "stdin"])
def test_json_that_is_not_one_a_line_is_told_with_the_mend(
    run: Any, notes: Any, unchanged: Any, text: str, kind: str, form: str, way: str
) -> None:
    Path("mine.json").write_text(text)
    Path("mine.json.gz").write_bytes(gzip.compress(text.encode()))
    check = unchanged(notes)
    given = {"file": "mine.json", "gzip": "mine.json.gz", "stdin": "-"}[way]
    with Path("mine.json").open() as file:
        begin = partial(run.process, stdin=file) if way == "stdin" else run
        said = begin("run", notes, "--requests", given, *run.there, code=1)
    assert kind in said.err
    mend = {"file": f"{form} mine.json > mine-lines.jsonl", "stdin": f"go through: {form}",
            "gzip": f"gzip -dc mine.json.gz | {form} > mine-lines.jsonl"}[way]  # fmt: skip
    assert said.err.endswith(f"{mend}\n"), said.err
    assert "line 2" not in said.err
    check()


@pytest.mark.parametrize(
    "options",
    [("--prompt", "{{ a }}"), ("-m", "gpt-4o"), ("-o", "max_tokens", "5"), ("--sql", "SELECT 1"),
     ("--template", "t.json"), ("--endpoint", "/v1/responses"), ("-s", "Be brief.")],
)  # fmt: skip
def test_options_that_would_change_the_lines(
    run: Any, notes: Any, unchanged: Any, options: tuple[str, ...]
) -> None:
    write("mine.jsonl", [A])
    check = unchanged(notes)

    said = run("run", notes, "--requests", "mine.jsonl", *options, *run.there, code=2)

    assert "each line is sent as it is, so leave" in said.err
    check()


def test_a_row_that_was_spoiled_since_costs_only_itself(run: Any, rows: Any) -> None:
    write("mine.jsonl", [request(one) for one in ("a", "b", "c", "d")])
    run("prepare", "new.db", "--requests", "mine.jsonl", *run.there[:2])

    with closing(sqlite3.connect("new.db")) as conn:
        conn.executescript(
            "UPDATE mine SET request = '{\"custom_id\": ' WHERE custom_id = 'a';"
            "UPDATE mine SET request = '[1]' WHERE custom_id = 'b';"
            "UPDATE mine SET request = x'00ff' WHERE custom_id = 'c';"
        )

    run("submit", "new.db", "1", "-y", code=3)

    found = dict(rows("new.db", "SELECT row_key, status FROM openai_batch_requests"))
    assert found == {"a": "unrenderable", "b": "unrenderable", "c": "unrenderable", "d": "ok"}
