"""Answers that are made up, at once: for tests, for load, and to see how a job looks.

They are the same for the same request and seed, have the shape that the request asks for, name
the request's custom_id, and say that they are simulated: in the text, in `model` (which gets the
ending `-simulated`) and in `system_fingerprint`.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from ..protocol.answers import Answer, Said, api_error
from ..protocol.bodies import refused
from ..protocol.lines import CONVERSATIONS, LAST_TEXT
from ..protocol.shapes import (
    Usage,
    answer_body,
    answer_id,
    asked_limit,
    asked_schema,
    asked_tokens,
    chat_completion,
    chat_usage,
    content_text,
    embeddings,
    encoded,
    inputs_of,
    last_user_message,
    made_up_vector,
    messages_of,
)

# Values that a JSON schema allows, chosen by a number.

DEPTH = 8
"""Deeper than this, optional things are left out, so that a recursive schema ends."""


MOST_ITEMS = 1_000
MOST_CHARACTERS = 1_000_000
"""A schema that asks for more is refused: a single line could fill the memory."""

SCHEMA_TROUBLE = (
    TypeError, KeyError, IndexError, ValueError, AttributeError, ArithmeticError, RecursionError,
)  # fmt: skip
"""What reading a schema raises when its keywords hold something else than they should."""


class UnusableSchema(Exception):
    """No value can be made for a schema."""


Make = Callable[[str, int, int], Any]
"""Makes the value of one place in a schema: of the text, the chooser and the depth."""


class Maker:
    """Values of one schema. What it says of a place is read when that place is met first."""

    def __init__(self, schema: Any) -> None:
        self._root = schema
        self._makes: dict[int, Make] = {}

    def value(self, text: str, chooser: int) -> Any:
        """Return a value that fits; its free texts are `text`, all else is chosen.

        `chooser` is any whole number: the same number gives the same value. Raises UnusableSchema.
        """
        try:
            return self._value(self._root, text, chooser, 0)
        except SCHEMA_TROUBLE as error:
            raise UnusableSchema(f"{type(error).__name__}: {error}") from error

    def _value(self, schema: Any, text: str, chooser: int, depth: int) -> Any:
        # places are parts of the root, so that none gets the id of another that is gone
        make = self._makes.get(id(schema))
        if make is None:
            make = self._makes[id(schema)] = self._make(schema)
        return make(text, chooser, depth)

    def _make(self, schema: Any) -> Make:
        if not isinstance(schema, dict):
            return lambda text, chooser, depth: text
        if "$ref" in schema:
            return self._reference(schema["$ref"])
        if "const" in schema:
            return lambda text, chooser, depth: schema["const"]
        if schema.get("enum"):
            labels = schema["enum"]
            return lambda text, chooser, depth: labels[chooser % len(labels)]
        if options := schema.get("anyOf") or schema.get("oneOf"):
            return self._one_of(options)
        kind = schema.get("type", "object" if "properties" in schema else "string")
        return self._one_type(schema, kind) if isinstance(kind, list) else self._typed(schema, kind)

    def _reference(self, reference: str) -> Make:
        target = self._root
        for step in reference.removeprefix("#").strip("/").split("/"):
            if step:
                target = target[step.replace("~1", "/").replace("~0", "~")]
        return lambda text, chooser, depth: self._value(target, text, chooser, depth + 1)

    def _one_of(self, options: list[Any]) -> Make:
        nulls = [option for option in options if option == {"type": "null"}]

        def make(text: str, chooser: int, depth: int) -> Any:
            ends = bool(nulls) and depth > DEPTH
            option = nulls[0] if ends else options[chooser % len(options)]
            return self._value(option, text, chooser, depth + 1)

        return make

    def _one_type(self, schema: dict[str, Any], kinds: list[Any]) -> Make:
        def make(text: str, chooser: int, depth: int) -> Any:
            ends = "null" in kinds and depth > DEPTH
            kind = "null" if ends else kinds[chooser % len(kinds)]
            return self._typed(schema, kind)(text, chooser, depth)

        return make

    def _typed(self, schema: dict[str, Any], kind: Any) -> Make:
        if kind == "object":
            return self._object(schema)
        if kind == "array":
            return self._array(schema)
        if kind in ("integer", "number"):
            return _number(schema, kind)
        if kind == "boolean":
            return lambda text, chooser, depth: chooser % 2 == 0
        return (lambda text, chooser, depth: None) if kind == "null" else _string(schema)

    def _object(self, schema: dict[str, Any]) -> Make:
        properties = schema.get("properties") or {}
        required = schema.get("required", properties)
        every = [(name, properties[name], name.encode()) for name in properties]

        def make(text: str, chooser: int, depth: int) -> dict[str, Any]:
            wanted = every if depth <= DEPTH else [one for one in every if one[0] in required]
            return {
                name: self._value(inner, text, zlib.crc32(data, chooser), depth + 1)
                for name, inner, data in wanted
            }

        return make

    def _array(self, schema: dict[str, Any]) -> Make:
        least = _few(schema.get("minItems", 0), MOST_ITEMS)
        items = schema.get("items", ITEMS)

        def make(text: str, chooser: int, depth: int) -> list[Any]:
            length = max(least, min(1 + chooser % 3, schema.get("maxItems", 3)))
            length = least if depth > DEPTH else length
            return [
                self._value(items, text, zlib.crc32(bytes([n % 256]), chooser), depth + 1)
                for n in range(length)
            ]

        return make


ITEMS = {"type": "string"}
"""What is in a list of which nothing is said."""


def _string(schema: dict[str, Any]) -> Make:
    if known := FORMATS.get(schema.get("format", "")):
        return lambda text, chooser, depth: known
    most, least = schema.get("maxLength"), _few(schema.get("minLength", 0), MOST_CHARACTERS)
    return lambda text, chooser, depth: text[:most].ljust(least, ".")


def _few(number: int, most: int) -> int:
    if number > most:
        raise ValueError(f"{number} is more than {most}")
    return number


FORMATS = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "duration": "P1D",
    "email": "simulated@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def _number(schema: dict[str, Any], kind: str) -> Make:
    low = schema.get("minimum", schema.get("exclusiveMinimum", 0))
    high = schema.get("maximum", schema.get("exclusiveMaximum", low + 100))
    step = schema.get("multipleOf", 1 if kind == "integer" else (high - low) / 100 or 1)
    inner = int("exclusiveMinimum" in schema)
    steps = int((high - low) / step) - inner - int("exclusiveMaximum" in schema)
    choices = max(steps, 0) + 1

    def make(text: str, chooser: int, depth: int) -> int | float:
        number = low + step * (inner + chooser % choices)
        return int(number) if kind == "integer" else round(number, 6)

    return make


FINGERPRINT = "fp_simulated"
CREATED = 1_767_225_600
"""`created` of simulated answers: fixed, so that the same request gives the same bytes."""

EMBEDDING_SIZES = {"text-embedding-3-large": 3072}
MODELS = ("gpt-4o-mini", "text-embedding-3-small", "omni-moderation-latest")
MODERATION_CATEGORIES = (
    "harassment", "harassment/threatening", "hate", "hate/threatening", "illicit",
    "illicit/violent", "self-harm", "self-harm/instructions", "self-harm/intent", "sexual",
    "sexual/minors", "violence", "violence/graphic",
)  # fmt: skip


class SimulatedAnswerer:
    """Answers at once, without a model.

    `seed` varies the choices. `rate` (lines per second) or `duration` (seconds per batch) slow
    batches down. With `echo` each text carries, word for word, the last user message of its
    request, so that a test can tell that each answer landed where it belongs.
    """

    label = "simulated answers (made up, and marked so)"
    concurrency = 1

    def __init__(
        self,
        seed: int = 0,
        rate: float | None = None,
        duration: float | None = None,
        *,
        echo: bool = False,
    ) -> None:
        self.seed = seed
        self.rate = rate
        self.duration = duration
        self.echo = echo

    async def answer(self, url: str, body: Mapping[str, Any], custom_id: str) -> Answer:
        """Answer one request."""
        return self.answer_now(url, body, custom_id)

    def answer_now(self, url: str, body: Mapping[str, Any], custom_id: str) -> Answer:
        """Answer one request at once."""
        if refusal := refused(url, body):
            return refusal
        try:
            return self._answer(url, body, custom_id)
        except UnusableSchema as error:
            message = f"Invalid schema for response_format: {error}."
            return api_error(400, message, type="invalid_request_error", code="invalid_schema")

    def _answer(self, url: str, body: Mapping[str, Any], custom_id: str) -> Answer:
        if url in CONVERSATIONS:
            return Answer(200, self._conversation(url, body, custom_id))
        if url == "/v1/embeddings":
            return Answer(200, self._embeddings(body))
        if url == "/v1/completions":
            return Answer(200, self._completion(body, custom_id))
        if url == "/v1/moderations":
            return Answer(200, self._moderation(body, custom_id))
        message = f"There are no simulated answers for {url}."
        return api_error(404, message, type="invalid_request_error", code="unknown_url")

    def pace(self, requests: int) -> float | None:
        """Lines per second for a batch of so many requests; None for no brake."""
        if self.duration:
            return max(requests, 1) / self.duration
        return self.rate

    async def models(self) -> list[str]:
        """Names for `GET /v1/models`; any other name is answered as well."""
        return list(MODELS)

    async def allowed_models(self) -> list[str] | None:
        """Requests may name any model."""
        return None

    async def close(self) -> None:
        """Nothing is held."""

    def _seed(self, body: Mapping[str, Any]) -> int:
        """What chooses: the server's own seed, and that of the request."""
        given = body.get("seed")
        return (self.seed + given) % 2**32 if isinstance(given, int) else self.seed

    def _text(self, asked: str, custom_id: str, maker: Maker | None = None, seed: int = 0) -> str:
        sentence = f"simulated answer to {custom_id}"
        if self.echo:
            sentence += f": {asked}"
        if maker is None:
            return sentence
        chooser = zlib.crc32(asked.encode("utf-8", "surrogatepass"), seed)
        return orjson.dumps(maker.value(sentence, chooser)).decode()

    def _conversation(self, url: str, body: Mapping[str, Any], custom_id: str) -> dict[str, Any]:
        messages = messages_of(body)
        if (tool := _required_tool(body)) and url == "/v1/chat/completions":
            return self._tool_call(tool, messages, body, custom_id)
        schema = asked_schema(body)
        maker = None if schema is None else Maker(schema)
        whole = self._text(last_user_message(messages), custom_id, maker, self._seed(body))
        text, was_cut = _cut(whole, asked_limit(body))
        likely = asked_tokens(body)
        return _said(
            url,
            custom_id,
            body,
            text,
            Usage(_prompt_tokens(messages), tokens(text) * (body.get("n") or 1)),
            was_cut=was_cut,
            tokens=None if likely is None else made_up_tokens(text, schema, likely, self.seed),
        )

    def form(self, url: str, body: Mapping[str, Any]) -> _Form | None:
        """The form of the answers to bodies like this one; a subclass may answer otherwise."""
        if type(self) is not SimulatedAnswerer or url not in CONVERSATIONS:
            return None
        messages = messages_of(body)
        if not messages or messages[-1].get("content") != LAST_TEXT:
            return None
        if asked_tokens(body) is not None or _required_tool(body):
            return None
        return _Form(self, url, body)

    def _tool_call(
        self,
        tool: Mapping[str, Any],
        messages: Sequence[Mapping[str, Any]],
        body: Mapping[str, Any],
        custom_id: str,
    ) -> dict[str, Any]:
        maker = Maker(tool.get("parameters") or {"type": "object"})
        arguments = self._text(last_user_message(messages), custom_id, maker, self._seed(body))
        call = {
            "id": answer_id("call_", custom_id),
            "type": "function",
            "function": {"name": tool.get("name"), "arguments": arguments},
        }
        return chat_completion(
            custom_id,
            {"tool_calls": [call]},
            model=_model(body),
            finish_reason="tool_calls",
            usage=Usage(_prompt_tokens(messages), tokens(arguments)),
            created=CREATED,
            fingerprint=FINGERPRINT,
        )

    def _embeddings(self, body: Mapping[str, Any]) -> dict[str, Any]:
        inputs = inputs_of(body)
        size = body.get("dimensions") or EMBEDDING_SIZES.get(str(body.get("model")), 1536)
        used = sum(len(i) if isinstance(i, list) else tokens(str(i)) for i in inputs)
        vectors = [encoded(made_up_vector(i, size, self.seed), body) for i in inputs]
        return embeddings(vectors, model=_model(body), prompt_tokens=used)

    def _completion(self, body: Mapping[str, Any], custom_id: str) -> dict[str, Any]:
        prompt = body.get("prompt")
        prompts = prompt if isinstance(prompt, list) and prompt else [prompt]
        texts = [_cut(self._text(str(p), custom_id), asked_limit(body)) for p in prompts]
        used = Usage(sum(tokens(str(p)) for p in prompts), sum(tokens(t) for t, _ in texts))
        return {
            "id": answer_id("cmpl-", custom_id),
            "object": "text_completion",
            "created": CREATED,
            "model": _model(body),
            "choices": [
                {
                    "index": index,
                    "text": text,
                    "logprobs": None,
                    "finish_reason": "length" if was_cut else "stop",
                }
                for index, (text, was_cut) in enumerate(texts)
            ],
            "usage": chat_usage(used),
            "system_fingerprint": FINGERPRINT,
        }

    def _moderation(self, body: Mapping[str, Any], custom_id: str) -> dict[str, Any]:
        nothing = dict.fromkeys(MODERATION_CATEGORIES, False)
        result = {
            "flagged": False,
            "categories": nothing,
            "category_scores": dict.fromkeys(MODERATION_CATEGORIES, 0.0),
            "category_applied_input_types": {name: ["text"] for name in MODERATION_CATEGORIES},
        }
        body = {"model": MODELS[-1], **body}
        results = [result] * len(inputs_of(body))
        return {"id": answer_id("modr-", custom_id), "model": _model(body), "results": results}


