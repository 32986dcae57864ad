"""How sure a model is of a label, by the probabilities of the tokens that it wrote.

With token probabilities (`logprobs`) each token of an answer comes with those that the model might
have written in its place. While a label is spelled out, token by token, only those count that lead
to one of the schema's labels: their probabilities are made to sum to 1, and the shares of the
tokens that were written are multiplied. So a label has the probability that it would have among all
labels of its column. NULL stands where the tokens don't tell.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from json.decoder import JSONDecodeError
from typing import Any

import msgspec

from ..base.errors import SchemaError, UsageError
from ..base.outcome import Outcome
from ..base.parameters import CHAT, RESPONSES
from .schema import UNUSUAL, AnswerSchema, stored_json
from .strict import resolve
from .wire import BUILDING

#: What is behind the name of a label's column.
SUFFIX = "_confidence"
#: The endpoints that give token probabilities.
ENDPOINTS = (CHAT, RESPONSES)
#: How many tokens the API gives for a place, at most, and what is asked for at least.
MOST_TOKENS, FEW_TOKENS = 20, 5
_DIGITS = 9
_SPACE = " \t\r\n"


def labels_of(schema: AnswerSchema) -> dict[str, tuple[Any, ...]]:
    """The label columns of a schema: those with a list of values, and yes or no."""
    found: dict[str, tuple[Any, ...]] = {}
    for column in schema.columns:
        values = _values(schema.json, schema.json["properties"][column.name])
        if column.kind == "boolean" and not values:
            values = (True, False)
        if len(values) > 1 and column.kind not in ("array", "object"):
            found[column.name] = values
    return found


def _values(root: dict[str, Any], node: dict[str, Any]) -> tuple[Any, ...]:
    """The values that a node lists, or what it stands for; null is not a label."""
    if reference := node.get("$ref"):
        return _values(root, resolve(root, reference) or {})
    if "anyOf" in node:
        return tuple(value for one in node["anyOf"] for value in _values(root, one))
    return tuple(one for one in node.get("enum", ()) if one is not None)


def confident(schema: AnswerSchema | None, endpoint: str) -> tuple[str, ...]:
    """The columns whose confidence can be told. Raises UsageError where there are none."""
    if endpoint not in ENDPOINTS:
        raise UsageError(
            f"--confidence goes by the probabilities of tokens, which {endpoint} doesn't give. "
            f"Leave it out, or ask at {CHAT}."
        )
    if schema is None:
        raise UsageError(
            "--confidence tells how sure a label is, and a free text is not a label. Give the "
            "labels with --schema, such as --schema 'mood good|bad', or leave out --confidence."
        )
    names = tuple(labels_of(schema))
    if not names:
        raise UsageError(
            "--confidence tells how sure a label is, and the schema has no column of labels "
            f"({schema.describe()}). Give one its values, such as 'mood good|bad', or leave out "
            "--confidence."
        )
    return names


def tokens_for(schema: AnswerSchema, names: Iterable[str]) -> int:
    """How many tokens for a place are asked for (`top_logprobs`): enough for all labels."""
    labels = labels_of(schema)
    most = max(len(labels[name]) for name in names)
    return min(MOST_TOKENS, max(FEW_TOKENS, most))


def with_columns(schema: AnswerSchema, names: Sequence[str], suffix: str = SUFFIX) -> AnswerSchema:
    """The schema with a column from 0 to 1 beside each of these, which no model is asked for.

    Raises SchemaError where a property of its own has such a name.
    """
    beside = {f"{name}{suffix}" for name in names}
    for name in schema.json["properties"]:
        if name.lower() in {one.lower() for one in beside}:
            raise SchemaError(
                f"The schema has a property {name} of its own, which is what the column beside "
                f"{name[: -len(suffix)]} would be called. Rename it."
            )
    properties = dict(schema.json["properties"])
    for name in names:
        properties[f"{name}{suffix}"] = {"type": ["number", "null"], "minimum": 0, "maximum": 1}
    return AnswerSchema({**schema.json, "properties": properties, "required": list(properties)})


def with_values(answer: Any, more: Mapping[str, Any]) -> str:
    """An answer with values beside those of the model, as JSON."""
    value = dict(stored_json(answer))
    return json.dumps({**value, **more}, ensure_ascii=False, separators=(",", ":"))


def without_values(answer: Any, beside: Iterable[str]) -> Any:
    """An answer as the model gave it."""
    try:
        value = dict(stored_json(answer))
    except UNUSUAL:
        return answer
    left = {name: one for name, one in value.items() if name not in set(beside)}
    return json.dumps(left, ensure_ascii=False, separators=(",", ":"))


# The tokens in a response line, in both APIs.


class _Other(msgspec.Struct, gc=False):
    token: str = ""
    logprob: float | None = None
    bytes: list[int] | None = None


class _Token(_Other, gc=False):
    top_logprobs: list[_Other] | None = None


class _Logprobs(msgspec.Struct, gc=False):
    content: list[_Token] | None = None


class _Choice(msgspec.Struct, gc=False):
    logprobs: _Logprobs | None = None


class _Piece(msgspec.Struct, gc=False):
    logprobs: list[_Token] | None = None


class _Item(msgspec.Struct, gc=False):
    content: list[_Piece] | None = None


class _Body(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    output: list[_Item] | None = None


class _Reply(msgspec.Struct, gc=False):
    body: _Body | None = None


class _Line(msgspec.Struct, gc=False):
    response: _Reply | None = None


with BUILDING:
    _decode = msgspec.json.Decoder(_Line).decode


def tokens_in(line: bytes) -> list[_Token]:
    """The tokens of a line's answer; none where it has none, or not as the API writes them."""
    try:
        reply = _decode(line).response
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return []
    body = reply.body if reply else None
    if body is None:
        return []
    for choice in (body.choices or ())[:1]:
        return (choice.logprobs.content or []) if choice.logprobs else []
    pieces = [piece for item in body.output or () for piece in item.content or ()]
    return [token for piece in pieces for token in piece.logprobs or ()]


