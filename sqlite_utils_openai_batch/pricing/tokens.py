"""How many tokens a request has: counted by the model's own tokenizer where it is to be had.

The tokenizer is `toktok-rs`: OpenAI's vocabularies compiled in, so that nothing is fetched. It
counts text that spells a special token, like `<|endoftext|>`, as the text it is. Where it can't
be had, or a model's tokenizer isn't known, tokens are estimated from bytes, and said to be.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import orjson

from ..base.parameters import CHAT, EMBEDDINGS, RESPONSES, WRITES_MOST
from ..requests.attachments import Attached, read_attached
from ..requests.images import Image, read_image


def available() -> bool:
    """Whether `toktok-rs` is installed: it has no wheel for every system."""
    return find_spec("toktok") is not None


def count(texts: Sequence[str], encoding: str) -> list[int]:
    """Return the tokens of each text by a vocabulary, like ``o200k_base``.

    Text that spells a special token is counted as the text it is.
    """
    if not texts:
        return []
    from toktok import batch_count

    try:
        counts: list[int] = batch_count(texts, encoding)
    except UnicodeEncodeError:
        # Half of a surrogate pair: no text has one, but JSON can spell it.
        counts = batch_count([utf8(text).decode() for text in texts], encoding)
    return counts


def utf8(text: str) -> bytes:
    """The bytes of a text; what can't be encoded becomes a question mark."""
    return text.encode("utf-8", "replace")


#: Which vocabulary a model has, by the last part of its name ("openai/gpt-4o" is gpt-4o), also
#: tuned (ft:...). Source: `MODEL_TO_ENCODING` and `MODEL_PREFIX_TO_ENCODING` of OpenAI's tiktoken.
ENCODINGS = (
    (r"(gpt-5|gpt-4o|gpt-4\.1|gpt-4\.5|chatgpt-4o|o1|o3|o4-mini)(?![0-9]).*", "o200k_base"),
    (r"gpt-oss-.*", "o200k_harmony"),
    (r"(gpt-4|gpt-3\.5|gpt-35)(?![0-9]).*", "cl100k_base"),
    (r"(text-embedding-(ada-002|3-small|3-large)|davinci-002|babbage-002).*", "cl100k_base"),
)

#: Newer models of the same maker: counted with the last vocabulary that it published, and said so.
PROBABLY = (r"(gpt|o)-?[1-9].*", "o200k_base")

#: Around each message and before each reply. Source: OpenAI's cookbook, "How to count tokens
#: with tiktoken", section on chat completions.
TOKENS_PER_MESSAGE = 3
TOKENS_PER_NAME = 1
TOKENS_PER_REPLY = 3

#: Bytes of text to a token where there is no tokenizer: about, and the range that text in other
#: languages and other data falls in. A token is never less than a byte.
BYTES_PER_TOKEN = 4.0
FEWEST_BYTES, MOST_BYTES = 2.0, 6.0


def plain_name(model: str) -> str:
    """A model's name without its vendor and without the mark of tuning."""
    return model.rpartition("/")[2].lower().removeprefix("ft:")


def encoding_of(model: str) -> str | None:
    """The vocabulary of a model by its name; None where it isn't published."""
    name = plain_name(model)
    for pattern, encoding in ENCODINGS:
        if re.fullmatch(pattern, name):
            return encoding
    return None


@dataclass(frozen=True, slots=True)
class Counter:
    """Counts the tokens of texts for one model, by a vocabulary or from bytes where it has none.

    `exact` tells whether the vocabulary is the model's own.
    """

    model: str
    encoding: str | None = None
    exact: bool = False
    attached: int | None = None
    """The most tokens that one attached PDF or sound is said to have."""

    @property
    def counts_as(self) -> str:
        """The model whose vocabulary is taken where a model's own isn't published."""
        return "gpt-5"

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text."""
        if self.encoding is None:
            return [round(len(utf8(text)) / BYTES_PER_TOKEN) for text in texts]
        return count(texts, self.encoding)


def counter_for(*models: str) -> Counter:
    """A counter for the first model; the other names are tried where it isn't known."""
    if available():
        for model in models:
            encoding = encoding_of(model)
            if encoding is not None:
                return Counter(model, encoding, exact=True)
        pattern, encoding = PROBABLY
        if re.fullmatch(pattern, plain_name(models[0])):
            return Counter(models[0], encoding)
    return Counter(models[0])


