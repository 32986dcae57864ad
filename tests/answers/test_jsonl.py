from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqlite_utils_openai_batch.answers.jsonl import BOM, HEAD, CutLine, iter_lines


def lines(data: bytes, **options: int) -> list[tuple[int, bytes]]:
    return flat(iter_lines(io.BytesIO(data), **options))


def flat(blocks: Iterable[tuple[Sequence[int], list[bytes]]]) -> list[tuple[int, bytes]]:
    """The lines of all blocks, each with its number."""
    return [one for numbers, some in blocks for one in zip(numbers, some, strict=True)]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"a", [(1, b"a")]),
        (b"a\nb\n", [(1, b"a"), (2, b"b")]),
        (b"a\r\nb", [(1, b"a"), (2, b"b")]),
        (b"\n \r\n\t\na\n\n", [(4, b"a")]),
        (BOM + b"a\n" + BOM + b"b", [(1, b"a"), (2, BOM + b"b")]),
        (BOM, []),
        (b"a\rb\x0b\x0c\x1c\x85\n", [(1, b"a\rb\x0b\x0c\x1c\x85")]),
        ("a\u2028b\u2029c\x85d\ne".encode(), [(1, "a\u2028b\u2029c\x85d".encode()), (2, b"e")]),
        (b"\xff\xfe\x00\n", [(1, b"\xff\xfe\x00")]),
    ],
)
def test_lines(data: bytes, expected: list[tuple[int, bytes]]) -> None:
    for block in (1, 2, 5, 1_000):
        assert lines(data, block=block) == expected


@settings(deadline=None)
@given(
    st.lists(st.binary(max_size=30).map(lambda b: b.replace(b"\n", b"")), max_size=8),
    st.integers(1, 100),
)
def test_every_line_comes_with_its_number(some: list[bytes], block: int) -> None:
    expected = [
        (number, line.removesuffix(b"\r"))
        for number, line in enumerate([b"first", *some], 1)
        if line.strip()
    ]
    assert lines(b"\n".join([b"first", *some]), block=block) == expected


@settings(deadline=None)
@given(
    length=st.integers(0, 40),
    limit=st.integers(1, 20),
    ending=st.sampled_from([b"", b"\n", b"\r\n"]),
    bom=st.booleans(),
    block=st.integers(1, 60),
)
def test_a_line_over_the_limit_is_cut_and_says_so(
    length: int, limit: int, ending: bytes, bom: bool, block: int
) -> None:
    data = (BOM if bom else b"") + b"x" * length + ending + (b"next" if ending else b"")
    found = lines(data, max_line=limit, block=block)
    first = [line for number, line in found if number == 1]
    if length > limit:
        assert isinstance(first[0], CutLine)
        assert first[0] == b"x" * limit
        assert first[0].size == length
    else:
        assert first == ([b"x" * length] if length else [])
    if ending:
        assert found[-1][0] == 2
        assert found[-1][1] == b"next"[:limit]


def test_a_cut_line_keeps_its_head_and_its_size() -> None:
    data = b'{"custom_id":"a-1",' + b"x" * 100_000 + b"}\nnext\n"
    (number, cut), (_, after) = lines(data, max_line=50_000)
    assert number == 1
    assert isinstance(cut, CutLine)
    assert cut == data[:HEAD]
    assert cut.size == data.index(b"\n")
    assert after == b"next"


def test_fifty_megabytes_in_one_line() -> None:
    big = b"y" * 50_000_000
    assert [(number, len(line)) for number, line in lines(big + b"\nz")] == [
        (1, 50_000_000),
        (2, 1),
    ]


class Endless:
    """A file of one line that never ends, as a broken server could send."""

    def __init__(self, size: int) -> None:
        self.left = size
        self.most = 0

    def read(self, size: int, /) -> bytes:
        return self.readline(size)

    def readline(self, size: int, /) -> bytes:
        self.most = max(self.most, size)
        read = min(size, self.left)
        self.left -= read
        return b"x" * read


def test_memory_is_bounded_whatever_comes() -> None:
    file = Endless(300_000_000)
    ((number, cut),) = flat(iter_lines(file, max_line=1_000_000))
    assert (number, len(cut), getattr(cut, "size", None)) == (1, HEAD, 300_000_000)
    assert file.most < 3_000_000