def spelled(token: _Other) -> bytes:
    """The bytes of a token: some hold half a character, which no text can."""
    if token.bytes is not None:
        try:
            return bytes(token.bytes)
        except ValueError:
            pass
    return token.token.encode("utf-8", "surrogatepass")


class Confidence:
    """Tells how sure answers are of their labels, for one schema."""

    def __init__(self, schema: AnswerSchema, names: Sequence[str]) -> None:
        """`schema` is the model's own; `names` are some of its label columns."""
        labels = labels_of(schema)
        self.columns = tuple(f"{name}{SUFFIX}" for name in names)
        self.names = tuple(names)
        # the closing quote belongs to a label: else one may be the beginning of another
        self.labels = {
            name: tuple(
                json.dumps(label, ensure_ascii=False).encode("utf-8", "surrogatepass")
                for label in labels.get(name, ())
            )
            for name in names
        }

    def of(self, line: bytes, answer: Any) -> tuple[float | None, ...]:
        """How sure the answer in a line is of each of its labels, from 0 to 1."""
        nothing = (None,) * len(self.names)
        tokens = tokens_in(line)
        if not tokens or not isinstance(answer, str):
            return nothing
        pieces = [spelled(token) for token in tokens]
        text = b"".join(pieces)
        try:
            places = dict(values_in(text.decode()))
        except ValueError:
            return nothing
        found: list[float | None] = []
        for name in self.names:
            place = places.get(name)
            found.append(self._label(name, tokens, pieces, text, *place) if place else None)
        return tuple(found)

    def _label(
        self,
        name: str,
        tokens: Sequence[_Token],
        pieces: Sequence[bytes],
        text: bytes,
        begin: int,
        end: int,
    ) -> float | None:
        """The probability of the label at text[begin:end] among all labels of its column."""
        labels = self.labels[name]
        if text[begin:end] not in labels:
            return None
        sure, at = 1.0, 0
        for token, piece in zip(tokens, pieces, strict=True):
            start, at = at, at + len(piece)
            if at <= begin:
                continue
            if start >= end:
                break
            share = _share(token, piece, text[begin:start], labels, text[start:begin])
            if share is None:
                return None
            sure *= share
        return round(sure, _DIGITS)


def _share(
    token: _Token, piece: bytes, done: bytes, labels: Sequence[bytes], before: bytes
) -> float | None:
    """The share of a token among those at its place that lead to a label.

    `done` is what is written of the label so far, `before` what the token holds in front of it.
    """
    if token.logprob is None:
        return None
    own = math.exp(min(token.logprob, 0.0))
    others = 0.0
    seen = {piece}
    for other in token.top_logprobs or ():
        spelling = spelled(other)
        if spelling in seen or other.logprob is None or not spelling.startswith(before):
            continue
        seen.add(spelling)
        written = done + spelling[len(before) :]
        if any(_leads(written, label) for label in labels):
            others += math.exp(min(other.logprob, 0.0))
    return own / (own + others) if own + others else None


def _leads(written: bytes, label: bytes) -> bool:
    return label.startswith(written) or written.startswith(label)


def values_in(text: str) -> Iterator[tuple[str, tuple[int, int]]]:
    """The properties of a JSON object, each with where its value begins and ends, in bytes.

    Raises ValueError where this is not an object, or something else is around it.
    """
    decode = json.JSONDecoder().raw_decode
    at = _skip(text, 0)
    if text[at : at + 1] != "{":
        raise JSONDecodeError("no object", text, at)
    bytes_at, counted = 0, 0
    at = _skip(text, at + 1)
    while text[at : at + 1] != "}":
        name, at = decode(text, at)
        at = _skip(text, at)
        if text[at : at + 1] != ":":
            raise JSONDecodeError("no colon", text, at)
        begin = _skip(text, at + 1)
        _, at = decode(text, begin)
        bytes_at += len(text[counted:begin].encode())
        size = len(text[begin:at].encode())
        yield name, (bytes_at, bytes_at + size)
        bytes_at, counted = bytes_at + size, at
        at = _skip(text, at)
        if text[at : at + 1] == ",":
            at = _skip(text, at + 1)
        elif text[at : at + 1] != "}":
            raise JSONDecodeError("no end", text, at)


def _skip(text: str, at: int) -> int:
    while text[at : at + 1] and text[at] in _SPACE:
        at += 1
    return at


def take_up(outcome: Outcome, columns: Sequence[str]) -> None:
    """Put the confidence of a checked answer beside what the model says."""
    sure, outcome.confidence = outcome.confidence, None
    if sure is None or outcome.status != "ok" or outcome.values is None:
        return
    outcome.answer = with_values(outcome.answer, dict(zip(columns, sure, strict=True)))
    outcome.values = (*outcome.values, *sure)
