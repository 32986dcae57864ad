"""`--confidence`: how sure the model is of a label, by the probabilities of its tokens."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from sqlite_utils_openai_batch.answers.confidence import Confidence, labels_of, values_in
from sqlite_utils_openai_batch.answers.schema import AnswerSchema
from sqlite_utils_openai_batch.local import Answer, LocalServer, SimulatedAnswerer

SCHEMA = "mood good|bad|mixed, sure bool, note"


def token(text: str, share: float, others: Mapping[str, float] | None = None) -> dict[str, Any]:
    found = {"token": text, "logprob": math.log(share), "bytes": list(text.encode())}
    top = {text: share, **(others or {})}
    return {
        **found,
        "top_logprobs": [
            {"token": word, "logprob": math.log(p), "bytes": list(word.encode())}
            for word, p in top.items()
        ],
    }


def line(tokens: Sequence[Mapping[str, Any]], *, responses: bool = False) -> bytes:
    text = "".join(str(one["token"]) for one in tokens)
    body: dict[str, Any] = {
        "choices": [{"message": {"content": text}, "logprobs": {"content": tokens}}]
    }
    if responses:
        body = {
            "output": [
                {"type": "reasoning"},
                {"type": "message", "content": [{"text": text, "logprobs": tokens}]},
            ]
        }
    return json.dumps({"response": {"status_code": 200, "body": body}}).encode()


def sure(
    spec: str, tokens: Sequence[Mapping[str, Any]], *, responses: bool = False
) -> tuple[float | None, ...]:
    schema = AnswerSchema.parse(spec)
    text = "".join(str(one["token"]) for one in tokens)
    return Confidence(schema, list(labels_of(schema))).of(line(tokens, responses=responses), text)


@pytest.mark.parametrize("responses", [False, True])
def test_a_label_of_one_token(responses: bool) -> None:
    tokens = [
        token('{"', 1), token("mood", 1), token('":"', 1),
        token("good", 0.6, {"bad": 0.2, "great": 0.15}), token('"}', 1),
    ]  # fmt: skip
    # "great" is not a label: it doesn't count
    assert sure("mood good|bad", tokens, responses=responses) == (pytest.approx(0.6 / 0.8),)


def test_labels_that_begin_alike_are_told_apart_where_they_part() -> None:
    tokens = [
        token('{"mood": "', 1), token("go", 0.9, {"b": 0.1}),
        token("od", 0.5, {"ing": 0.3, "lf": 0.2}), token('"', 0.8, {"ish": 0.2}), token("}", 1),
    ]  # fmt: skip
    found = sure("mood good|going|bad|goodish", tokens)
    assert found == (pytest.approx(0.9 * (0.5 / 0.8) * 0.8),)


def test_a_token_may_hold_the_quote_or_what_comes_behind() -> None:
    tokens = [
        token('{"mood":', 1), token(' "good', 0.7, {' "bad': 0.1, "7": 0.1}),
        token('", "sure": ', 1), token("true}", 0.5, {"false": 0.25, "null": 0.2}),
    ]  # fmt: skip
    assert sure("mood good|bad, sure bool", tokens) == (
        pytest.approx(0.7 / 0.8),
        pytest.approx(0.5 / 0.75),
    )


def test_what_the_tokens_dont_tell_is_unknown() -> None:
    schema = AnswerSchema.parse("mood good|bad")
    found = Confidence(schema, ["mood"])
    good = '{"mood":"good"}'
    assert found.of(b"{}", good) == (None,)
    assert found.of(b"no JSON", good) == (None,)
    assert found.of(line([token(good, 0.5)])[:-9], good) == (None,)
    assert found.of(line([token("good", 0.5)]), good) == (None,)
    assert found.of(line([token('{"other":"good"}', 0.5)]), good) == (None,)
    assert found.of(line([token('{"mood":"great"}', 0.5)]), good) == (None,)
    without = {"token": good, "logprob": None}
    assert found.of(line([without]), good) == (None,)


def test_places_of_values() -> None:
    text = '{ "a é": [1, {"b": 2}] , "mood" : "süß"}'
    found = {name: text.encode()[a:b].decode() for name, (a, b) in values_in(text)}
    assert found == {"a é": '[1, {"b": 2}]', "mood": '"süß"'}
    for wrong in ("", "[]", "{", '{"a"', '{"a":', '{"a":1', '{"a":1;'):
        with pytest.raises(ValueError, match=r"."):
            dict(values_in(wrong))


def expected(stored: str, label: str, labels: Sequence[str]) -> float:
    """The probability of a label, of the token that holds it alone."""
    body = json.loads(stored)["response"]["body"]
    for one in body["choices"][0]["logprobs"]["content"]:
        if one["token"] == label:
            shares = {
                other["token"]: math.exp(other["logprob"])
                for other in one["top_logprobs"]
                if other["token"] in labels
            }
            return shares[label] / sum(shares.values())
    raise AssertionError(stored)


def test_run_fills_a_column_beside_each_label(run: Any, notes: Path, rows: Any) -> None:
    run(
        "run", notes, "notes", "--prompt", "{{ text }}", "--schema", SCHEMA, "--confidence",
        *run.there,
    )  # fmt: skip
    sent = rows(notes, "SELECT template FROM openai_batch_jobs")[0][0]
    body = json.loads(sent)
    assert (body["logprobs"], body["top_logprobs"]) == (True, 5)
    wanted = body["response_format"]["json_schema"]["schema"]["properties"]
    assert list(wanted) == ["mood", "sure", "note"]
    found = rows(
        notes,
        "SELECT mood, mood_confidence, sure, sure_confidence, answer, line FROM notes "
        "JOIN openai_batch_requests AS requests ON row_key = notes.id "
        "JOIN openai_batch_responses ON request_id = requests.id",
    )
    assert len(found) == 12
    for mood, how_sure, yes, how_sure_of_yes, answer, stored in found:
        assert how_sure == pytest.approx(expected(stored, mood, ["good", "bad", "mixed"]))
        word = "true" if yes else "false"
        assert how_sure_of_yes == pytest.approx(expected(stored, word, ["true", "false"]))
        kept = json.loads(answer)
        assert list(kept) == ["mood", "sure", "note", "mood_confidence", "sure_confidence"]
        assert kept["mood_confidence"] == how_sure
    # of made up probabilities two may be the same
    assert len({one[1] for one in found}) > 6
    # the columns go with what else the job wrote, and come back
    report = run("report", notes, "1").out
    assert "confidence" not in report.split("JSON schema")[1].split("```")[1]
    run("revert", notes, "1")
    assert [name for _, name, *_ in rows(notes, "PRAGMA table_info(notes)")] == [
        "id", "text", "mark",
    ]  # fmt: skip
    run("apply", notes, "1", "--prefix", "m_")
    again = rows(notes, "SELECT m_mood, m_mood_confidence FROM notes ORDER BY id")
    assert sorted(again) == sorted((mood, how_sure) for mood, how_sure, *_ in found)


def test_the_surest_come_last_for_people_who_review(run: Any, notes: Path, rows: Any) -> None:
    run(
        "run", notes, "notes", "--prompt", "{{ text }}", "--schema", "mood good|bad",
        "--confidence", *run.there,
    )  # fmt: skip
    sheet = run("review", notes, "1", "--least-sure", "mood_confidence", "-n", "3", "--csv").out
    assert "mood_review" in sheet
    assert "mood_confidence_review" not in sheet
    (kept,) = rows(notes, "SELECT requests FROM openai_batch_samples")
    least = rows(
        notes,
        "SELECT requests.id FROM notes JOIN openai_batch_requests AS requests "
        "ON row_key = notes.id ORDER BY mood_confidence LIMIT 3",
    )
    assert json.loads(kept[0]) == [one for (one,) in least]


class Silent(SimulatedAnswerer):
    """Gives no token probabilities, as some servers don't, though asked for them."""

    def answer_now(self, url: str, body: Mapping[str, Any], custom_id: str) -> Answer:
        """Answer as if nothing had been said of them."""
        return super().answer_now(url, {**body, "logprobs": False}, custom_id)


