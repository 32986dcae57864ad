"""A whole request body in a file (--template): JSON or YAML, its placeholders quoted or not (pure).

People bring templates in which a placeholder stands where a number is meant, without quotes
(`"temperature": {{Temp}}`) or with them. Both give the number.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from ..base.errors import TemplateError
from ..base.text import cut

#: Parameters of a body that are numbers, at every endpoint and on servers that imitate them.
NUMBERS = frozenset(
    {
        "best_of", "dimensions", "frequency_penalty", "max_completion_tokens",
        "max_output_tokens", "max_tokens", "max_tool_calls", "min_p", "n", "presence_penalty",
        "repetition_penalty", "seed", "temperature", "top_k", "top_logprobs", "top_p",
    }
)  # fmt: skip
#: Fields of a body that are text, whatever stands in them.
TEXTS = frozenset(
    {
        "content", "detail", "effort", "file_data", "filename", "image_url", "input",
        "instructions", "model", "name", "prompt", "reasoning_effort", "role", "service_tier",
        "text", "type", "url", "user", "verbosity",
    }
)  # fmt: skip
_ONE = re.compile(r"\s*\{\{-?((?:(?!\{\{|\}\}).)+?)-?\}\}\s*", re.DOTALL)
_NATIVE = re.compile(r"\|\s*(json|tojson|number)\s*$")
_PLACEHOLDER = re.compile(r"\{\{.*?\}\}", re.DOTALL)


def parse_body(text: str, name: str | None = None) -> dict[str, Any]:
    """Read a whole body from JSON or YAML text. Raises TemplateError.

    `name` is what the file is called, for messages: they tell the line and what to write there.
    """
    what = f"--template '{name}'" if name else "The template"
    try:
        body = json.loads(text, parse_constant=_no_constant)
    except RecursionError as error:
        raise TemplateError(f"{what} is nested too deep.") from error
    except ValueError as error:
        body = _from_yaml(text, what, error)
    if not isinstance(body, dict):
        raise TemplateError(f"{what} must be an object: the body of a request.")
    try:
        # YAML knows numbers as keys, dates and .nan; a request body doesn't
        body = json.loads(json.dumps(body, default=str, allow_nan=False))
    except ValueError as error:
        raise TemplateError(f"{what} can't be JSON: {error}.") from error
    return with_numbers(body)


def with_numbers(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a body in which a placeholder for a number gives a number, not text."""
    return {name: _as_number(value) if name in NUMBERS else value for name, value in body.items()}


def _as_number(value: Any) -> Any:
    found = _ONE.fullmatch(value) if isinstance(value, str) else None
    return _native(found[1].strip(), "number") if found else value


def _native(inside: str, filter: str) -> str:
    """A placeholder whose value is JSON, whatever it does with it before."""
    if _NATIVE.search(inside):
        return f"{{{{ {inside} }}}}"
    return f"{{{{ {f'({inside})' if '|' in inside else inside} | {filter} }}}}"


