"""Tokens before: the tokenizer, what costs tokens in a request, and the sample for all."""

from __future__ import annotations

import base64
import json
import random
import sqlite3
import struct
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqlite_utils_openai_batch.pricing import tokens
from sqlite_utils_openai_batch.pricing.sampling import InputTokens, Sample
from sqlite_utils_openai_batch.pricing.tokens import (
    Counter,
    content_of,
    count_requests,
    counter_for,
    encoding_of,
    image_tokens,
    model_cap,
    output_cap,
)
from sqlite_utils_openai_batch.requests.images import Image, read_image, size_of

CHAT = "/v1/chat/completions"
DEMO = Path(__file__).parents[2] / "demo.db"

# Counted once by OpenAI's tiktoken 0.14, as ordinary text: (text, o200k_base, cl100k_base).
COUNTED = [
    ("", 0, 0),
    ("hello world", 2, 2),
    ("Hello, World!", 4, 4),
    ("don't I'LL we've", 4, 7),
    ("The quick brown fox jumps over the lazy dog.", 10, 10),
    ("  two  spaces   three\n\n\nlines\t\ttabs ", 12, 12),
    ("0123456789 3.14159 1,000,000", 15, 15),
    ("<|endoftext|>", 7, 7),
    ("a<|im_start|>user<|im_end|>b", 15, 15),
    ("Привет, мир! Как дела?", 8, 12),
    ("今日は天気がいいですね。", 7, 12),
    ("안녕하세요 세계", 3, 9),
    ("مرحبا بالعالم", 4, 10),
    ("नमस्ते दुनिया", 5, 13),
    ("👩‍👩‍👧‍👦🏳️‍🌈 😀😀", 19, 30),
    ("\u00e9 e\u0301 \ufb01 \u00df \u0130", 7, 8),
    ("\x00\x01\u2028\u2029\x85", 7, 8),
    ("def f(x):\n    return x**2  # square", 12, 12),
    ("a" * 32, 4, 4),
    ("https://example.com/a?b=c&d=%20#e", 14, 14),
    ("𠮷𓀀\uffff", 10, 10),
    ("ACGT" * 16, 32, 32),
]
SCRIPTS = [
    "It boils fast and it is quiet. ",
    "Закипает быстро и тихо. ",
    "すぐに沸いて、とても静かです。",
    "물이 빨리 끓고 조용합니다. ",
    "يغلي بسرعة وهو هادئ جدا. ",
    "यह जल्दी उबलता है और शांत है। ",
    "👍🔥 10/10 ☕️ ",
    "SKU-0042;19.99;2026-11-21;",
]

has_tokenizer = pytest.mark.skipif(
    not tokens.available(), reason="no wheel of toktok-rs for this Python"
)


# The tokenizer


@has_tokenizer
@pytest.mark.parametrize(("text", "o200k", "cl100k"), COUNTED)
def test_counts_are_those_of_openais_tokenizer(text: str, o200k: int, cl100k: int) -> None:
    assert counter_for("gpt-4o").count([text]) == [o200k]
    assert counter_for("gpt-4").count([text]) == [cl100k]


@has_tokenizer
def test_half_a_surrogate_pair_is_counted_too() -> None:
    counter = counter_for("gpt-4o")
    assert counter.count(["ok", "a\ud800b"]) == counter.count(["ok", "a?b"])


@has_tokenizer
@given(st.text())
def test_a_token_is_never_less_than_a_byte(text: str) -> None:
    (count,) = counter_for("gpt-4o").count([text])
    assert count <= len(text.encode("utf-8", "replace"))


@pytest.mark.parametrize(
    ("model", "encoding"),
    [
        ("gpt-4o-mini", "o200k_base"),
        ("gpt-4o-mini-2024-07-18", "o200k_base"),
        ("gpt-4.1-nano", "o200k_base"),
        ("gpt-5.4-mini", "o200k_base"),
        ("gpt-5", "o200k_base"),
        ("o3", "o200k_base"),
        ("o4-mini", "o200k_base"),
        ("ft:gpt-4o-mini-2024-07-18:org::id", "o200k_base"),
        ("openai/gpt-4o", "o200k_base"),
        ("gpt-4", "cl100k_base"),
        ("gpt-4-turbo", "cl100k_base"),
        ("gpt-35-turbo", "cl100k_base"),
        ("text-embedding-3-small", "cl100k_base"),
        ("openai/gpt-oss-20b", "o200k_harmony"),
        ("gpt-6-luna", None),
        ("mistral-large-latest", None),
        ("my-deployment", None),
    ],
)
def test_which_model_has_which_vocabulary(model: str, encoding: str | None) -> None:
    assert encoding_of(model) == encoding


