"""What may become of an answer, by what its row holds now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .before import Earlier
from .fetching import fetch_in_turn
from .hashing import source_hash
from .keys import SQLiteValue, decode_key, quote
from .reading import exactly
from .source import Source
from .target import Target
from .unchanged import Glance

Values = tuple[SQLiteValue, ...]
# An answer to be written: its row key, the hash of what was asked about, its cells.
Answer = tuple[SQLiteValue, bytes, Values]
# What may become of an answer, and what its cells hold; None where there is no row yet.
Judged = tuple[str, "Values | None"]


class Judge:
    """Judges the answers of one job.

    `rows` are those of an output table beside the source. `read` names the columns that a row's
    hash covers; None where one of them is gone: then all rows are stale.
    """

    def __init__(
        self,
        target: Target,
        source: Source,
        rows: Source | None,
        read: Sequence[str] | None,
        *,
        earlier: Earlier,
        replace: bool,
        accept_stale: bool,
    ) -> None:
        self.target = target
        self.source = source
        self.rows = rows
        self.read = read
        self.earlier = earlier
        self.replace = replace
        self.accept_stale = accept_stale
        # What is said of nearly all: the row is as it was, and its cells are empty.
        self.usual: Judged = ("written", (None,) * len(target.names))
        self.glance: Glance | None = None
        table = source.looked_up
        if table is not None and rows is None and read is not None:
            names = (tuple(read), tuple(target.names))
            self.glance = Glance(source.conn, table, source.key_columns, *names)

    def judge(self, answers: Sequence[Answer]) -> list[Judged]:
        """Say what may become of each answer: a `write_status`, and what its cells hold."""
        usual: set[SQLiteValue] = set()
        if self.glance is not None:
            usual = self.glance.unchanged({row_key: digest for row_key, digest, _ in answers})
        if len(usual) == len(answers):
            return [self.usual] * len(answers)
        rest = self.look([answer for answer in answers if answer[0] not in usual])
        return [self.usual if answer[0] in usual else next(rest) for answer in answers]

    def look(self, answers: Sequence[Answer]) -> Iterator[Judged]:
        """Judge answers by their whole rows."""
        keys = [answer[0] for answer in answers]
        read = self.read or []
        width, names = len(read), self.target.names
        # One look at the row where it holds its answers itself.
        beside = None if self.rows is None else self.rows.fetch(names, keys)
        found = fetch_in_turn(self.source, read if self.rows else [*read, *names], keys)
        for (row_key, digest, _), row in zip(answers, found, strict=True):
            if row is None:
                yield "row_gone", None
                continue
            old = row[width:] if beside is None else beside.get(row_key)
            same = self.read is not None and source_hash(row[:width]) == digest
            if not same and not self.accept_stale:
                yield "stale", old
            elif old is None or self.may_overwrite(row_key, old):
                yield "written", self.kept_bytes(row_key, old)
            else:
                yield "kept_existing", old

    def may_overwrite(self, row_key: SQLiteValue, old: Values) -> bool:
        """Whether an answer may take the place of what cells hold."""
        nothing = old.count(None) == len(old)
        return nothing or self.replace or self.earlier.wrote(row_key, old)

    def kept_bytes(self, row_key: SQLiteValue, old: Values | None) -> Values | None:
        """What cells hold, with the bytes of text that isn't valid UTF-8: a revert needs them."""
        if old is None or not any(isinstance(cell, str) and "\ufffd" in cell for cell in old):
            return old
        target = self.target
        on, names = ([quote(name) for name in some] for some in (target.keys, target.names))
        key = decode_key(row_key, len(on))
        return exactly(self.source.conn, f"main.{quote(target.table)}", on, names, key) or old
