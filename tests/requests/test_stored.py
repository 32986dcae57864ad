"""Rows read as they are stored give the same requests as rows that are decoded one by one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sqlite_utils_openai_batch.jobs.plan.ask import Ask
from sqlite_utils_openai_batch.jobs.plan.plan import settle
from sqlite_utils_openai_batch.jobs.plan.render import Rendered, Run, Tally, rendered, rendered_rows
from sqlite_utils_openai_batch.pricing.estimate import Money
from sqlite_utils_openai_batch.pricing.sampling import Sample
from sqlite_utils_openai_batch.pricing.tokens import Counter
from sqlite_utils_openai_batch.requests.chunks import Chunks
from sqlite_utils_openai_batch.requests.template import Template
from sqlite_utils_openai_batch.tables.hashing import source_hashes, stored_hashes
from sqlite_utils_openai_batch.tables.source import open_source

TEXTS = st.text(max_size=20) | st.sampled_from(
    [
        "",
        " ",
        "  ",
        " ~",
        "\u3000",
        "\x1f",
        "\x7f",
        "\u2028",
        "\x85",
        "\u2029 ",
        "é",
        "😀",
        '"\\"',
        "x" * 300,
    ]
)
PLAIN = st.none() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | TEXTS
#: TEXT that isn't valid UTF-8, and half of a character.
BROKEN = st.sampled_from([b"\xff", b"a\xe2\x82", b"\xac b", b"\xed\xa0\x80"]).map(
    lambda found: ("text", found)
)
VALUES = PLAIN | BROKEN | st.binary(max_size=3)
PROMPTS = ("{{ a }}", "{{ a }} and {{ b }}", "{{ a }}{{ b }}", "{{ b | upper }}", "\x7f{{ a }}")


@pytest.fixture
def conn() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as conn:
        yield conn


def table(conn: sqlite3.Connection, rows: Sequence[Sequence[Any]], key: str = "INTEGER") -> None:
    """The table t (id, a, b) with these values; ("text", bytes) is TEXT that holds these bytes."""
    conn.execute("DROP TABLE IF EXISTS t")
    conn.execute(f"CREATE TABLE t (id {key} PRIMARY KEY, a, b) WITHOUT ROWID")
    for number, row in enumerate(rows, 1):
        marks = ["CAST(? AS TEXT)" if isinstance(value, tuple) else "?" for value in row]
        values = [value[1] if isinstance(value, tuple) else value for value in row]
        name = number if key == "INTEGER" else f"k{number:04d}"
        conn.execute(f"INSERT INTO t VALUES (?, {', '.join(marks)})", [name, *values])


def lines(conn: sqlite3.Connection, prompt: str, *, order: str | None = None) -> Any:
    """All that is known of each row, and the counts."""
    plan = settle(conn, Ask(table="t", prompt=prompt, order=order, money=Money(own=True)))
    tally = Tally()
    with closing(plan):
        found = [
            (row.position, row.row_key, row.source_hash, row.status, row.message, row.size)
            + ((row.line,) if row.status == "pending" else ())
            for row in rendered_rows(plan, tally, "u")
        ]
        return found, tally


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=8),
    st.sampled_from(PROMPTS),
    st.sampled_from(["INTEGER", "TEXT"]),
)
@example([("  ", "x"), (" a", "x")], "{{ a }}", "INTEGER")
@example([(("text", b"\xe2\x82"), ("text", b"\xac"))], "{{ a }}{{ b }}", "INTEGER")
def test_the_same_requests_either_way(rows: list[tuple[Any, Any]], prompt: str, key: str) -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as conn:
        table(conn, rows, key)
        # sorted rows come from a copy, which is always decoded
        assert lines(conn, prompt) == lines(conn, prompt, order="id + 0, id")


@settings(deadline=None)
@given(
    st.lists(st.tuples(PLAIN, PLAIN), min_size=1, max_size=8),
    st.sampled_from((*PROMPTS, "100 % %d {{ a }}%")),
    st.sampled_from(["m", "%s", "{{ b }}%"]),
    st.integers(1, 10**9),
)
def test_lines_in_one_piece_are_the_lines_one_by_one(
    rows: list[tuple[Any, Any]], prompt: str, user: str, first: int
) -> None:
    body = {"messages": [{"role": "user", "content": prompt}], "user": user}
    renderer = Template(body, "/v1/chat/completions").bind(("a", "b"))
    stored = [[v.encode() if isinstance(v, str) else v for v in row] for row in rows]
    columns = [
        [row["ab".index(name)] for row in stored]  # as many as it reads
        for name in renderer.columns
    ]
    whole, each = (
        renderer.stored_lines("u%d-", range(first, first + len(rows)), columns) for _ in range(2)
    )
    if whole is None or each is None:
        return
    lines = each.all()
    assert whole.whole() == each.whole() == b"".join(lines)
    read = [[row["ab".index(name)] for name in renderer.columns] for row in rows]
    assert lines == [renderer.line(f"u%d-{n}", row) for n, row in enumerate(read, first)]


@given(st.lists(st.tuples(PLAIN, PLAIN, PLAIN), max_size=5), st.integers(1, 3))
def test_the_same_hashes(rows: list[tuple[Any, ...]], width: int) -> None:
    cut = [row[:width] for row in rows]
    encoded = [[v.encode() if isinstance(v, str) else v for v in row] for row in cut]
    columns = list(zip(*encoded, strict=True)) or [[]] * width
    assert stored_hashes(columns, len(rows)) == source_hashes(cut)


def test_the_hash_of_long_texts_and_many_columns() -> None:
    row = tuple("x" * size for size in (0, 31, 32, 255, 256, 65_535, 65_536, 70_000)) * 3
    assert stored_hashes([[value.encode()] for value in row], 1) == source_hashes([row])


def test_plain_tables_are_read_as_they_are_stored(conn: sqlite3.Connection) -> None:
    table(conn, [("é", 1), ("b", None)])
    with open_source(conn, "t") as source:
        assert list(source.stored_pages(["a", "b"])) == [
            ([(1, b"\xc3\xa9", 1, 0), (2, b"b", None, None)], True)
        ]


def test_a_blob_makes_its_page_one_that_is_decoded(conn: sqlite3.Connection) -> None:
    table(conn, [("x" * 50, 1), ("y", b"\0"), ("z" * 50, 1)])
    with open_source(conn, "t") as source:
        pages = list(source.stored_pages(["a", "b"], page_bytes=1))
    assert [as_bytes for _, as_bytes in pages] == [False]
    assert [key for page, _ in pages for key, *_ in page] == [1, 2, 3]
    assert pages[0][0][1] == (2, "y", b"\0")


def test_a_key_that_is_no_text_is_an_error_as_ever(conn: sqlite3.Connection) -> None:
    table(conn, [("a", "b")], "TEXT")
    conn.execute("UPDATE t SET id = CAST(x'ff' AS TEXT)")
    with pytest.raises(Exception, match="isn't valid UTF-8"):
        lines(conn, "{{ a }}")


def test_most_rows_come_many_at_a_time(conn: sqlite3.Connection) -> None:
    table(conn, [(f"row {n}", n) if n % 100 else ("  ", n) for n in range(1_000)])
    plan = settle(conn, Ask(table="t", prompt="{{ a }}", money=Money(own=True)))
    with closing(plan):
        tally = Tally()
        found = list(rendered(plan, tally, "u"))
    singles = [one for one in found if isinstance(one, Rendered)]
    runs = [one for one in found if isinstance(one, Run)]
    assert len(singles) < 300, "the first chunk starts a part"
    assert len(singles) + sum(len(run.chunk.sizes) for run in runs) == tally.asked == 990
    assert tally.blank == 10


@settings(deadline=None)
@given(st.lists(st.sampled_from([90, 100, 110, 5_000, 200_000]), max_size=40), st.data())
def test_a_sample_does_not_depend_on_how_lines_are_handed_over(
    sizes: list[int], data: st.DataObject
) -> None:
    body = b'{"body":{"prompt":"%s"}}\n'
    made = [body % (b"x" * size) for size in sizes]
    whole, cut = (
        Sample(Counter("mine"), "/v1/completions", window=40_000, rows=8) for _ in range(2)
    )
    for index, line in enumerate(made):
        whole.add(line, index)
    start = 0
    while start < len(made):
        stop = data.draw(st.integers(start + 1, len(made)))
        some = made[start:stop]
        cut.add_all(
            range(start, stop), [len(one) for one in some], range(start, stop), some.__getitem__
        )
        start = stop
    assert whole.result() == cut.result()
    assert whole.per_request() == cut.per_request()
    assert whole.too_long == cut.too_long


def test_images_are_rendered_a_few_at_a_time(conn: sqlite3.Connection) -> None:
    table(conn, [("https://example.org/1.png", "x")] * 10)
    ask = Ask(table="t", prompt="{{ b }}", images=["a"], money=Money(own=True))
    with closing(settle(conn, ask)) as plan:
        chunks = Chunks(plan.renderer, plan.hashed, "u-", 1)
        page = [(n, "https://example.org/1.png", "x") for n in range(10)]
        assert [len(chunk.sizes) for chunk in chunks.of(0, page, stored=False)] == [4, 4, 2]