@has_tokenizer
def test_a_newer_model_is_counted_as_the_last_known_one_and_not_called_exact() -> None:
    newer = counter_for("gpt-6-luna")
    assert (newer.encoding, newer.exact, newer.counts_as) == ("o200k_base", False, "gpt-5")
    assert counter_for("mistral-large-latest") == Counter("mistral-large-latest")
    assert counter_for("my-deployment", "gpt-4o").exact


def test_without_a_tokenizer_tokens_come_from_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "available", lambda: False)
    counter = counter_for("gpt-4o")
    assert not counter.exact
    assert counter.count(["x" * 400, "é" * 200]) == [100, 100]
    (found,) = count_requests(counter, [{"input": "é" * 200}], "/v1/embeddings")
    assert (found.tokens, found.most) == (100, 400)


def test_text_beside_what_is_not_known_takes_no_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[list[str]] = []

    def count(texts: list[str], encoding: str) -> list[int]:
        counts.append(texts)
        return [len(text) for text in texts]

    monkeypatch.setattr(tokens, "count", count)
    pdf = {
        "type": "file",
        "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,"},
    }
    bodies: list[dict[str, Any]] = [
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "what is it?"}, pdf]}]},
        {"messages": [{"role": "user", "content": "no file"}]},
    ]

    unknown, known = count_requests(Counter("gpt-4o", "o200k_base", exact=True), bodies, CHAT)

    assert (unknown.tokens, unknown.most, len(unknown.attached)) == (None, None, 1)
    assert known.tokens is not None
    assert counts == [["user", "no file"]]


# What costs tokens


def counted(body: dict[str, Any], endpoint: str = CHAT, model: str = "gpt-4o") -> int | None:
    (found,) = count_requests(counter_for(model), [body], endpoint)
    return found.tokens


def text_tokens(*texts: str) -> int:
    return sum(counter_for("gpt-4o").count(list(texts)))


@has_tokenizer
def test_messages_have_the_published_overhead() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "name": "anna", "content": "Hello, World!"},
    ]
    # 3 around each message, 1 for a name, 3 before the reply; the role is text too.
    expected = 2 * 3 + 1 + 3 + text_tokens("system", "Be brief.", "user", "anna", "Hello, World!")
    assert counted({"model": "gpt-4o", "messages": messages}) == expected


@has_tokenizer
def test_responses_cost_what_the_same_conversation_costs() -> None:
    chat = counted(
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Hi"},
            ]
        }
    )
    assert counted({"instructions": "Be brief.", "input": "Hi"}, "/v1/responses") == chat
    parts = [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}]
    assert counted({"instructions": "Be brief.", "input": parts}, "/v1/responses") == chat


@has_tokenizer
def test_a_schema_is_counted_as_its_json() -> None:
    format_ = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
    plain = {"messages": [{"role": "user", "content": "Hi"}]}
    extra = text_tokens(json.dumps(format_, separators=(",", ":")))
    assert counted({**plain, "response_format": format_}) == (counted(plain) or 0) + extra


@has_tokenizer
def test_embeddings_have_no_overhead() -> None:
    embed = "/v1/embeddings"
    assert counted({"input": "hello world"}, embed, "text-embedding-3-small") == 2
    assert counted({"input": ["hello world", "hello world"]}, embed) == 4
    assert counted({"input": [1, 2, 3]}, embed) == 3
    assert counted({"input": [[1, 2], [3]]}, embed) == 3


def test_what_another_endpoint_is_sent_is_counted_whole() -> None:
    body = {"prompt": ["a", "b"], "model": "m", "n": 1, "more": {"x": "c"}}
    assert content_of(body, "/v1/completions").texts == ["a", "b", "m", "c"]


