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

from .values import Blob, Null, finalize, from_json, json_text

#: Name of the budget among a rendering's variables; the space keeps templates from naming it.
BUDGET = "the budget"

MAX_STEPS = 1_000_000
MAX_TEXT = 200_000_000
MAX_REPEAT = 1_000_000
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
        text = str(finalize(item))
        budget.grow(len(text) + len(d))
        texts.append(text)
    return str(d).join(texts)


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
        _check_format(str(value))
        return len(str(value)) + sum(len(str(finalize(arg))) for arg in args)
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


def _check_format(text: str) -> None:
    """Refuse `%` formats that could print without measure."""
    if re.search(r"%[^a-zA-Z%]*(\*|\d{5})", text):
        raise OverflowError("a format is too wide")


def _charged(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a filter so that its steps and the text that it makes are charged."""
    passed = getattr(function, "jinja_pass_arg", None)
    kind = passed.name if passed is not None else None

    @pass_context
    @wraps(function, assigned=("__name__", "__doc__"), updated=())
    def filter(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        budget: Budget = context[BUDGET]
        growth = _growth(name, value, (*args, *kwargs.values()))
        if growth > MAX_REPEAT and name not in ("format", "replace", "indent", "wordwrap"):
            raise OverflowError(f"{name} is asked for {growth:,} characters")
        budget.grow(growth)
        if isinstance(value, (list, tuple, dict, range)):
            budget.step(len(value))
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
    "fromjson": from_json,
    "default": _default,
    "d": _default,
    "join": pass_context(_join),
    "escape": lambda value: str(escape(str(value))),
    "e": lambda value: str(escape(str(value))),
    "string": lambda value: str(finalize(value)),
}

#: Methods of text that can't make more text than there was.
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
            finalize=finalize,
            keep_trailing_newline=True,
            autoescape=False,
            cache_size=0,
        )
        kept = {name: f for name, f in self.filters.items() if name not in _LEFT_OUT} | _OWN
        self.filters = {name: _charged(name, function) for name, function in kept.items()}
        self.own_filters = frozenset(self.filters)
        self.filters |= {"_each": _each, "_concat": _concat, "_bounded": _bounded}
        del self.globals["lipsum"]
        self.globals["range"] = _range
        self.tests["none"] = lambda value: value is None or isinstance(value, Null)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Keep templates from Python's insides and from methods that make text without end."""
        if isinstance(obj, str):
            return attr in _TEXT_METHODS.split()
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
        if operator == "+" and _sized(left) and _sized(right):
            budget.grow(len(left) + len(right))
        elif operator == "*":
            _check_product(budget, left, right)
        elif operator == "**" and _bits(left) * abs(int(right)) > MAX_BITS:
            raise OverflowError("a power is too large")
        elif operator == "%" and isinstance(left, str):
            _check_format(left)
        return super().call_binop(context, operator, left, right)


def _sized(value: Any) -> bool:
    return isinstance(value, (str, list, tuple))


def _bits(value: Any) -> int:
    return value.bit_length() if isinstance(value, int) else 64


def _check_product(budget: Budget, left: Any, right: Any) -> None:
    for many, times in ((left, right), (right, left)):
        if _sized(many) and isinstance(times, int):
            if len(many) * times > MAX_REPEAT:
                raise OverflowError(f"it repeats {times:,} times")
            budget.grow(max(0, len(many) * times))
            return
    if _bits(left) + _bits(right) > MAX_BITS:
        raise OverflowError("a product is too large")