@dataclass(slots=True)
class Content:
    """What in a request costs tokens: texts, images, and what stands around messages."""

    texts: list[str] = field(default_factory=list)
    images: list[Image] = field(default_factory=list)
    attached: list[Attached] = field(default_factory=list)
    overhead: int = 0


def content_of(body: Mapping[str, Any], endpoint: str) -> Content:
    """Find what costs tokens in a request body, by the published rules.

    A schema is counted as its JSON text: OpenAI publishes no rule for it.
    """
    content = Content()
    if endpoint == EMBEDDINGS:
        _inputs(content, body.get("input"))
    elif endpoint in (CHAT, RESPONSES):
        _messages(content, body)
        content.texts += [
            orjson.dumps(body[name]).decode()
            for name in ("response_format", "tools", "text")
            if isinstance(body.get(name), dict | list)
        ]
    else:
        content.texts += _strings(body)
    return content


def _inputs(content: Content, given: Any) -> None:
    """The inputs of an embeddings request: texts, or lists of tokens."""
    for one in given if isinstance(given, list) else [given]:
        if isinstance(one, str):
            content.texts.append(one)
        elif isinstance(one, int):
            content.overhead += 1
        elif isinstance(one, list):
            content.overhead += len(one)


def _messages(content: Content, body: Mapping[str, Any]) -> None:
    given = body.get("messages", body.get("input"))
    messages = [{"role": "user", "content": given}] if isinstance(given, str) else given or []
    if body.get("instructions"):
        messages = [{"role": "system", "content": body["instructions"]}, *messages]
    content.overhead += TOKENS_PER_REPLY
    for message in messages:
        content.overhead += TOKENS_PER_MESSAGE
        for name, value in message.items() if isinstance(message, dict) else ():
            content.overhead += TOKENS_PER_NAME * (name == "name")
            _value(content, value)


def _value(content: Content, value: Any) -> None:
    """A value of a message: text, or parts that are text or images."""
    if isinstance(value, str):
        content.texts.append(value)
    elif isinstance(value, dict):
        image = read_image(value)
        if image is not None:
            content.images.append(image)
        elif (file := read_attached(value)) is not None:
            content.attached.append(file)
        else:
            for name, inner in value.items():
                if name != "type":
                    _value(content, inner)
    elif isinstance(value, list):
        for inner in value:
            _value(content, inner)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _strings(inner)


@dataclass(slots=True)
class Counted:
    """Input tokens of one request: as counted, and the bound that they stay below.

    Both are None where the tokens of an image or a file can't be known.
    """

    tokens: int | None
    most: int | None
    attached: tuple[Attached, ...] = ()


def _beside_text(counter: Counter, content: Content) -> int | None:
    """Tokens of what isn't text; None where they can't be known."""
    found = [image_tokens(counter.model, image) for image in content.images]
    found += [counter.attached for _ in content.attached]
    known = [one for one in found if one is not None]
    return sum(known) if len(known) == len(found) else None


def count_requests(
    counter: Counter, bodies: Sequence[Mapping[str, Any]], endpoint: str
) -> list[Counted]:
    """Input tokens of rendered request bodies."""
    contents = [content_of(body, endpoint) for body in bodies]
    others = [_beside_text(counter, content) for content in contents]
    # Where a part can't be known the whole can't: its text isn't counted, which would take a
    # tokenizer of 100 MB.
    known = [one for one, other in zip(contents, others, strict=True) if other is not None]
    counts = iter(counter.count([text for content in known for text in content.texts]))
    found = []
    for content, other in zip(contents, others, strict=True):
        if other is None:
            found.append(Counted(None, None, tuple(content.attached)))
            continue
        tokens = content.overhead + sum(next(counts) for _ in content.texts)
        # A tokenizer of bytes makes a token of one byte at the least, so bytes are a bound.
        most = (
            tokens
            if counter.exact
            else content.overhead + sum(len(utf8(text)) for text in content.texts)
        )
        found.append(Counted(tokens + other, most + other, tuple(content.attached)))
    return found


#: Parameters that cap an answer's tokens, as the endpoints name them.
CAPS = ("max_completion_tokens", "max_output_tokens", "max_tokens")


def output_cap(body: Mapping[str, Any]) -> int | None:
    """The most tokens that the answers to one request may have; None where it isn't capped."""
    for name in CAPS:
        value = _whole(body.get(name))
        if value is not None and value > 0:
            return value * answers_asked(body)
    return None


#: The most answers to one prompt that may be asked for.
MOST_ANSWERS = 128