class _Form:
    """Answers to bodies that differ in their last text: those of `_conversation`."""

    def __init__(self, answerer: SimulatedAnswerer, url: str, body: Mapping[str, Any]) -> None:
        self._answerer = answerer
        self._url = url
        self._body = body
        messages = messages_of(body)
        self._is_asked = messages[-1].get("role") == "user"
        self._asked = last_user_message(messages)
        schema = asked_schema(body)
        self._maker = None if schema is None else Maker(schema)
        self._seed = answerer._seed(body)
        self._limit = asked_limit(body)
        self._choices = body.get("n") or 1
        self._prompt = _prompt_tokens([*messages[:-1], {**messages[-1], "content": ""}])

    def body(self, custom_id: str, text: str, prompt: int, completion: int) -> dict[str, Any]:
        return _said(self._url, custom_id, self._body, text, Usage(prompt, completion))

    def fill(self, custom_ids: Sequence[str], asked: Sequence[str]) -> Said | None:
        last = asked if self._is_asked else [self._asked] * len(asked)
        say, maker, seed = self._answerer._text, self._maker, self._seed
        try:
            texts = [
                say(text, custom_id, maker, seed)
                for text, custom_id in zip(last, custom_ids, strict=True)
            ]
        except UnusableSchema:
            return None
        used = list(map(tokens, texts))
        if self._limit is not None and max(used) > self._limit:
            return None
        prompts = [self._prompt + tokens(text) for text in asked]
        return texts, prompts, [number * self._choices for number in used]


