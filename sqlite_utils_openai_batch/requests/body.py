"""A request body with its placeholders, made of what the command line says (pure)."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..base.errors import TemplateError, UsageError
from ..base.parameters import (
    CHAT,
    EMBEDDINGS,
    PLAIN,
    REFUSALS,
    RESPONSES,
    plain_name,
    refusals,
    unknown,
)
from ..provider.azure import AZURE
from ..provider.errors import host_of

if TYPE_CHECKING:
    from ..answers.schema import AnswerSchema


# Options of a request (`-o`, `retry --set`) as an endpoint and a model take them.

__all__ = ["CHAT", "EMBEDDINGS", "RESPONSES", "adapt", "check_body", "check_change", "elsewhere"]

OPENAI_HOST = "api.openai.com"


@dataclass(frozen=True, slots=True)
class Rename:
    """A parameter that an endpoint (or some models at it) knows by another name.

    A dot in `to` leads into an object: ``reasoning.effort``.
    """

    parameter: str
    to: str
    endpoint: str
    models: str = ".*"


RENAMES = (
    Rename("max_tokens", "max_completion_tokens", CHAT, r"(ft:)?(o[1-9]|gpt-5).*"),
    Rename("max_output_tokens", "max_completion_tokens", CHAT),
    Rename("max_tokens", "max_output_tokens", RESPONSES),
    Rename("max_completion_tokens", "max_output_tokens", RESPONSES),
    Rename("reasoning_effort", "reasoning.effort", RESPONSES),
    Rename("verbosity", "text.verbosity", RESPONSES),
)


def adapt(endpoint: str, model: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return `parameters` as the endpoint and model take them, in their order.

    Raises TemplateError naming a parameter that the model refuses, or two that are one.
    """
    name = plain_name(model)
    adapted: dict[str, Any] = {}
    for parameter, value in parameters.items():
        _refuse(name, model, parameter, value, parameters)
        _put(adapted, _renamed(endpoint, name, parameter), parameter, value)
    return adapted


def never_reasons(model: str) -> bool:
    """Whether a model is known to write nothing but its answer: no thoughts count as output."""
    return re.fullmatch(PLAIN, model.rpartition("/")[2].lower()) is not None


def elsewhere(provider: str, base_url: str | None) -> bool:
    """Whether requests go to a server that imitates OpenAI's API, and may take more or less."""
    return provider != AZURE and bool(base_url) and host_of(base_url or "") != OPENAI_HOST


def check_body(endpoint: str, body: Mapping[str, Any], *, elsewhere: bool) -> list[str]:
    """See that a whole body, placeholders in, is one that the endpoint and model take.

    Raises TemplateError with all that is refused. Returns what to warn of: parameters that aren't
    known, and `elsewhere`, at a server that only imitates OpenAI's API, what OpenAI would refuse.
    """
    found = list(refusals(endpoint, body, template=True))
    certain = [one.message for one in found if not (elsewhere and one.own)]
    if certain:
        raise TemplateError(f"Each request would be refused: {'. '.join(dict.fromkeys(certain))}.")
    doubtful = [f"{one.message}, for OpenAI at least." for one in found]
    new = [said for _, said in unknown(endpoint, body, elsewhere=elsewhere)]
    return [*dict.fromkeys(doubtful), *new]


def check_change(
    endpoint: str, body: Mapping[str, Any], change: Mapping[str, Any], *, elsewhere: bool
) -> None:
    """See that a body may be changed so (`retry --set`). Raises TemplateError.

    What the body held before isn't judged: it was sent.
    """
    changed = {**body, **change}
    for one in refusals(endpoint, changed, template=True):
        # What one model took, another may refuse.
        of_model = "model" in change and one.code == "unsupported_parameter"
        if (of_model or one.param.partition(".")[0] in change) and not (elsewhere and one.own):
            raise TemplateError(f"Each request would be refused: {one.message}.")


def _renamed(endpoint: str, name: str, parameter: str) -> str:
    for rule in RENAMES:
        if (
            rule.parameter == parameter
            and rule.endpoint == endpoint
            and re.fullmatch(rule.models, name)
        ):
            return rule.to
    return parameter


