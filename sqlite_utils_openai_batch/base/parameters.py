"""What a request body may hold: its parameters by endpoint, and what each family of models refuses.

One table for `preview`, `run`, `validate` and the local batch server alike. Names, types and
ranges are those of OpenAI's published API description (2.3.0, August 2026), together with what its
prose says of single parameters. What models refuse is from OpenAI's guides to reasoning models, to
GPT-5 and to structured outputs, and from the batch guide (no streaming).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from .endpoints import ASKED
from .text import nearest

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
EMBEDDINGS = "/v1/embeddings"
COMPLETIONS = "/v1/completions"
MODERATIONS = "/v1/moderations"
IMAGES = "/v1/images/generations"

Body = Mapping[str, Any]

# Parameters


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of value that a parameter may have.

    `low` and `high` bound a number, the items of a list or the characters of a text. `own` are
    bounds and words that OpenAI and Azure hold to, and other servers of the same API needn't.
    """

    of: str
    low: float | None = None
    high: float | None = None
    values: tuple[str, ...] = ()
    own: bool = False

    @property
    def words(self) -> str:
        """`a number from 0 to 2`, `one of low, medium, high`."""
        if self.values:
            return f"one of {', '.join(self.values)}"
        return f"{_ARTICLES[self.of]}{_bounds(self)}"


_TYPES: Mapping[str, tuple[type, ...]] = {
    "number": (int, float),
    "integer": (int,),
    "text": (str,),
    "switch": (bool,),
    "object": (dict,),
    "list": (list,),
}
_ARTICLES = {
    "number": "a number",
    "integer": "a whole number",
    "text": "text",
    "switch": "true or false",
    "object": "an object",
    "list": "a list",
}
_UNITS = {"text": " characters", "list": " items"}


def _bounds(kind: Kind) -> str:
    unit = _UNITS.get(kind.of, "")
    if kind.low is not None and kind.high is not None:
        return f" {'of' if unit else 'from'} {kind.low:g} to {kind.high:g}{unit}"
    if kind.high is not None:
        return f" of at most {kind.high:g}{unit}"
    if kind.low is not None:
        return f" of at least {kind.low:g}{unit.removesuffix('s') if kind.low == 1 else unit}"
    return ""


def _number(low: float, high: float) -> tuple[Kind, ...]:
    return (Kind("number", low, high),)


def _whole(low: float | None = None, high: float | None = None, own: bool = True) -> tuple[Kind]:
    return (Kind("integer", low, high, own=own),)


def _word(*values: str) -> tuple[Kind, ...]:
    return (Kind("text", values=values, own=True),)


TEXT = (Kind("text"),)
SWITCH = (Kind("switch"),)
OBJECT = (Kind("object"),)
LIST = (Kind("list"),)
_STOP = (*TEXT, Kind("list", 1, 4, own=True))
_TOKENS = (Kind("integer", 1),)
_TIERS = ("auto", "default", "flex", "scale", "priority", "fast")
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_EFFORT = _word(*EFFORTS)
_VERBOSITY = _word("low", "medium", "high")

#: Parameters of chat completions and of responses alike.
_BOTH: Mapping[str, tuple[Kind, ...]] = {
    "model": TEXT,
    "metadata": OBJECT,
    "temperature": _number(0, 2),
    "top_p": _number(0, 1),
    "top_logprobs": _whole(0, 20),
    "user": TEXT,
    "safety_identifier": (Kind("text", high=64, own=True),),
    "prompt_cache_key": TEXT,
    "prompt_cache_retention": _word("in_memory", "24h"),
    "prompt_cache_options": OBJECT,
    "parallel_tool_calls": SWITCH,
    "store": SWITCH,
    "stream": SWITCH,
    "stream_options": OBJECT,
    "tools": LIST,
    "tool_choice": (*_word("none", "auto", "required"), *OBJECT),
    "moderation": OBJECT,
}