# Token probabilities that are made up too: a label is one token, beside those of the others.

_PIECE = re.compile(r"\w+|\s+|[^\w\s]")


def made_up_tokens(text: str, schema: Any, likely: int, seed: int) -> list[dict[str, Any]]:
    """The tokens of an answer with their probabilities, `likely` of them for each place.

    Where a label stands, others of the schema are likely as well, and a word that is not a label.
    """
    places = _label_places(text, schema)
    found, at = [], 0
    while at < len(text):
        piece, labels = places.get(at) or ((_PIECE.match(text, at) or [text[at]])[0], [])
        number = zlib.crc32(f"{seed} {at} {text}".encode("utf-8", "surrogatepass"))
        shares = {piece: 0.99 if not labels else 0.4 + number % 550 / 1000}
        others = [label for label in labels if label != piece]
        left = 1 - shares[piece]
        if labels:
            shares["perhaps"] = left / 10
            left -= left / 10
        for n, other in enumerate(others):
            shares[other] = left if n == len(others) - 1 else left / 2
            left -= shares[other]
        most = sorted(shares, key=lambda word: -shares[word])[:likely]
        found.append(
            {**_token(piece, shares), "top_logprobs": [_token(word, shares) for word in most]}
        )
        at += len(piece)
    return found


def _token(word: str, shares: Mapping[str, float]) -> dict[str, Any]:
    spelling = list(word.encode("utf-8", "surrogatepass"))
    return {"token": word, "logprob": math.log(shares[word]), "bytes": spelling}


