"""Jinja in an immutable sandbox: what a template may do with a row, and how much of it.

Data is never evaluated. A template can't reach Python, and can't grow text or loop without end:
whatever it does is charged to a `Budget` for each rendering.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

from jinja2 import StrictUndefined, Undefined
from jinja2.filters import make_attrgetter
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import pass_context
from markupsafe import escape

from ..base.json import Null
from .values import Blob, finalize, from_json, json_text, number_text

#: Name of the budget among a rendering's variables; the space keeps templates from naming it.
BUDGET = "the budget"

#: Filters that `placeholders` puts round loops, concatenations and blocks; no template can name
#: them.
EACH, CONCAT, BOUNDED = "each of", "joined up", "as text"

MAX_STEPS = 5_000_000
MAX_TEXT = 100_000_000
MAX_BITS = 10_000


class Budget:
    """What one rendering may still spend: steps of loops and filters, characters of text."""

    __slots__ = ("steps", "text")

    def __init__(self) -> None:
        self.steps = MAX_STEPS
        self.text = MAX_TEXT

    def step(self, count: int = 1) -> None:
        """Spend loop steps. Raises OverflowError when they are used up."""
        self.steps -= count
        if self.steps < 0:
            raise OverflowError(f"it loops more than {MAX_STEPS:,} times")

    def grow(self, count: int) -> None:
        """Spend characters. Raises OverflowError when they are used up."""
        self.text -= count
        if self.text < 0:
            raise OverflowError(f"it makes more than {MAX_TEXT:,} characters")

    def take(self, value: Any, times: int) -> None:
        """Spend what it takes to copy text or a list so many times."""
        if isinstance(value, str):
            self.grow(len(value) * times)
        elif isinstance(value, (list, tuple)):
            self.step(len(value) * times)

    def measure(self, value: Any) -> None:
        """Spend what it takes to walk through a value: lists may hold each other many times."""
        if isinstance(value, str):
            self.grow(len(value))
        elif isinstance(value, (list, tuple)):
            self.step(len(value))
            for one in value:
                self.measure(one)
        elif isinstance(value, dict):
            self.step(len(value))
            for one in value.values():
                self.measure(one)


# filters


def _default(value: Any, default_value: Any = "", boolean: bool = False) -> Any:
    if isinstance(value, (Undefined, Null)) or (boolean and not value):
        return default_value
    return value


def _join(context: Context, value: Any, d: Any = "", attribute: Any = None) -> str:
    items: Iterable[Any] = value
    if attribute is not None:
        items = map(make_attrgetter(context.environment, attribute), items)
    budget: Budget = context[BUDGET]
    texts = []
    for item in items:
        budget.measure(item)
        text = str(finalize(item))
        budget.grow(len(text) + len(d))
        texts.append(text)
    return str(d).join(texts)


@pass_context
def _finalize(context: Context, value: Any) -> Any:
    if isinstance(value, (list, tuple, dict)):
        context[BUDGET].measure(value)
    return finalize(value)


@pass_context
def _concat(context: Context, value: Iterable[Any]) -> str:
    return _join(context, value)


@pass_context
def _each(context: Context, value: Iterable[Any]) -> Iterable[Any]:
    budget: Budget = context[BUDGET]
    for item in value:
        budget.step()
        yield item


@pass_context
def _bounded(context: Context, value: Any) -> str:
    text = str(value)
    context[BUDGET].grow(len(text))
    return text


@pass_context
def _range(context: Context, *args: int) -> range:
    numbers = range(*args)
    context[BUDGET].step(len(numbers))
    return numbers


def _growth(name: str, value: Any, args: tuple[Any, ...]) -> int:
    """Estimate from above how many characters or items a filter may make."""
    numbers = [arg for arg in args if isinstance(arg, int)]
    texts = [len(arg) for arg in args if isinstance(arg, str)]
    if name == "format":
        return _format_growth(str(value), args)
    if name in ("indent", "wordwrap"):
        lines = str(value).count("\n") + 1
        if name == "wordwrap":
            lines += len(str(value)) // max(1, min(numbers, default=79))
        return len(str(value)) + lines * max([4, *numbers, *texts])
    if name == "replace" and len(args) > 1:
        return len(str(value)) + str(value).count(str(args[0])) * len(str(args[1]))
    if name in ("center", "truncate", "batch", "slice", "round"):
        return max([0, *numbers, *texts])
    return 0


def _format_growth(text: str, args: Any) -> int:
    """Estimate from above what a `%` format makes; refuse widths without measure."""
    if re.search(r"%[^a-zA-Z%]*(\*|\d{5})", text):
        raise OverflowError("a format is too wide")
    values = (
        args.values() if isinstance(args, dict) else args if isinstance(args, tuple) else [args]
    )
    return len(text) + text.count("%") * max([20, *(len(str(value)) for value in values)])


def _charged(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a filter so that its steps and the text that it makes are charged."""
    passed = getattr(function, "jinja_pass_arg", None)
    kind = passed.name if passed is not None else None

    @pass_context
    @wraps(function, assigned=("__name__", "__doc__"), updated=())
    def filter(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        budget: Budget = context[BUDGET]
        for one in (value, *args, *kwargs.values()):
            budget.measure(one)
        budget.grow(_growth(name, value, (*args, *kwargs.values())))
        first = {
            None: (),
            "context": (context,),
            "eval_context": (context.eval_ctx,),
            "environment": (context.environment,),
        }[kind]
        result = function(*first, value, *args, **kwargs)
        if isinstance(result, str):
            budget.grow(len(result))
        return result

    return filter


#: Filters that are left out: not the same each time, HTML, or a way round the sandbox.
_LEFT_OUT = ("attr", "forceescape", "pprint", "random", "safe", "urlize", "xmlattr")

_OWN: dict[str, Callable[..., Any]] = {
    "json": json_text,
    "tojson": json_text,
    "number": number_text,
    "fromjson": from_json,
    "default": _default,
    "d": _default,
    "join": pass_context(_join),
    "escape": lambda value: str(escape(str(value))),
    "e": lambda value: str(escape(str(value))),
    "string": lambda value: str(finalize(value)),
}

#: Methods of text that can't make more text than there was, or are charged for it.
_TEXT_METHODS = """
    capitalize casefold count endswith find index isalnum isalpha isascii isdecimal
    isdigit islower isnumeric isspace istitle isupper join lower lstrip partition
    removeprefix removesuffix replace rfind rindex rpartition rsplit rstrip split
    splitlines startswith strip swapcase title upper
"""


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of all templates."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(
            undefined=StrictUndefined,
            finalize=_finalize,
            keep_trailing_newline=True,
            autoescape=False,
            cache_size=0,
        )
        kept = {name: f for name, f in self.filters.items() if name not in _LEFT_OUT} | _OWN
        self.filters = {name: _charged(name, function) for name, function in kept.items()}
        self.named_filters = frozenset(self.filters)
        self.text_methods = frozenset(_TEXT_METHODS.split())
        self.filters |= {EACH: _each, CONCAT: _concat, BOUNDED: _bounded}
        del self.globals["lipsum"]
        self.globals["range"] = _range
        self.tests["none"] = lambda value: value is None or isinstance(value, Null)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Keep templates from Python's insides and from methods that make text without end."""
        if isinstance(obj, str):
            return attr in self.text_methods
        if isinstance(obj, (int, float, Blob)):
            return False
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> None:
        """Leave str.format to `is_safe_attribute`, which refuses it."""
        return

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Call a method or function, charging those of text that make more text."""
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, str):
            name = __obj.__name__
            if name == "join":
                return _join(__context, args[0], owner)
            __context[BUDGET].grow(len(owner) + _growth(name, owner, args))
        return super().call(__context, __obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Compute + * ** % where the result stays within measure."""
        budget: Budget = context[BUDGET]
        if operator == "+":
            budget.take(left, 1)
            budget.take(right, 1)
        elif operator == "*":
            _take_product(budget, left, right)
        elif operator == "**" and _bits(left) * _bits_of_power(right) > MAX_BITS:
            raise OverflowError("a power is too large")
        elif operator == "%" and isinstance(left, str):
            budget.measure(right)
            budget.grow(_format_growth(left, right))
        return super().call_binop(context, operator, left, right)


def _take_product(budget: Budget, left: Any, right: Any) -> None:
    for many, times in ((left, right), (right, left)):
        if isinstance(times, int):
            budget.take(many, max(0, times))
    if _bits(left) + _bits(right) > MAX_BITS:
        raise OverflowError("a product is too large")


def _bits(value: Any) -> int:
    return value.bit_length() if isinstance(value, int) else 64


def _bits_of_power(value: Any) -> int:
    return abs(value) if isinstance(value, int) else 1