#: Every parameter of an endpoint; None as a value is as if it weren't given.
PARAMETERS: Mapping[str, Mapping[str, tuple[Kind, ...]]] = {
    CHAT: {
        **_BOTH,
        "messages": (Kind("list", 1),),
        "service_tier": _word(*_TIERS),
        "modalities": LIST,
        "verbosity": _VERBOSITY,
        "reasoning_effort": _EFFORT,
        "max_completion_tokens": _TOKENS,
        "max_tokens": _TOKENS,
        "frequency_penalty": _number(-2, 2),
        "presence_penalty": _number(-2, 2),
        "web_search_options": OBJECT,
        "response_format": OBJECT,
        "audio": OBJECT,
        "stop": _STOP,
        "logit_bias": OBJECT,
        "logprobs": SWITCH,
        "n": _whole(1, 128),
        "prediction": OBJECT,
        "seed": _whole(own=False),
        "function_call": (*_word("none", "auto"), *OBJECT),
        "functions": (Kind("list", 1, 128, own=True),),
    },
    RESPONSES: {
        **_BOTH,
        "input": (*TEXT, *LIST),
        "instructions": (*TEXT, *LIST),
        "previous_response_id": TEXT,
        "conversation": (*TEXT, *OBJECT),
        "background": SWITCH,
        "max_tool_calls": _whole(own=False),
        "max_output_tokens": _whole(16),
        "text": OBJECT,
        "prompt": OBJECT,
        "service_tier": _word(*_TIERS, "ultrafast"),
        "truncation": _word("auto", "disabled"),
        "reasoning": OBJECT,
        "include": LIST,
        "context_management": (Kind("list", 1, own=True),),
    },
    EMBEDDINGS: {
        "model": TEXT,
        "input": (*TEXT, Kind("list", 1, 2048, own=True)),
        "encoding_format": _word("float", "base64"),
        "dimensions": _whole(1, own=False),
        "user": TEXT,
    },
    COMPLETIONS: {
        "model": TEXT,
        "prompt": (*TEXT, Kind("list", 1)),
        "best_of": _whole(0, 20),
        "echo": SWITCH,
        "frequency_penalty": _number(-2, 2),
        "presence_penalty": _number(-2, 2),
        "logit_bias": OBJECT,
        "logprobs": _whole(0, 5),
        "max_tokens": _whole(0, own=False),
        "n": _whole(1, 128),
        "seed": _whole(own=False),
        "stop": _STOP,
        "stream": SWITCH,
        "stream_options": OBJECT,
        "suffix": TEXT,
        "temperature": _number(0, 2),
        "top_p": _number(0, 1),
        "user": TEXT,
    },
    MODERATIONS: {"model": TEXT, "input": (*TEXT, Kind("list", 1))},
    IMAGES: {
        "model": TEXT,
        "prompt": TEXT,
        "n": _whole(1, 10),
        "quality": _word("standard", "hd", "low", "medium", "high", "auto"),
        "response_format": _word("url", "b64_json"),
        "output_format": _word("png", "jpeg", "webp"),
        "output_compression": _whole(0, 100),
        "stream": SWITCH,
        "partial_images": _whole(0, 3),
        "size": TEXT,
        "moderation": _word("low", "auto"),
        "background": _word("transparent", "opaque", "auto"),
        "style": _word("vivid", "natural"),
        "user": TEXT,
    },
}

#: Parameters inside of others, by their path.
INNER: Mapping[str, Mapping[str, tuple[Kind, ...]]] = {
    RESPONSES: {"reasoning.effort": _EFFORT, "text.verbosity": _VERBOSITY, "text.format": OBJECT},
}

#: What servers that imitate this API take beside (vLLM, SGLang, llama.cpp, Ollama, OpenRouter).
_ELSEWHERE = """
    top_k min_p top_a typical_p tfs_z repetition_penalty repeat_penalty length_penalty mirostat
    mirostat_eta mirostat_tau best_of use_beam_search min_tokens ignore_eos stop_token_ids
    include_stop_str_in_output skip_special_tokens spaces_between_special_tokens prompt_logprobs
    allowed_token_ids bad_words echo add_generation_prompt continue_final_message
    add_special_tokens chat_template chat_template_kwargs mm_processor_kwargs documents guided_json
    guided_regex guided_choice guided_grammar guided_decoding_backend structured_outputs regex
    ebnf json_schema grammar priority request_id return_token_ids cache_salt truncate_prompt_tokens
    keep_alive num_ctx num_predict options format think enable_thinking thinking reasoning provider
    models route transforms plugins random_seed safe_prompt cache_prompt id_slot samplers
    """