def is_whole_body(text: str) -> bool:
    """Whether a text that was given for a prompt is a whole request body."""
    if "messages" not in text and "input" not in text:
        return False
    try:
        body = parse_body(text)
    except TemplateError:
        # Neither JSON nor YAML as it stands, and yet it can't be meant for a prompt.
        return text.lstrip().startswith("{") and '"messages"' in text
    named = isinstance(body.get("messages"), list) or "input" in body
    return named and (isinstance(body.get("messages"), list) or "model" in body)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _from_yaml(text: str, what: str, no_json: ValueError) -> Any:
    """Read YAML, and JSON in which a placeholder stands without quotes."""
    is_json = text.lstrip().startswith("{")
    if is_json:
        # JSON takes tabs between its words, and YAML none.
        text = text.expandtabs()
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        for place, value in list(_unquoted(node, None)):
            place.value = value
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise TemplateError(_wrong(text, what, error, no_json if is_json else None)) from error
    # Its readers of dates and numbers raise what Python's raise, and don't name the place.
    except (ValueError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise TemplateError(f"{what} is neither JSON nor YAML: {reason}.") from error
    finally:
        loader.dispose()


class _Place:
    """A node of a document, to be replaced by a placeholder in quotes."""

    def __init__(self, parent: Any, index: Any) -> None:
        self.parent = parent
        self.index = index

    @property
    def value(self) -> str:
        return str(self.parent[self.index])

    @value.setter
    def value(self, text: str) -> None:
        made = yaml.ScalarNode("tag:yaml.org,2002:str", text)
        if isinstance(self.parent[self.index], tuple):
            self.parent[self.index] = (self.parent[self.index][0], made)
        else:
            self.parent[self.index] = made


def _unquoted(node: Any, name: str | None) -> Iterator[tuple[_Place, str]]:
    """Yield where placeholders stand without quotes, and what is meant there.

    To YAML `{{ Temp }}` is an object whose only key is an object. `name` is that of the field.
    """
    if isinstance(node, yaml.MappingNode):
        for index, (key, value) in enumerate(node.value):
            field = key.value if isinstance(key, yaml.ScalarNode) else name
            if (found := _placeholder(value)) is not None:
                yield _Place(node.value, index), _meant(found, field)
            else:
                yield from _unquoted(value, field)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            if (found := _placeholder(value)) is not None:
                yield _Place(node.value, index), _meant(found, name)
            else:
                yield from _unquoted(value, name)


def _placeholder(node: Any) -> str | None:
    """What stands between the braces of a placeholder without quotes; None for another node."""
    if not (isinstance(node, yaml.MappingNode) and node.flow_style and len(node.value) == 1):
        return None
    ((inner, nothing),) = node.value
    if not isinstance(inner, yaml.MappingNode) or nothing.value != "":
        return None
    buffer = node.start_mark.buffer
    if buffer is None:
        return None
    # A mark tells where it is in the text, which the loader keeps whole.
    whole = str(buffer)[node.start_mark.pointer : node.end_mark.pointer]
    return whole[2:-2].strip() if whole.startswith("{{") and whole.endswith("}}") else None


def _meant(inside: str, field: str | None) -> str:
    """A placeholder in quotes that gives what one without them is for."""
    if field in NUMBERS:
        return _native(inside, "number")
    if field in TEXTS or "|" in inside:
        return f"{{{{ {inside} }}}}"
    return _native(inside, "json")


def _wrong(text: str, what: str, error: yaml.YAMLError, no_json: ValueError | None) -> str:
    """What is wrong with a template, in which line, and what to write there."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line = mark.line if mark is not None else 0
    reason = str(getattr(error, "problem", None) or "it can't be read")
    if isinstance(no_json, json.JSONDecodeError) and "{{" not in _line(text, no_json.lineno - 1):
        line, reason = no_json.lineno - 1, f"{no_json.msg} at character {no_json.colno}"
    lines = text.splitlines()
    # What YAML misses is often at the end of the line before.
    shown = _line(text, line).strip() or (_line(text, line - 1).strip() if line else "")
    said = f"{what}, line {min(line + 1, max(len(lines), 1)):,}: {reason}."
    if shown:
        said += f" There stands: {cut(shown, 80)}"
    if found := _PLACEHOLDER.search(shown):
        alone = shown[: found.start()].rstrip().endswith((":", "-", "[", ","))
        if alone and shown[found.end() :].strip().strip(",]}") in ("", "#"):
            quoted = found[0].replace('"', "'")
            return f'{said}\nPut the placeholder in quotes: "{quoted}"'
        return f"{said}\nPut the whole value in quotes, from its first letter to its last."
    return f"{said}\nA template is JSON or YAML: is a comma, a quote or a bracket missing?"


def _line(text: str, number: int) -> str:
    lines = text.splitlines()
    return lines[number] if 0 <= number < len(lines) else ""
