"""What body parameters are called at an endpoint, and which models refuse them: data.

Sources: OpenAI's API reference (max_tokens is deprecated in favour of max_completion_tokens
and not compatible with o-series models; /v1/responses has max_output_tokens), its guides to
reasoning models and to GPT-5 (temperature and its kin are refused while a model reasons; from
GPT-5.1 on, most models can be told not to), and the batch guide (no streaming).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import TemplateError

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
EMBEDDINGS = "/v1/embeddings"

#: Models that always reason, by the last part of their name ("openai/o3" is o3), also tuned.
REASONING = r"(ft:)?(o[1-9]|gpt-5(?!\.|.*chat)|gpt-5\.\d+-(codex|pro)).*"

#: Models that reason only if asked: their efforts include none.
REASONING_IF_ASKED = r"(ft:)?gpt-5\.\d+(?!.*(chat|codex|pro)).*"

#: Models that never reason.
PLAIN = r"(ft:)?(gpt-3|gpt-4|chatgpt-4o|gpt-5-chat).*"

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
class Rename:
    """A parameter that an endpoint (or some models at it) knows by another name.

    A dot in `to` leads into an object: ``reasoning.effort``.
    """

    parameter: str
    to: str
    endpoint: str
    models: str = ".*"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Parameters that these models refuse at any endpoint, and the values that do no harm."""

    parameters: Mapping[str, tuple[Any, ...]]
    why: str
    models: str = ".*"
    only_with_effort: bool = False
    """Whether they are refused only beside a reasoning effort other than none."""


RENAMES = (
    Rename("max_tokens", "max_completion_tokens", CHAT, r"(ft:)?(o[1-9]|gpt-5).*"),
    Rename("max_output_tokens", "max_completion_tokens", CHAT),
    Rename("max_tokens", "max_output_tokens", RESPONSES),
    Rename("max_completion_tokens", "max_output_tokens", RESPONSES),
    Rename("reasoning_effort", "reasoning.effort", RESPONSES),
    Rename("verbosity", "text.verbosity", RESPONSES),
)

REFUSALS = (
    Refusal(SAMPLING, "it reasons", REASONING),
    Refusal(SAMPLING, "it reasons", REASONING_IF_ASKED, only_with_effort=True),
    Refusal({"reasoning_effort": (), "reasoning": (), "verbosity": ()}, "it doesn't reason", PLAIN),
    Refusal({"stream": (False,)}, "a batch doesn't stream"),
    Refusal({"background": (False,)}, "a batch runs in the background anyway"),
)


def adapt(endpoint: str, model: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return `parameters` as the endpoint and model take them, in their order.

    Raises TemplateError naming a parameter that the model refuses, or two that are one.
    """
    name = model.rpartition("/")[2].lower()
    adapted: dict[str, Any] = {}
    for parameter, value in parameters.items():
        _refuse(name, model, parameter, value, parameters)
        _put(adapted, _renamed(endpoint, name, parameter), parameter, value)
    return adapted


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
        if (
            parameter in rule.parameters
            and value not in (None, *rule.parameters[parameter])
            and (not rule.only_with_effort or _effort(parameters) not in (None, "none"))
            and re.fullmatch(rule.models, name)
        ):
            raise TemplateError(
                f"{model} takes no {parameter}: {rule.why}. Leave out -o {parameter}."
            )


def _effort(parameters: Mapping[str, Any]) -> Any:
    reasoning = parameters.get("reasoning")
    nested = reasoning.get("effort") if isinstance(reasoning, dict) else None
    return parameters.get("reasoning_effort", nested)


def _put(target: dict[str, Any], path: str, parameter: str, value: Any) -> None:
    *parents, last = path.split(".")
    for parent in parents:
        target = target.setdefault(parent, {})
    if last in target:
        raise TemplateError(f"{parameter} and {path} are the same: give one of them.")
    target[last] = value