ELSEWHERE = frozenset(_ELSEWHERE.split())

#: Parameters that another endpoint has, and what they are called here.
MOVED: Mapping[str, Mapping[str, str]] = {
    CHAT: {
        "max_output_tokens": "max_completion_tokens",
        "input": "messages",
        "instructions": "a message with the role system in messages",
        "text": "response_format and verbosity",
        "reasoning": "reasoning_effort",
    },
    RESPONSES: {
        "max_tokens": "max_output_tokens",
        "max_completion_tokens": "max_output_tokens",
        "messages": "input",
        "response_format": "text.format",
        "reasoning_effort": "reasoning.effort",
        "verbosity": "text.verbosity",
        "functions": "tools",
        "function_call": "tool_choice",
    },
}

# Models

#: Models that always reason, by the last part of their name ("openai/o3" is o3), also tuned.
REASONING = r"(ft:)?(o[1-9]|gpt-5(?!\.|.*chat)|gpt-5\.\d+-(codex|pro)).*"

#: Models that reason only if asked: their efforts include none.
REASONING_IF_ASKED = r"(ft:)?gpt-5\.\d+(?!.*(chat|codex|pro)).*"

#: Models that never reason.
PLAIN = r"(ft:)?(gpt-3|gpt-4|chatgpt-4o|gpt-5-chat).*"

#: Efforts by model, the first that fits; a newer model may have any.
MODEL_EFFORTS = (
    (r"(ft:)?gpt-5-pro.*", ("high",)),
    (r"(ft:)?(o[1-9]|gpt-5-codex|gpt-5\.1-codex(?!-max)).*", ("low", "medium", "high")),
    (r"(ft:)?gpt-5(?!\.|.*chat).*", ("minimal", "low", "medium", "high")),
    (r"(ft:)?gpt-5\.1-codex-max.*", ("none", "low", "medium", "high", "xhigh")),
    (r"(ft:)?gpt-5\.1(?!\d|.*chat).*", ("none", "low", "medium", "high")),
    (r"(ft:)?gpt-5\.[2-5]-pro.*", ("medium", "high", "xhigh")),
    (r"(ft:)?gpt-5\.[2-5](?!\d|.*chat).*", ("none", "low", "medium", "high", "xhigh")),
)

#: The most dimensions of embeddings by model; 0 for one that has one size only.
DIMENSIONS = (
    (r"text-embedding-ada-.*", 0),
    (r"text-embedding-3-small", 1536),
    (r"text-embedding-3-large", 3072),
)

#: The most tokens that a model writes, of families that don't change any more.
#: Source: the pages of OpenAI's model reference ("max output tokens").
WRITES_MOST = (
    (r"(gpt-4o(?!-64k)|chatgpt-4o).*", 16_384),
    (r"gpt-4\.1.*", 32_768),
    (r"(o1|o3|o4-mini)(?!-mini-|-preview).*", 100_000),
    (r"(gpt-4-turbo|gpt-4-\d{4}-preview|gpt-4-vision|gpt-3\.5).*", 4_096),
    (r"gpt-4(-\d{4})?", 8_192),
)

