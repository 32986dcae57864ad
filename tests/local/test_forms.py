"""Lines that are alike are read and answered together: each as it would be by itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqlite_utils_openai_batch.local import ServerLimits, SimulatedAnswerer
from sqlite_utils_openai_batch.local.batches.answering import _Desk
from sqlite_utils_openai_batch.local.batches.validate import Validator
from sqlite_utils_openai_batch.local.batches.work import Results
from sqlite_utils_openai_batch.local.protocol.lines import (
    CUSTOM_ID,
    LAST_TEXT,
    Form,
    Line,
    parse_line,
)

from .bench import CHAT, RESPONSES, chat, request_line, request_lines

SCHEMA = {
    "type": "object",
    "properties": {
        "mood": {"enum": ["good", "bad"]},
        "score": {"type": "integer", "maximum": 9},
        "note": {"type": "string"},
        "next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
    },
    "required": ["mood", "score", "note", "next"],
    "additionalProperties": False,
}
NAMED = {"name": "answer", "strict": True, "schema": SCHEMA}


class OneByOne(SimulatedAnswerer):
    """Answers as any class that somebody made of it: each line by itself."""


def desk(answerer: SimulatedAnswerer) -> _Desk:
    run = SimpleNamespace(id="batch_" + "0123456789abcdef" * 2, bound_faults={})
    return _Desk(cast(Any, run), answerer)


def answers(answerer: SimulatedAnswerer, lines: Sequence[Line]) -> Results:
    return desk(answerer).answer(list(lines))


def numbered(lines: str) -> list[Line]:
    return list(enumerate(lines.encode().splitlines(), 1))


TEXTS = st.text() | st.sampled_from(["", '"', "\\", "\x00", "é", "🙂", LAST_TEXT, "%b %d %", '","'])
OTHERS = [{"role": "system", "content": "You\x7f are 100% \u2028 terse."},
          {"role": "assistant", "content": CUSTOM_ID}]  # fmt: skip


@st.composite
def files(draw: st.DrawFn) -> str:
    """A file whose lines differ in a few places, nearly all of them in those of a form."""
    endpoint = draw(st.sampled_from([CHAT, RESPONSES]))
    role = draw(st.sampled_from(["user", "user", "assistant", "system"]))
    before = draw(st.lists(st.sampled_from(OTHERS), max_size=2))
    more = draw(st.fixed_dictionaries({}, optional={
        "n": st.sampled_from([1, 2, None]),
        "seed": st.integers(0, 5),
        "max_completion_tokens" if endpoint == CHAT else "max_output_tokens":
            st.sampled_from([20, 10_000]),
        "response_format": st.sampled_from(
            [{"type": "json_schema", "json_schema": NAMED}, {"type": "text"},
             {"type": "json_object"}, {"type": "json_schema", "json_schema": {"name": "a"}}]),
        "text": st.just({"format": {"type": "json_schema", **NAMED}}),
        "instructions": st.sampled_from([LAST_TEXT, CUSTOM_ID, "Be brief."]),
        "logprobs": st.just(True),
    }))  # fmt: skip
    lines = []
    for number in range(draw(st.integers(1, 12))):
        text = draw(TEXTS)
        asked: Any = [*before, {"role": role, "content": text}]
        if endpoint == RESPONSES and not before:
            asked = text
        name = "messages" if endpoint == CHAT else "input"
        body = {"model": "gpt-4o-mini", name: asked, **more}
        if draw(st.integers(0, 9)) == 0:
            body["user"] = "another"
        custom_id = draw(st.sampled_from([f"r-{number}", f'"{number}', f"ü{number}", "r-1"]))
        lines.append(request_line(custom_id, body, endpoint))
    return "".join(lines)


@settings(deadline=None)
@given(files(), st.booleans(), st.integers(0, 3))
def test_answers_are_those_of_each_line(lines: str, echo: bool, seed: int) -> None:
    together = answers(SimulatedAnswerer(seed, echo=echo), numbered(lines))
    one_by_one = answers(OneByOne(seed, echo=echo), numbered(lines))
    assert (together.output, together.errors) == (one_by_one.output, one_by_one.errors)
    assert together.counts == one_by_one.counts


@settings(deadline=None)
@given(files())
def test_faults_found_are_those_of_each_line(lines: str) -> None:
    found = []
    for alike in (True, False):
        validator = Validator(json.loads(lines.splitlines()[0])["url"], ServerLimits())
        for block in [numbered(lines)] if alike else [[line] for line in numbered(lines)]:
            if not alike:
                validator._form = None
            validator.lines(block)
        found.append((validator.errors, validator.total, validator.tokens, validator.model))
    assert found[0] == found[1]


@settings(deadline=None)
@given(st.data())
def test_what_is_read_of_a_line_is_what_it_says(data: st.DataObject) -> None:
    line = request_line("r-1", chat("What?", n=1)).encode().strip()
    form = Form.of(line, orjson.loads(line))
    assert form is not None
    at = data.draw(st.integers(0, len(line)))
    until = data.draw(st.integers(at, min(at + 3, len(line))))
    odd = st.sampled_from([b'"', b"\\", b'","', b'\\","', b"\xff", b"\x01", b"\\ud800", b"}", b""])
    changed = line[:at] + data.draw(odd | st.binary(max_size=3)) + line[until:]
    if (found := form.read([line, changed, line])) is not None:
        (_, custom_id, _), (_, text, _) = found
        said = parse_line(changed)
        assert said is not None
        assert (said["custom_id"], said["body"]["messages"][0]["content"]) == (custom_id, text)
        said["custom_id"], said["body"]["messages"][0]["content"] = CUSTOM_ID, LAST_TEXT
        assert orjson.dumps(said) == orjson.dumps(form.request)


@pytest.mark.parametrize(
    "texts",
    [
        (b"abc\\", b',"x'),
        (b'a","b', b""),
        (b'"', b'"'),
    ],
)
def test_texts_that_are_none_do_not_make_up_for_each_other(texts: tuple[bytes, bytes]) -> None:
    line = request_line("r-1", chat("What?")).encode().strip()
    form = Form.of(line, orjson.loads(line))
    assert form is not None
    assert form.read([line.replace(b"What?", text) for text in texts]) is None


@pytest.mark.parametrize("line", [
    '{"custom_id":"a","method":"POST","url":"%s","body":{"model":"m","messages":'
    '[{"role":"user","content":"x"}]},"custom_id":"b"}',
    '{"custom_id":"a","method":"POST","url":"%s","body":{"model":"m","messages":'
    '[{"role":"user","content":"x"}],"metadata":{"content":"y"}}}',
    '{"custom_id":"a","method":"POST","url":"%s","body":{"model":"m","messages":'
    '[{"role":"user","content":"x","content":[]}]}}',
    '{"body":{"model":"m","messages":[{"role":"user","content":"x"}]},"custom_id":"a"}',
])  # fmt: skip
def test_a_line_with_its_blanks_elsewhere_has_no_form(line: str) -> None:
    data = line.replace("%s", CHAT).encode()
    assert Form.of(data, orjson.loads(data)) is None


def test_lines_that_are_alike_are_answered_together(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    plain = SimulatedAnswerer.answer_now

    def answer_now(self: Any, url: str, body: Any, custom_id: str) -> Any:
        asked.append(custom_id)
        return plain(self, url, body, custom_id)

    monkeypatch.setattr(SimulatedAnswerer, "answer_now", answer_now)
    alike = [chat(f"row {n}") for n in range(500)]
    alike[300] = chat("row 300", user="another")
    results = answers(SimulatedAnswerer(), numbered(request_lines(alike)))
    assert len(results.output) == 500
    assert asked == ["r-1", "r-301"]