@pytest.mark.parametrize(
    ("body", "cap"),
    [
        ({}, None),
        ({"max_tokens": 700}, 700),
        ({"max_completion_tokens": 700, "n": 3}, 2_100),
        ({"max_output_tokens": 16}, 16),
        ({"max_tokens": 700.0, "n": 3.0}, 2_100),
        # a column says how many: as many as there can be
        ({"max_tokens": 10, "n": "{{ wanted | json }}"}, 1_280),
        ({"max_tokens": 10, "best_of": 5, "n": 2}, 50),
        ({"max_tokens": 10, "prompt": ["a", "b"], "n": 2}, 40),
        ({"max_tokens": 10, "prompt": [[1, 2], [3]]}, 20),
        ({"max_tokens": 10, "prompt": [1, 2, 3]}, 10),
        ({"max_tokens": 10, "prompt": [], "n": None}, 10),
        ({"max_tokens": "{{ most }}"}, None),
        ({"max_tokens": True}, None),
        ({"max_tokens": 0}, None),
    ],
)
def test_what_caps_an_answer(body: dict[str, Any], cap: int | None) -> None:
    assert output_cap(body) == cap


@pytest.mark.parametrize(
    ("model", "cap"),
    [
        ("gpt-4o-mini", 16_384),
        ("gpt-4.1-mini", 32_768),
        ("gpt-5-mini", 128_000),
        ("gpt-5-chat-latest", 16_384),
        ("o3-mini", 100_000),
        ("gpt-4-turbo", 4_096),
        ("gpt-4", 8_192),
        ("my-deployment", None),
    ],
)
def test_what_a_model_writes_at_most(model: str, cap: int | None) -> None:
    assert model_cap(model) == cap


# Images