def test_a_server_that_gives_none_leaves_null(
    run: Any, notes: Path, rows: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with LocalServer(tmp_path_factory.mktemp("silent"), answerer=Silent()) as server:
        run(
            "run", notes, "notes", "--prompt", "{{ text }}", "--schema", "mood good|bad",
            "--confidence", "--base-url", server.base_url, "-y", "--poll", "0.05",
        )  # fmt: skip
    assert rows(notes, "SELECT DISTINCT mood_confidence FROM notes") == [(None,)]
    assert rows(notes, "SELECT count(mood) FROM notes") == [(12,)]


def test_try_shows_it(run: Any, notes: Path) -> None:
    said = run(
        "try", notes, "notes", "-n", "2", "--prompt", "{{ text }}", "--schema", "mood good|bad",
        "--confidence", *run.there[:3],
    )  # fmt: skip
    assert said.out.count("mood_confidence") == 2


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["-m", "o3", "--schema", "mood good|bad"], 2,
         ["o3 gives none", "it reasons", "leave out --confidence"]),
        ([], 2, ["a free text is not a label", "--schema"]),
        (["--schema", "note, stars 1..5 int"], 2, ["no column of labels", "stars 1..5"]),
        (["--schema", "mood good|bad", "-o", "n", "2"], 2, ["leave out -o n"]),
        (["--endpoint", "/v1/embeddings"], 2, ["/v1/embeddings doesn't give"]),
        (["--schema", "mood good|bad, mood_confidence 0..1"], 1,
         ["property mood_confidence of its own", "Rename it"]),
    ],
)  # fmt: skip
def test_refused_before_anything_is_sent(
    run: Any, notes: Path, unchanged: Any, options: list[str], code: int, words: list[str]
) -> None:
    check = unchanged(notes)
    said = run(
        "run", notes, "notes", "--prompt", "{{ text }}", "--confidence", *options, *run.there,
        code=code,
    )  # fmt: skip
    for word in words:
        assert word in said.err
    check()
