"""What a write replaced, and how to tell later whether a cell still holds what was written.

This is `openai_batch_requests.previous`, a JSON object:
    wrote    hash of the answer's cells as they stood after the write, 32 hex digits
    was      what stood there before, by column, where that wasn't NULL
    became   cells that the table changed while it took them (affinity, a trigger), by column, and
             what people said of the row
    new      true where the row itself was made by the write, in an output table
    refused  and nothing else, where the table itself kept the answer out: why, in SQLite's words
A BLOB is `{"$base64": …}`, text that isn't valid UTF-8 `{"$base64_text": …}`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..base.json import kept_json, kept_words, unreadable
from .hashing import source_hash, source_hashes
from .sql import SQLiteValue, Stored, plain_value

Values = Sequence[SQLiteValue]


@dataclass(frozen=True)
class Memory:
    """What one write is remembered by; columns by name."""

    wrote: str = ""
    was: dict[str, SQLiteValue] = field(default_factory=dict)
    became: dict[str, SQLiteValue] = field(default_factory=dict)
    new: bool = False


def remember(
    names: Sequence[str], old: Values | None, given: Values, stored: Values | None = None
) -> str:
    """Return the memory of a write as JSON.

    `old` is what the cells held, None for a row that wasn't there; `given` what they were given,
    `stored` what they hold now, where that may differ.
    """
    wrote = source_hash(given if stored is None else stored).hex()
    memory: dict[str, Any] = {"wrote": wrote}
    if old is None:
        memory["new"] = True
    elif was := _differing(names, old, [None] * len(names)):
        memory["was"] = was
    if stored is not None and (became := _differing(names, stored, given)):
        memory["became"] = became
    return json.dumps(memory, ensure_ascii=False)


def plain(given: Sequence[Values]) -> list[str]:
    """Return the memories of writes to empty cells that keep what they are given: usual ones."""
    # The results of a vote are few, and each is one object: hashed once, not once a row.
    own = {id(values): values for values in given}
    digests = source_hashes(list(own.values()))
    texts = [f'{{"wrote": "{digest.hex()}"}}' for digest in digests]
    if len(own) == len(given):
        return texts
    memories = dict(zip(own, texts, strict=True))
    return [memories[id(values)] for values in given]


def refusal(words: str) -> str:
    """What `previous` holds of an answer that the table itself kept out."""
    return json.dumps({"refused": words}, ensure_ascii=False)


def refusal_in(previous: str) -> str:
    """Read what `refusal` wrote; no words where somebody changed it."""
    return kept_words(previous).get("refused", "")


def remember_also(memory: str, values: Mapping[str, SQLiteValue]) -> str:
    """A memory that tells too what was written to columns of which the answer says nothing."""
    found = json.loads(memory)
    found["became"] = {name: _json(one) for name, one in values.items()} | found.get("became", {})
    return json.dumps(found, ensure_ascii=False)


def chained(memory: str, before: str) -> str:
    """The memory of a write over what the same job wrote before: undone, both are.

    `before` is the memory of that one.
    """
    found, first = json.loads(memory), json.loads(before)
    for name in ("was", "new"):
        found.pop(name, None)
        if name in first:
            found[name] = first[name]
    return json.dumps(found, ensure_ascii=False)


def recall(text: str) -> Memory:
    """Read what `remember` wrote. Raises DatabaseError for anything else."""
    column = "openai_batch_requests.previous"
    memory = kept_json(text, dict, column)
    try:
        for name in ("was", "became"):
            memory[name] = {key: _value(one) for key, one in memory.get(name, {}).items()}
        found = Memory(**memory)
        bytes.fromhex(found.wrote)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise unreadable(text, column) from error
    return found


def still_written(memory: Memory, names: Sequence[str], given: Values, now: Values) -> list[bool]:
    """For each cell, whether it still holds what the write left there.

    `given` is what the answer says, `now` what the cells hold.
    """
    if source_hash(now).hex() == memory.wrote:
        return [True] * len(names)
    return [
        _same(cell, memory.became.get(name, value))
        for name, value, cell in zip(names, given, now, strict=True)
    ]


def _same(one: SQLiteValue, other: SQLiteValue) -> bool:
    """Whether two values are one to SQLite: 1, 1.0 and '1' differ."""
    if isinstance(one, Stored) or isinstance(other, Stored):
        return type(one) is type(other) and one == other
    return source_hash([one]) == source_hash([other])


def _differing(names: Sequence[str], values: Values, others: Values) -> dict[str, Any]:
    return {
        name: _json(value)
        for name, value, other in zip(names, values, others, strict=True)
        if not _same(value, other)
    }


def _json(value: SQLiteValue) -> Any:
    if isinstance(value, bytes):
        kind = "$base64_text" if isinstance(value, Stored) else "$base64"
        return {kind: base64.b64encode(value).decode()}
    return value


def _value(value: Any) -> SQLiteValue:
    """What a cell held, from JSON. Raises ValueError or KeyError for what none can hold."""
    if not isinstance(value, dict):
        return plain_value(value)
    if "$base64_text" in value:
        return Stored(base64.b64decode(value["$base64_text"]))
    return base64.b64decode(value["$base64"])