def _label_places(text: str, schema: Any) -> dict[int, tuple[str, list[str]]]:
    """Where labels begin in an answer: each with what stands there, and all labels."""
    found: dict[int, tuple[str, list[str]]] = {}
    properties = schema.get("properties") if isinstance(schema, dict) else None
    for name, node in (properties or {}).items():
        labels = node.get("enum") if isinstance(node, dict) else None
        if isinstance(node, dict) and node.get("type") == "boolean":
            labels = [True, False]
        begin = text.find(f"{orjson.dumps(name).decode()}:")
        if not labels or begin < 0:
            continue
        begin = text.index(":", begin + len(orjson.dumps(name))) + 1
        words = [orjson.dumps(label).decode() for label in labels]
        begin += words[0][:1] == '"'
        words = sorted((word.strip('"') for word in words), key=len, reverse=True)
        written = next((word for word in words if text.startswith(word, begin)), None)
        if written:
            found[begin] = (written, words)
    return found


def tokens(text: str) -> int:
    """A plausible count: four characters to a token."""
    return -(-len(text) // 4)


def _prompt_tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    """A plausible count for a whole conversation, with four tokens around each message."""
    return sum(tokens(content_text(m.get("content"))) + 4 for m in messages)


def _cut(text: str, limit: int | None) -> tuple[str, bool]:
    """Cut a text at its limit in tokens, as the service does; tells whether it was cut."""
    if limit is not None and tokens(text) > limit:
        return text[: limit * 4], True
    return text, False


def _said(
    url: str,
    custom_id: str,
    body: Mapping[str, Any],
    text: str,
    usage: Usage,
    *,
    was_cut: bool = False,
    tokens: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """The body of an answer in words."""
    return answer_body(
        url,
        custom_id,
        body,
        text,
        model=_model(body),
        finish_reason="length" if was_cut else "stop",
        usage=usage,
        created=CREATED,
        fingerprint=FINGERPRINT,
        tokens=tokens,
    )


def _model(body: Mapping[str, Any]) -> str:
    """The name of the model, marked."""
    return f"{body.get('model', 'model')}-simulated"


def _required_tool(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The function that a chat completion must call, if it must."""
    choice, tools = body.get("tool_choice"), body.get("tools") or []
    functions = [tool.get("function") or {} for tool in tools]
    if isinstance(choice, dict):
        name = (choice.get("function") or {}).get("name")
        functions = [function for function in functions if function.get("name") == name]
    elif choice != "required":
        return None
    return functions[0] if functions else None