#: Parameters of sampling, with the values that a reasoning model puts up with: its own.
SAMPLING: Mapping[str, tuple[Any, ...]] = {
    "temperature": (1,),
    "top_p": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Parameters that these models refuse at any endpoint, and the values that do no harm."""

    parameters: Mapping[str, tuple[Any, ...]]
    why: str
    models: str = ".*"
    only_with_effort: bool = False
    """Whether they are refused only beside a reasoning effort other than none."""
    code: str = "unsupported_parameter"

    def holds(self, name: str, parameter: str, value: Any, body: Body) -> bool:
        """Whether a model of this plain name refuses the parameter in this body."""
        return (
            parameter in self.parameters
            and value not in (None, *self.parameters[parameter])
            and (not self.only_with_effort or effort(body) not in (None, "none"))
            and re.fullmatch(self.models, name) is not None
        )


REFUSALS = (
    Refusal(SAMPLING, "it reasons", REASONING),
    Refusal(SAMPLING, "it reasons", REASONING_IF_ASKED, only_with_effort=True),
    Refusal({"reasoning_effort": (), "reasoning": (), "verbosity": ()}, "it doesn't reason", PLAIN),
    # as the published description says; the models after them refuse it too
    Refusal({"stop": ()}, "it reasons", r"(ft:)?(o3|o4-mini|gpt-5(?!\.|.*chat)).*"),
    Refusal({"stream": (False,)}, "a batch doesn't stream", code="streaming_unsupported"),
    Refusal({"background": (False,)}, "a batch runs in the background anyway",
            code="background_unsupported"),
)  # fmt: skip

#: Refused because it is a batch that asks, and taken where a request is made at once.
ONLY_IN_BATCHES = ("streaming_unsupported", "background_unsupported")


def plain_name(model: Any) -> str:
    """The last part of a model's name, in small letters: `openai/o3` is o3."""
    return model.rpartition("/")[2].lower() if isinstance(model, str) else ""


def effort(body: Body) -> Any:
    """The reasoning effort that a body asks for, at either endpoint."""
    reasoning = body.get("reasoning")
    nested = reasoning.get("effort") if isinstance(reasoning, dict) else None
    return body.get("reasoning_effort", nested)


# What is wrong with a body


@dataclass(frozen=True, slots=True)
class Refused:
    """One thing in a body for which its request is refused.

    `message` begins with `param`, the path in the body. `own` tells that OpenAI and Azure refuse
    it for certain, and another server of the same API perhaps not.
    """

    param: str
    code: str
    message: str
    own: bool = False


def refusals(endpoint: str, body: Body, *, template: bool = False) -> Iterator[Refused]:
    """Everything in a body that the endpoint or its model refuses.

    In a `template` text with a placeholder may become anything, so nothing is said of it. What a
    body must hold besides (its model, its messages) is for `endpoints.REQUIRED`. An endpoint that
    isn't in the table refuses nothing.
    """
    if endpoint not in PARAMETERS:
        return
    if template:
        body = {name: value for name, value in body.items() if not is_open(value)}
    for param, kinds, value in _placed(endpoint, body):
        if param == ASKED.get(endpoint) or (template and is_open(value)):
            continue
        if (found := _misfit(param, kinds, value)) is not None:
            yield found
    yield from _moved(endpoint, body)
    yield from _of_model(endpoint, body)
    yield from _together(endpoint, body)
    if isinstance(metadata := body.get("metadata"), dict):
        yield from _metadata(metadata)
    yield from _formats(endpoint, body)
    yield from refused_words(endpoint, body, template=template)


def refused_words(endpoint: str, body: Body, *, template: bool = False) -> Iterator[Refused]:
    """What of `refusals` lies in what is ASKED, not in how."""
    name = ASKED.get(endpoint, "")
    kinds, value = PARAMETERS.get(endpoint, {}).get(name), body.get(name)
    given = value is not None and not (template and is_open(value))
    if kinds and given and (found := _misfit(name, kinds, value)) is not None:
        yield found
    if endpoint in (EMBEDDINGS, MODERATIONS):
        yield from _empty_input(endpoint, body.get("input"))
    if endpoint == CHAT and isinstance(body.get("messages"), list):
        for number, message in enumerate(body["messages"]):
            if not (template and is_open(message)):
                yield from _message(number, message, template)
    if not (template and open_words(endpoint, body)) and lacks_json(endpoint, body):
        yield json_refused(endpoint)


def outline(endpoint: str, body: Body) -> bytes | None:
    """A body without the texts of its messages: of two with one outline, both are refused or none.

    None where texts decide, and where there are no messages of texts.
    """
    name = ASKED.get(endpoint, "")
    _, given = answer_format(endpoint, body)
    if endpoint not in (CHAT, RESPONSES) or _is_json_mode(given):
        return None
    bare = _without_texts(body.get(name), endpoint)
    if bare is None:
        return None
    try:
        return orjson.dumps({**body, name: bare})
    except orjson.JSONEncodeError:
        # half a surrogate pair, or a number of many digits: whatever else is in it, it is rare
        return None


def _without_texts(asked: Any, endpoint: str) -> Any:
    """Messages with nothing in them; None where they hold something else than text."""
    if isinstance(asked, str) and endpoint == RESPONSES:
        return ""
    if not isinstance(asked, list):
        return None
    bare = []
    for message in asked:
        if not isinstance(message, dict) or not isinstance(message.get("content"), str):
            return None
        bare.append({**message, "content": ""})
    return bare


def unknown(endpoint: str, body: Body, *, elsewhere: bool = False) -> Iterator[tuple[str, str]]:
    """Parameters that aren't in the table, each with the sentence that says so.

    They may be newer than it. `elsewhere`: the server isn't OpenAI's, and has some of its own.
    """
    known = PARAMETERS.get(endpoint)
    if known is None:
        return
    moved = MOVED.get(endpoint, {})
    for name in body:
        if name in known or name in moved or (elsewhere and name in ELSEWHERE):
            continue
        meant = nearest(name, known)
        guess = f"Did you mean {meant}?" if meant else "It may be newer than this program."
        yield name, f"{name} is not a parameter that is known of {endpoint}. {guess}"


def is_open(value: Any) -> bool:
    """Whether a value of a template is text with a placeholder: rows decide what it becomes."""
    return isinstance(value, str) and ("{{" in value or "{%" in value)


def _placed(endpoint: str, body: Body) -> Iterator[tuple[str, tuple[Kind, ...], Any]]:
    for param, kinds in PARAMETERS[endpoint].items():
        if body.get(param) is not None:
            yield param, kinds, body[param]
    for param, kinds in INNER.get(endpoint, {}).items():
        outer, _, inner = param.partition(".")
        holder = body.get(outer)
        if isinstance(holder, dict) and holder.get(inner) is not None:
            yield param, kinds, holder[inner]


def _misfit(param: str, kinds: Sequence[Kind], value: Any) -> Refused | None:
    fitting = [kind for kind in kinds if _is_of(kind.of, value)]
    words = " or ".join(kind.words for kind in kinds)
    if not fitting:
        message = f"{param} must be {words}, not {told(value)}"
        return Refused(param, "invalid_type", message)
    if any(_is_within(kind, value) for kind in fitting):
        return None
    shown = f"{len(value):,}{_UNITS[fitting[0].of]}" if _is_counted(fitting[0]) else told(value)
    message = f"{param} must be {words}, not {shown}"
    return Refused(param, "invalid_value", message, own=all(kind.own for kind in fitting))


def _is_of(of: str, value: Any) -> bool:
    if isinstance(value, bool):
        return of == "switch"
    whole = of == "integer" and isinstance(value, float) and value.is_integer()
    return whole or isinstance(value, _TYPES[of])


def _is_counted(kind: Kind) -> bool:
    return kind.of in _UNITS and not kind.values


def _is_within(kind: Kind, value: Any) -> bool:
    if kind.values:
        return value in kind.values
    size = len(value) if kind.of in _UNITS else value
    low = kind.low is None or size >= kind.low
    return low and (kind.high is None or size <= kind.high)


def told(value: Any) -> str:
    """A value in a message: as JSON, text named as such, at most 40 characters of it."""
    said = json.dumps(value, ensure_ascii=False, default=str)
    said = said if len(said) <= 40 else f"{said[:39]}…"
    return f"the text {said}" if isinstance(value, str) else said


def _moved(endpoint: str, body: Body) -> Iterator[Refused]:
    for param, here in MOVED.get(endpoint, {}).items():
        if body.get(param) is not None:
            message = f"{param} is not a parameter of {endpoint}: write {here} instead"
            yield Refused(param, "unsupported_parameter", message, own=True)


def _of_model(endpoint: str, body: Body) -> Iterator[Refused]:
    model = body.get("model")
    name = plain_name(model)
    shown = model if isinstance(model, str) and model else "this model"
    for param, value in body.items():
        for rule in REFUSALS:
            if param in PARAMETERS[endpoint] and rule.holds(name, param, value, body):
                yield _refused_by(rule, param, shown)
    if body.get("max_tokens") is not None and endpoint == CHAT and re.fullmatch(
        f"{REASONING}|{REASONING_IF_ASKED}", name
    ):  # fmt: skip
        message = f"max_tokens is refused by {shown}: write max_completion_tokens instead"
        yield Refused("max_tokens", "unsupported_parameter", message)
    yield from _too_long(endpoint, body, name, shown)
    yield from _effort_refused(endpoint, body, name, shown)
    yield from _dimensions_refused(body, name, shown)


def _too_long(endpoint: str, body: Body, name: str, model: str) -> Iterator[Refused]:
    plain = name.removeprefix("ft:")
    most = next((most for form, most in WRITES_MOST if re.fullmatch(form, plain)), None)
    for param in ("max_tokens", "max_completion_tokens") if endpoint == CHAT else ():
        asked: Any = body.get(param)
        if most is not None and _is_of("integer", asked) and asked > most:
            message = f"{param} is refused by {model}: it writes at most {most:,}, not {asked:,}"
            yield Refused(param, "invalid_value", message, own=True)


def _refused_by(rule: Refusal, param: str, model: str) -> Refused:
    if rule.code in ONLY_IN_BATCHES:
        return Refused(param, rule.code, f"{param} is set: {rule.why}")
    allowed = "".join(f" (only {told(value)} is taken)" for value in rule.parameters[param][:1])
    message = f"{param} is refused by {model}: {rule.why}{allowed}. Leave it out"
    return Refused(param, rule.code, message)


def _effort_refused(endpoint: str, body: Body, name: str, model: str) -> Iterator[Refused]:
    asked = effort(body)
    known = next((some for form, some in MODEL_EFFORTS if re.fullmatch(form, name)), None)
    if known is not None and asked in EFFORTS and asked not in known:
        param = "reasoning.effort" if endpoint == RESPONSES else "reasoning_effort"
        message = f'{param} "{asked}" is refused by {model}: it has {", ".join(known)}'
        yield Refused(param, "unsupported_value", message)


def _dimensions_refused(body: Body, name: str, model: str) -> Iterator[Refused]:
    asked = body.get("dimensions")
    most = next((most for form, most in DIMENSIONS if re.fullmatch(form, name)), None)
    if most is None or asked is None or not _is_of("integer", asked) or (most and asked <= most):
        return
    why = f"it has at most {most:,}" if most else "its embeddings have one size. Leave it out"
    yield Refused("dimensions", "unsupported_value", f"dimensions is refused by {model}: {why}")


def _together(endpoint: str, body: Body) -> Iterator[Refused]:
    """Parameters that need or exclude each other."""
    if endpoint != CHAT:
        return
    if body.get("top_logprobs") is not None and not body.get("logprobs"):
        yield Refused("top_logprobs", "invalid_value", "top_logprobs needs logprobs true beside it")
    if body.get("max_tokens") is not None and body.get("max_completion_tokens") is not None:
        message = "max_tokens and max_completion_tokens are the same: give one of them"
        yield Refused("max_tokens", "invalid_value", message)
    if body.get("tool_choice") not in (None, "none") and not body.get("tools"):
        yield Refused("tool_choice", "invalid_value", "tool_choice needs tools beside it", own=True)
    bias = body.get("logit_bias")
    for token, value in bias.items() if isinstance(bias, dict) else ():
        if not _is_of("number", value) or not -100 <= value <= 100:
            message = f"logit_bias.{token} must be a number from -100 to 100, not {told(value)}"
            yield Refused(f"logit_bias.{token}", "invalid_value", message, own=True)
            return


ROLES = ("system", "developer", "user", "assistant", "tool", "function")


def _empty_input(endpoint: str, given: Any) -> Iterator[Refused]:
    empty = given == "" or (isinstance(given, list) and any(one in ("", []) for one in given))
    if empty and endpoint == EMBEDDINGS:
        yield Refused("input", "invalid_value", "input is empty text, of which nothing is made")
    for one in given if isinstance(given, list) else ():
        if not isinstance(one, (str, int, list, dict)) or isinstance(one, bool):
            message = f"input must hold texts, or lists of tokens, not {told(one)}"
            yield Refused("input", "invalid_type", message)
            return


def _message(number: int, message: Any, template: bool) -> Iterator[Refused]:
    at = f"messages[{number}]"
    if not isinstance(message, dict):
        yield Refused(at, "invalid_type", f"{at} must be an object, not {told(message)}")
        return
    role, content = message.get("role"), message.get("content")
    if role not in ROLES and not (template and is_open(role)):
        said = "is missing" if role is None else f"must be one of {', '.join(ROLES)}, not "
        said += "" if role is None else told(role)
        yield Refused(f"{at}.role", "invalid_value", f"{at}.role {said}")
    if content is not None and not isinstance(content, (str, list)):
        said = f"{at}.content must be text or a list of parts, not {told(content)}"
        yield Refused(f"{at}.content", "invalid_type", said)
    elif content is None and role in ("system", "developer", "user", "tool"):
        said = f"{at}.content is missing"
        yield Refused(f"{at}.content", "invalid_type", said)


def _metadata(metadata: Mapping[str, Any]) -> Iterator[Refused]:
    if len(metadata) > 16:
        message = f"metadata must hold at most 16 pairs, not {len(metadata)}"
        yield Refused("metadata", "invalid_value", message, own=True)
    for name, value in metadata.items():
        if not isinstance(value, str):
            message = f"metadata.{name} must be text, not {told(value)}"
            yield Refused(f"metadata.{name}", "invalid_type", message, own=True)
        elif len(name) > 64 or len(value) > 512:
            message = f"metadata.{name} is too long: a name has 64 characters at most, a value 512"
            yield Refused(f"metadata.{name}", "invalid_value", message, own=True)


# The shape of the answer

FORMATS = ("text", "json_object", "json_schema")
_LIKE_A_SCHEMA = frozenset({"properties", "$defs", "required", "items", "anyOf", "enum"})


def answer_format(endpoint: str, body: Body) -> tuple[str, Any]:
    """Where a body says what the answer looks like, and what it says there."""
    if endpoint == RESPONSES:
        text = body.get("text")
        return "text.format", text.get("format") if isinstance(text, dict) else None
    return "response_format", body.get("response_format") if endpoint == CHAT else None


def _formats(endpoint: str, body: Body) -> Iterator[Refused]:
    param, given = answer_format(endpoint, body)
    if isinstance(given, dict):
        yield from _format(endpoint, param, given)
    tools = body.get("tools")
    for number, tool in enumerate(tools if isinstance(tools, list) else ()):
        if not isinstance(tool, dict):
            message = f"tools[{number}] must be an object, not {told(tool)}"
            yield Refused(f"tools[{number}]", "invalid_type", message)
            continue
        function = tool.get("function") if endpoint == CHAT else tool
        if isinstance(function, dict) and function.get("strict") is True:
            inner = f"tools[{number}]{'.function' if endpoint == CHAT else ''}.parameters"
            yield from _strict(inner, function.get("parameters"))


def _format(endpoint: str, param: str, given: Mapping[str, Any]) -> Iterator[Refused]:
    kind = given.get("type")
    inside = "" if endpoint == RESPONSES else "json_schema"
    fields = given.get(inside) if inside else given
    if kind not in FORMATS or (kind == "json_schema" and not isinstance(fields, dict)):
        bare = isinstance(given.get("properties"), dict) or bool(_LIKE_A_SCHEMA & set(given))
        if bare or (isinstance(kind, str) and kind in ("object", "array")):
            said = f"{param} is a bare JSON schema: write {_shape(endpoint)}"
        elif kind == "json_schema":
            said = f"{param}.json_schema is missing: write {_shape(endpoint)}"
        else:
            is_text = "missing" if kind is None else f"{told(kind)}, not one of "
            said = f"{param}.type is {is_text}{'' if kind is None else ', '.join(FORMATS)}"
        yield Refused(param, "invalid_value", said)
    elif kind == "json_schema":
        assert isinstance(fields, dict)
        yield from _named(f"{param}.{inside}" if inside else param, fields)


def _shape(endpoint: str) -> str:
    fields = '"name": "answer", "strict": true, "schema": {…}'
    inner = fields if endpoint == RESPONSES else f'"json_schema": {{{fields}}}'
    return f'{{"type": "json_schema", {inner}}}'


def _named(at: str, fields: Mapping[str, Any]) -> Iterator[Refused]:
    name, schema = fields.get("name"), fields.get("schema")
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
        said = "is missing" if name is None else f"is {told(name)}"
        message = f"{at}.name {said}: give 1 to 64 letters, digits, _ and -"
        yield Refused(f"{at}.name", "invalid_value", message)
    if not isinstance(schema, dict):
        # Without strict the description needs none; nothing could be told by it either.
        if schema is not None or fields.get("strict") is True:
            said = "is missing" if schema is None else f"must be an object, not {told(schema)}"
            yield Refused(f"{at}.schema", "invalid_type", f"{at}.schema {said}")
    elif fields.get("strict") is True:
        yield from _strict(f"{at}.schema", schema)


def _strict(at: str, schema: Any) -> Iterator[Refused]:
    """What a schema lacks that is sent as strict, the first of it."""
    if not isinstance(schema, dict):
        return
    if schema.get("type") != "object" and "$ref" not in schema:
        said = f'{at} is strict, so its type must be "object"'
        yield Refused(at, "invalid_json_schema", said)
        return
    todo: list[tuple[str, Any]] = [("", schema)]
    while todo:
        path, node = todo.pop()
        if not isinstance(node, dict):
            continue
        if (lack := _open_object(node)) is not None:
            where = f" at {path.removeprefix('.')}" if path else ""
            yield Refused(at, "invalid_json_schema", f"{at} is strict, so{where} {lack}")
            return
        todo += reversed(list(_inside(path, node)))


def _open_object(node: Mapping[str, Any]) -> str | None:
    properties = node.get("properties")
    kind = node.get("type")
    if not isinstance(properties, dict) and kind != "object":
        return None
    if node.get("additionalProperties") is not False:
        return '"additionalProperties": false is needed'
    required = node.get("required")
    names = required if isinstance(required, list) else []
    missing = [name for name in properties or {} if name not in names]
    if missing:
        return f'"required" must name every property: {", ".join(missing[:5])} isn\'t in it'
    return None


def _inside(path: str, node: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for holder in ("properties", "$defs", "definitions"):
        inner = node.get(holder)
        for name, one in inner.items() if isinstance(inner, dict) else ():
            yield f"{path}.{name}", one
    for holder in ("anyOf", "oneOf", "allOf"):
        inner = node.get(holder)
        for one in inner if isinstance(inner, list) else ():
            yield path, one
    if "items" in node:
        yield f"{path}[]", node["items"]


# JSON mode

_PLACEHOLDERS = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)


def _is_json_mode(given: Any) -> bool:
    """Whether what a body says of its answer asks for any JSON object."""
    return isinstance(given, dict) and given.get("type") == "json_object"


def lacks_json(endpoint: str, body: Body) -> bool:
    """Whether a body asks for JSON mode and says the word JSON in no message.

    Placeholders don't count: `{{ column | json }}` isn't what the model reads.
    """
    _, given = answer_format(endpoint, body)
    if not _is_json_mode(given):
        return False
    return not any("json" in _PLACEHOLDERS.sub("", text).lower() for text in _said(endpoint, body))


def open_words(endpoint: str, body: Body) -> bool:
    """Whether rows put words into what a template asks."""
    return any(is_open(text) for text in _said(endpoint, body))


def json_refused(endpoint: str) -> Refused:
    """JSON mode without the word: OpenAI's models write blanks without end, so it refuses."""
    param = "text.format" if endpoint == RESPONSES else "response_format"
    message = (
        f"{param} is JSON mode, which wants the word JSON in a message: say for example "
        "'Answer in JSON'"
    )
    return Refused(param, "invalid_value", message, own=True)


def _said(endpoint: str, body: Body) -> Iterator[str]:
    """The texts of what is asked. Instructions count, too: not to warn of what may well work."""
    given = body.get("messages" if endpoint == CHAT else "input")
    if isinstance(given, str):
        yield given
    for message in given if isinstance(given, list) else ():
        content = message.get("content") if isinstance(message, dict) else message
        yield from _texts(content)
    if endpoint == RESPONSES:
        yield from _texts(body.get("instructions"))


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    for part in content if isinstance(content, list) else ():
        if isinstance(part, dict) and isinstance(part.get("text"), str):
            yield part["text"]
        elif isinstance(part, dict):
            yield from _texts(part.get("content"))