def _refuse(
    name: str, model: str, parameter: str, value: Any, parameters: Mapping[str, Any]
) -> None:
    for rule in REFUSALS:
        if rule.holds(name, parameter, value, parameters):
            raise TemplateError(
                f"{model} takes no {parameter}: {rule.why}. Leave out -o {parameter}."
            )


def _put(target: dict[str, Any], path: str, parameter: str, value: Any) -> None:
    *parents, last = path.split(".")
    for parent in parents:
        target = target.setdefault(parent, {})
    if last in target:
        raise TemplateError(f"{parameter} and {path} are the same: give one of them.")
    target[last] = value


#: Options that would overwrite what has an option of its own.
OWN_OPTIONS = {
    "model": "--model",
    "messages": "--prompt and --system",
    "input": "--prompt",
    "instructions": "--system",
    "json_schema": "--schema",
}

#: What a response includes only if asked.
LOGPROBS = "message.output_text.logprobs"

#: JSON mode: ``-o json_object 1``.
JSON_MODE: dict[str, dict[str, Any]] = {
    CHAT: {"response_format": {"type": "json_object"}},
    RESPONSES: {"text": {"format": {"type": "json_object"}}},
}


def parse_option(name: str, text: str) -> Any:
    """Return the value of ``-o name text``: JSON where it is JSON, else the text itself.

    ``json_object`` is a switch: 1, true, 0 or false. Raises UsageError for another value of it.
    """
    if not name.strip():
        raise UsageError(f"-o has a value ({text!r}), and no name of a parameter.")
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except ValueError:
        value = text
    if name == "json_object":
        if value not in (0, 1):
            raise UsageError(f"-o json_object is 1 or 0, not {text!r}.")
        return bool(value)
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def build_body(
    *,
    endpoint: str,
    model: str,
    prompt: str | None,
    system: str | None,
    schema: AnswerSchema | None,
    options: Mapping[str, Any],
    images: Sequence[str] = (),
    detail: str | None = None,
    attachments: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the template body for chat completions, responses or embeddings.

    `images` are placeholders or URLs of images, shown with the prompt at this `detail`;
    `attachments` are placeholders of files of any kind. Raises
    UsageError for an endpoint that needs a whole body and for options that contradict each
    other, TemplateError for a parameter that the model refuses.
    """
    if endpoint not in _ASKED:
        raise UsageError(
            f"--prompt cannot be used in the body of {endpoint}: give the whole body by --template."
        )
    if prompt is None:
        raise UsageError("No prompt: give it by --prompt, or a whole body by --template.")
    _check_options(options, schema)
    if endpoint == EMBEDDINGS:
        _check_embeddings(system, schema, options, images, attachments)
    given = {name: value for name, value in options.items() if name != "json_object"}
    body = {
        "model": model,
        **_ASKED[endpoint](_shown(endpoint, prompt, images, detail, attachments), system),
    }
    if schema is not None:
        _merge(body, schema.response_format(endpoint))
    if options.get("json_object"):
        _merge(body, JSON_MODE[endpoint])
    _merge(body, adapt(endpoint, model, given))
    return body


def change_body(
    body: Mapping[str, Any],
    *,
    endpoint: str,
    model: str | None,
    schema: AnswerSchema | None,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Return a whole body (--template) with what other options say of it: -m, -o and --schema.

    Raises UsageError for options that contradict each other, TemplateError for a parameter that
    the model refuses, and for a model that changes from row to row.
    """
    changed: dict[str, Any] = copy.deepcopy(dict(body))
    if model is not None:
        changed = {"model": model, **changed, **{"model": model}}
    name = changed.get("model")
    if name is not None and (not isinstance(name, str) or "{{" in name or "{%" in name):
        raise TemplateError(
            "A batch asks one model: the template's model can't hold a placeholder."
        )
    for given, asked in (("--schema", schema), ("-o json_object", options.get("json_object"))):
        if asked and endpoint not in JSON_MODE:
            raise UsageError(f"{given} cannot be used in the body of {endpoint}.")
    _check_options(options, schema)
    if schema is not None:
        _merge(changed, schema.response_format(endpoint))
    if options.get("json_object"):
        _merge(changed, JSON_MODE[endpoint])
    plain = {name: value for name, value in options.items() if name != "json_object"}
    _merge(changed, adapt(endpoint, name or "", plain))
    return changed


def with_logprobs(body: Mapping[str, Any], endpoint: str, tokens: int) -> dict[str, Any]:
    """Return a body that asks for the probabilities of tokens, so many for each place.

    Raises UsageError where it can't have them: its model gives none, or it asks for several
    answers.
    """
    model = str(body.get("model") or "")
    name = plain_name(model)
    for rule in REFUSALS:
        if rule.holds(name, "logprobs", True, body):
            raise UsageError(
                f"--confidence goes by the probabilities of tokens, and {model} gives none: "
                f"{rule.why}. Ask a model that does, such as gpt-4o-mini, or leave out "
                "--confidence."
            )
    if body.get("n") not in (None, 1):
        raise UsageError("--confidence tells how sure one answer is: leave out -o n.")
    more: dict[str, Any] = {"top_logprobs": body.get("top_logprobs") or tokens}
    if endpoint == RESPONSES:
        include = [one for one in body.get("include") or () if one != LOGPROBS]
        return {**body, "include": [*include, LOGPROBS], **more}
    return {**body, "logprobs": True, **more}


def _shown(
    endpoint: str,
    prompt: str,
    images: Sequence[str],
    detail: str | None,
    attachments: Sequence[str],
) -> str | list[dict[str, Any] | str]:
    """The prompt, with the images and files that it is about."""
    if not images and not attachments:
        return prompt
    if endpoint == RESPONSES:
        # OpenAI's description of this endpoint wants a detail; auto is what it is without one
        look = detail or "auto"
        parts = [{"type": "input_image", "image_url": url, "detail": look} for url in images]
        return [{"type": "input_text", "text": prompt}, *parts, *attachments]
    more = {} if detail is None else {"detail": detail}
    shown = [{"type": "image_url", "image_url": {"url": url, **more}} for url in images]
    return [{"type": "text", "text": prompt}, *shown, *attachments]


def _chat(prompt: Any, system: str | None) -> dict[str, Any]:
    messages = [] if system is None else [{"role": "system", "content": system}]
    return {"messages": [*messages, {"role": "user", "content": prompt}]}


def _responses(prompt: Any, system: str | None) -> dict[str, Any]:
    asked = prompt if isinstance(prompt, str) else [{"role": "user", "content": prompt}]
    return {**({} if system is None else {"instructions": system}), "input": asked}


def _embeddings(prompt: Any, system: str | None) -> dict[str, Any]:
    return {"input": prompt}


_ASKED = {CHAT: _chat, RESPONSES: _responses, EMBEDDINGS: _embeddings}


def _check_options(options: Mapping[str, Any], schema: AnswerSchema | None) -> None:
    for name, own in OWN_OPTIONS.items():
        if name in options:
            raise UsageError(f"-o {name} is set by {own} already.")
    formats = [name for name in ("json_object", "response_format") if options.get(name)]
    if schema is not None and formats:
        raise UsageError(f"--schema and -o {formats[0]} both say what the answer looks like.")
    if len(formats) > 1:
        raise UsageError(f"-o {formats[0]} and -o {formats[1]} mean the same: give one of them.")


def _check_embeddings(
    system: str | None,
    schema: AnswerSchema | None,
    options: Mapping[str, Any],
    images: Sequence[str],
    attachments: Sequence[str],
) -> None:
    refused = [
        ("--image", images),
        ("--attach", attachments),
        ("--system", system),
        ("--schema", schema),
        ("-o json_object", options.get("json_object")),
    ]
    for option, value in refused:
        if value:
            raise UsageError(f"{option} cannot be used at {EMBEDDINGS}: it answers with numbers.")


def _merge(body: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Add `more` to `body`, into objects that are in both."""
    for name, value in more.items():
        if isinstance(value, dict) and isinstance(body.get(name), dict):
            _merge(body[name], value)
        else:
            body[name] = copy.deepcopy(value)