def data_url(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


PNG = data_url("png", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", 1800, 2400))
GIF = data_url("gif", b"GIF89a" + struct.pack("<HH", 640, 480))
JPEG = data_url(
    "jpeg",
    b"\xff\xd8\xff\xe0" + struct.pack(">H", 16) + b"\0" * 14
    + b"\xff\xc2" + struct.pack(">HBHH", 17, 8, 1024, 768) + b"\0" * 10,
)  # fmt: skip
WEBP = data_url("webp", b"RIFF\0\0\0\0WEBPVP8X" + b"\0" * 8 + b"\x1f\x03\0" + b"\x57\x02\0")


@pytest.mark.parametrize(
    ("url", "size"),
    [
        (PNG, (1800, 2400)),
        (GIF, (640, 480)),
        (JPEG, (768, 1024)),
        (WEBP, (800, 600)),
        ("https://example.com/a.png", None),
        ("data:image/png;base64,!!!", None),
        (data_url("png", b"\x89PNG\r\n\x1a\n"), None),
        (data_url("jpeg", b"\xff\xd8\xff"), None),
        ("data:,hello", None),
        ("", None),
    ],
)
def test_the_size_of_an_image_is_read_from_its_first_bytes(
    url: str, size: tuple[int, int] | None
) -> None:
    assert size_of(url) == size


@given(st.binary(max_size=60))
def test_no_bytes_are_a_reason_to_stop(data: bytes) -> None:
    for start in (b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8", b"RIFF\0\0\0\0WEBPVP8L", b""):
        size_of(data_url("png", start + data))


# The examples of OpenAI's guide, and its rules for the other models.
@pytest.mark.parametrize(
    ("model", "image", "expected"),
    [
        ("gpt-4o", Image((1024, 1024)), 765),
        ("gpt-4o", Image((2048, 4096)), 1_105),
        ("gpt-4o", Image((4096, 8192), "low"), 85),
        ("gpt-4o-mini", Image((1024, 1024)), 2_833 + 4 * 5_667),
        ("gpt-5", Image((512, 512)), 70 + 140),
        ("o1", Image((512, 512)), 75 + 150),
        ("gpt-4.1-mini", Image((1024, 1024)), 1_659),
        ("gpt-4.1-mini", Image((1800, 2400)), 2_353),
        ("gpt-4.1-nano", Image((1024, 1024)), 2_520),
        ("o4-mini", Image((1024, 1024)), 1_762),
        ("gpt-4o", Image((1, 1)), 255),
        # Of no known size: as many as an image can be.
        ("gpt-4o", Image(None), 85 + 8 * 170),
        ("gpt-4.1-mini", Image(None), 2_489),
        ("gpt-6-luna", Image((1024, 1024)), None),
        ("llava", Image((10, 10)), None),
    ],
)
def test_image_tokens_are_those_of_the_published_rules(
    model: str, image: Image, expected: int | None
) -> None:
    assert image_tokens(model, image) == expected


@given(
    st.sampled_from(["gpt-4o", "gpt-4o-mini", "gpt-5", "o1", "gpt-4.1-mini", "gpt-5-nano"]),
    st.integers(1, 20_000),
    st.integers(1, 20_000),
)
def test_no_image_is_more_than_one_of_unknown_size(model: str, width: int, height: int) -> None:
    known, most = image_tokens(model, Image((width, height))), image_tokens(model, Image(None))
    assert known is not None
    assert most is not None
    assert 0 < known <= most


def test_images_of_both_endpoints_are_found() -> None:
    url = {"url": PNG, "detail": "low"}
    assert read_image({"type": "image_url", "image_url": url}) == Image((1800, 2400), "low")
    assert read_image({"type": "input_image", "image_url": PNG}) == Image((1800, 2400))
    assert read_image({"type": "text", "text": "image_url"}) is None


@has_tokenizer
def test_a_request_with_an_image_is_text_and_pixels() -> None:
    image = {"type": "image_url", "image_url": {"url": GIF}}
    plain = {"role": "user", "content": [{"type": "text", "text": "What is it?"}]}
    both = {"role": "user", "content": [*plain["content"], image]}
    without = counted({"messages": [plain]}) or 0
    assert counted({"messages": [both]}) == without + 425
    assert counted({"messages": [both]}, model="llava") is None


# The sample


def line(text: str, system: str = "Say in one word whether the writer is glad.") -> bytes:
    messages = [{"role": "system", "content": system}, {"role": "user", "content": text}]
    body = {"model": "gpt-4o-mini", "messages": messages}
    return json.dumps({"custom_id": "x-1", "body": body}, ensure_ascii=False).encode() + b"\n"


def sampled(lines: list[bytes], rows: int = 4_000, window: int | None = None) -> Sample:
    sample = Sample(counter_for("gpt-4o-mini"), CHAT, window, rows)
    for number, one in enumerate(lines):
        sample.add(one, number)
    return sample


def exact(lines: list[bytes]) -> InputTokens:
    return sampled(lines, rows=10**9).result()


def mixed(rows: int, seed: int = 1) -> list[bytes]:
    """Rows of many lengths, each in a script of its own."""
    chance = random.Random(seed)
    return [line(chance.choice(SCRIPTS) * chance.randrange(1, 40)) for _ in range(rows)]


def skewed(rows: int, seed: int = 1) -> list[bytes]:
    """Rows of which few are very long."""
    chance = random.Random(seed)
    return [
        line(chance.choice(SCRIPTS) * min(int(chance.paretovariate(1.2)), 2_000))
        for _ in range(rows)
    ]


@has_tokenizer
def test_a_small_source_is_counted_whole() -> None:
    found = sampled(mixed(100)).result()
    by_hand = sum(counted(json.loads(one)["body"], model="gpt-4o-mini") or 0 for one in mixed(100))
    assert found == InputTokens(by_hand, by_hand, by_hand, by_hand, "counted")
    assert found.error == 0


@has_tokenizer
@pytest.mark.parametrize("make", [mixed, skewed])
def test_a_sample_stands_for_all(make: Callable[[int], list[bytes]]) -> None:
    lines = make(30_000)
    found, whole = sampled(lines).result(), exact(lines)
    assert found.tokens is not None
    assert whole.tokens is not None
    error = (found.tokens - whole.tokens) / whole.tokens
    print(f"{make.__name__} scripts: {error:+.3%}, said ±{found.error:.3%}, of {len(lines)} rows")
    assert found.how == "sampled"
    assert found.low <= whole.tokens <= found.high
    assert found.error < 0.02
    assert found.most is not None
    assert whole.tokens <= found.most <= 1.04 * whole.tokens


@has_tokenizer
def test_the_interval_holds_as_often_as_it_says() -> None:
    held = bounded = 0
    for seed in range(40):
        lines = mixed(1_500, seed)
        found, whole = sampled(lines, rows=300).result(), exact(lines)
        assert whole.tokens is not None
        assert found.most is not None
        held += found.low <= whole.tokens <= found.high
        bounded += whole.tokens <= found.most
    assert bounded == 40
    assert held >= 34  # an interval of 95 % holds in 38 of 40


@has_tokenizer
def test_the_same_rows_give_the_same_figure() -> None:
    assert sampled(mixed(6_000)).result() == sampled(mixed(6_000)).result()


@has_tokenizer
@pytest.mark.parametrize("table", ["movies", "personas", "reviews"])
def test_the_demos_tables(table: str) -> None:
    """Sampled hard, so that there is an error to see: a tenth of the rows."""
    with closing(sqlite3.connect(f"file:{DEMO}?mode=ro", uri=True)) as conn:
        rows = conn.execute(f"SELECT * FROM {table}").fetchall()
    lines = [line(" ".join(str(value) for value in row if value is not None)) for row in rows]
    found, whole = sampled(lines, rows=max(len(lines) // 5, 20)).result(), exact(lines)
    assert found.tokens is not None
    assert whole.tokens is not None
    error = (found.tokens - whole.tokens) / whole.tokens
    print(f"{table}: {error:+.3%}, said ±{found.error:.3%}, {found.how}, {len(lines)} rows")
    assert abs(error) <= max(2 * found.error, 0.001)


@has_tokenizer
def test_lines_that_leave_the_sample_are_never_counted() -> None:
    counted = 0

    class Noting(Counter):
        def count(self, texts: Sequence[str]) -> list[int]:
            nonlocal counted
            counted += len(texts)
            return super().count(texts)

    lines = [line(f"It is number {number}.") for number in range(5_000)]
    own = counter_for("gpt-4o-mini")
    sample = Sample(Noting(own.model, own.encoding, own.exact), CHAT, rows=100)
    for number, one in enumerate(lines):
        sample.add(one, number)
    assert sample.result() == sampled(lines, rows=100).result()
    # Each request has two messages, of a role and a text.
    assert 4 * 50 <= counted <= 4 * 100


def test_from_bytes_the_range_is_wide_and_the_bound_is_strict() -> None:
    sample = Sample(Counter("my-deployment"), CHAT)
    for one in mixed(500):
        sample.add(one, 0)
    found = sample.result()
    assert found.how == "bytes"
    assert found.tokens is not None
    assert found.low < found.tokens < found.high
    assert found.most == sum(
        6 + 3 + sum(len(m[k].encode()) for m in json.loads(one)["body"]["messages"] for k in m)
        for one in mixed(500)
    )


@has_tokenizer
def test_rows_longer_than_the_context_are_all_found() -> None:
    lines = mixed(5_000)
    lines[17] = line("word " * 9_000)
    lines[4_711] = line("word " * 8_000)
    lines[99] = line("a" * 9_000)  # more bytes than tokens
    sample = sampled(lines, rows=100, window=8_000)
    sample.result()
    assert [(one.row_key, one.tokens > 8_000) for one in sample.too_long] == [
        (17, True),
        (4_711, True),
    ]


@has_tokenizer
def test_an_image_of_an_unknown_rule_makes_the_sum_unknown() -> None:
    sample = Sample(counter_for("gpt-6-luna"), CHAT)
    image = {"type": "image_url", "image_url": {"url": GIF}}
    body = {"messages": [{"role": "user", "content": [image]}]}
    sample.add(json.dumps({"body": body}).encode(), 1)
    assert sample.result().tokens is None
    assert sample.result().most is None


def test_no_rows_have_no_tokens() -> None:
    found = Sample(counter_for("gpt-4o"), CHAT).result()
    assert (found.tokens, found.most, found.error) == (0, 0, 0.0)


@has_tokenizer
@settings(max_examples=50)
@given(st.lists(st.text(max_size=300), min_size=1, max_size=60), st.integers(2, 40))
def test_the_bound_is_a_bound_whatever_the_rows(texts: list[str], rows: int) -> None:
    safe = [text.encode("utf-8", "replace").decode() for text in texts]
    lines = [line(text) for text in safe]
    found = sampled(lines, rows=len(lines)).result()
    assert found.how == "counted"
    assert found.most == found.tokens == exact(lines).tokens