def answers_asked(body: Mapping[str, Any]) -> int:
    """How many answers a request asks for, at most: `best_of` writes those that it leaves out too.

    Where a column says how many, that may be as many as there can be.
    """
    counts = [
        MOST_ANSWERS if isinstance(body.get(name), str) else _whole(body.get(name)) or 1
        for name in ("n", "best_of")
    ]
    prompts = body.get("prompt")
    of_tokens = isinstance(prompts, list) and all(isinstance(one, int) for one in prompts)
    several = len(prompts) if isinstance(prompts, list) and not of_tokens else 1
    return max(1, *counts) * max(1, several)


def _whole(value: Any) -> int | None:
    """A whole number, also one that is written 3.0: to JSON that is the same."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


#: The most tokens that a model writes when a request sets no cap, by its name.
#: Source: the pages of OpenAI's model reference ("max output tokens").
MODEL_CAPS = (
    (r"(gpt-5-chat|gpt-5\.\d+-chat).*", 16_384),
    (r"gpt-[56].*", 128_000),
    *WRITES_MOST,
    (r"gpt-oss-.*", 131_072),
)


def model_cap(model: str) -> int | None:
    """The most tokens that a model writes by itself; None where that isn't published."""
    name = plain_name(model)
    for pattern, cap in MODEL_CAPS:
        if re.fullmatch(pattern, name):
            return cap
    return None


# Tokens of images.

#: Billed as a base and so many tokens a tile, by the model's name.
TILES = (
    (r"gpt-4o-mini.*", 2_833, 5_667),
    (r"gpt-4\.1-(mini|nano).*", None, None),
    (r"(gpt-4o|chatgpt-4o|gpt-4\.1|gpt-4\.5|gpt-4-turbo|gpt-4-vision).*", 85, 170),
    (r"(o1|o1-pro|o3)(-\d{4}.*)?", 75, 150),
    (r"(gpt-5|gpt-5-chat-latest)(-\d{4}.*)?", 70, 140),
)
#: Billed by patches, of which there are at most `PATCHES`, times this.
PATCHED = (
    (r"gpt-4\.1-mini.*", 1.62),
    (r"gpt-4\.1-nano.*", 2.46),
    (r"o4-mini.*", 1.72),
    (r"gpt-5-mini.*", 1.62),
    (r"gpt-5-nano.*", 2.46),
)
PATCH, PATCHES = 32, 1_536
TILE, LONGEST, SHORTEST = 512, 2_048, 768


def image_tokens(model: str, image: Image) -> int | None:
    """Tokens of an image for a model; the most that any size has where the size isn't known.

    None for a model whose rule isn't published.
    """
    name = model.rpartition("/")[2].lower().removeprefix("ft:")
    for pattern, factor in PATCHED:
        if re.fullmatch(pattern, name):
            return math.ceil(patches(image.size) * factor)
    for pattern, base, tile in TILES:
        if base is not None and tile is not None and re.fullmatch(pattern, name):
            return base if image.detail == "low" else base + tile * tiles(image.size)
    return None


def patches(size: tuple[int, int] | None) -> int:
    """Patches that cover an image, after it was shrunk to fit the most that there may be."""
    if size is None:
        return PATCHES
    width, height = size
    whole = math.ceil(width / PATCH) * math.ceil(height / PATCH)
    if whole <= PATCHES:
        return max(whole, 1)
    shrink = math.sqrt(PATCHES * PATCH**2 / (width * height))
    across, down = width * shrink / PATCH, height * shrink / PATCH
    # Shrunk once more, so that whole patches fit one way.
    shrink *= min(math.floor(across) / across, math.floor(down) / down)
    return min(
        math.ceil(round(width * shrink / PATCH, 6)) * math.ceil(round(height * shrink / PATCH, 6)),
        PATCHES,
    )


def tiles(size: tuple[int, int] | None) -> int:
    """Tiles that cover an image, shrunk into 2048 x 2048 and to 768 on its short side."""
    if size is None:
        return math.ceil(LONGEST / TILE) * math.ceil(SHORTEST / TILE)
    width, height = size
    shrink = min(1.0, LONGEST / max(width, height, 1))
    width, height = round(width * shrink), round(height * shrink)
    shrink = min(1.0, SHORTEST / max(min(width, height), 1))
    width, height = round(width * shrink), round(height * shrink)
    return max(math.ceil(width / TILE), 1) * max(math.ceil(height / TILE), 1)
