"""One string of a body, its placeholders compiled: a slot that makes text of a row.

Plain placeholders and the common filters become a list of pieces to join; everything else goes
through Jinja. Both give the same text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from jinja2 import Template as JinjaTemplate
from jinja2 import TemplateSyntaxError, meta, nodes
from jinja2.exceptions import SecurityError, UndefinedError
from jinja2.visitor import NodeTransformer

from .errors import TemplateError, UnrenderableRow
from .keys import SQLiteValue
from .nearest import listed, meant, nearest_first
from .sandbox import BUDGET, Budget, Sandbox, blob_in_text, json_text, wrapped

Values = Sequence[SQLiteValue]
Text = Callable[[Values], str]

ROW = "row"

_SANDBOX = Sandbox()
_ROW_METHODS = frozenset({"items", "keys", "values", "get"})
_STATEMENTS = (
    nodes.Output,
    nodes.For,
    nodes.If,
    nodes.Assign,
    nodes.AssignBlock,
    nodes.With,
    nodes.FilterBlock,
)


@dataclass(frozen=True)
class Slot:
    """A string with placeholders, read and checked."""

    place: str
    """Where it stands, for messages: "the prompt", "messages[0].content"."""
    tree: nodes.Template
    reads: frozenset[str]
    """Columns that it needs."""
    shows: frozenset[str]
    """Columns whose values it prints or loops over, not those that are only tested."""
    native: bool
    """Whether it is exactly `{{ … | json }}`: its text is JSON, not a string's content."""

    def text(self, columns: Sequence[str]) -> Text:
        """Return the function from values of `columns` to its text, the fast one if it can be."""
        return self.pieces(columns) or self.jinja(columns)

    def pieces(self, columns: Sequence[str]) -> Text | None:
        """Return the function for plain placeholders and common filters, None for others."""
        found: list[str | tuple[int, Callable[[Any], str]]] = []
        for node in _printed(self.tree):
            if isinstance(node, nodes.TemplateData):
                found.append(node.data)
            elif (piece := _piece(node, columns)) is not None:
                found.append(piece)
            else:
                return None
        return _joined(found)

    def jinja(self, columns: Sequence[str]) -> Text:
        """Return the function that renders by Jinja."""
        code = _SANDBOX.compile(self.tree)
        template = JinjaTemplate.from_code(
            _SANDBOX, cast(Any, code), _SANDBOX.make_globals(None), None
        )
        place = self.place

        def text(row: Values) -> str:
            values = {name: wrapped(name, value) for name, value in zip(columns, row, strict=True)}
            budget = Budget()
            try:
                context = template.new_context({**values, ROW: values, BUDGET: budget})
                out = []
                for chunk in template.root_render_func(context):
                    budget.grow(len(chunk))
                    out.append(chunk)
                return "".join(out)
            except UnrenderableRow:
                raise
            # the template is a program of the person's own over data of any kind: whatever it
            # raises costs this row only
            except Exception as error:
                raise UnrenderableRow(f"{place} can't be rendered: {_reason(error)}.") from error

        return text


def _reason(error: Exception) -> str:
    reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    if isinstance(error, (UndefinedError, SecurityError, OverflowError, ValueError)):
        return reason
    return f"{type(error).__name__}: {reason}"


# pieces


def _printed(tree: nodes.Template) -> Iterator[nodes.Node]:
    for statement in tree.body:
        if isinstance(statement, nodes.Output):
            yield from statement.nodes
        else:
            yield statement


def _piece(node: nodes.Node, columns: Sequence[str]) -> tuple[int, Callable[[Any], str]] | None:
    filters: list[Callable[[str], str]] = []
    while isinstance(node, nodes.Filter):
        if node.args or node.kwargs or node.dyn_args or node.dyn_kwargs or node.node is None:
            return None
        if node.name in ("json", "tojson") and _column(node.node) in columns:
            column = _column(node.node) or ""
            return columns.index(column), _chained(_as_json(column), filters)
        if node.name not in _COMMON:
            return None
        filters.insert(0, _COMMON[node.name])
        node = node.node
    column_name = _column(node)
    if column_name is None or column_name not in columns:
        return None
    return columns.index(column_name), _chained(_as_text(column_name), filters)


_COMMON: dict[str, Callable[[str], str]] = {
    "upper": str.upper,
    "lower": str.lower,
    "trim": str.strip,
    "capitalize": str.capitalize,
    "string": str,
}


def _column(node: nodes.Node) -> str | None:
    """Return the column that a node names by itself, as `name` or `row["name"]`."""
    if isinstance(node, nodes.Name) and node.name != ROW:
        return node.name
    if (
        isinstance(node, nodes.Getitem)
        and isinstance(node.node, nodes.Name)
        and node.node.name == ROW
        and isinstance(node.arg, nodes.Const)
        and isinstance(node.arg.value, str)
    ):
        return node.arg.value
    return None


def _as_text(column: str) -> Callable[[Any], str]:
    def text(value: Any) -> str:
        if value.__class__ is str:
            return value
        if value is None:
            return ""
        if value.__class__ is bytes:
            raise blob_in_text(column)
        return str(value)

    return text


def _as_json(column: str) -> Callable[[Any], str]:
    def text(value: Any) -> str:
        return json_text(wrapped(column, value))

    return text


def _chained(
    first: Callable[[Any], str], filters: Sequence[Callable[[str], str]]
) -> Callable[[Any], str]:
    if not filters:
        return first

    def text(value: Any) -> str:
        made = first(value)
        for function in filters:
            made = function(made)
        return made

    return text


def _joined(pieces: Sequence[str | tuple[int, Callable[[Any], str]]]) -> Text:
    form = "".join(p.replace("%", "%%") if isinstance(p, str) else "%s" for p in pieces)
    shown = [piece for piece in pieces if not isinstance(piece, str)]
    if len(shown) == 1:
        ((index, function),) = shown
        before, after = (part.replace("%%", "%") for part in form.split("%s"))

        def one(row: Values) -> str:
            return before + function(row[index]) + after

        return one

    def many(row: Values) -> str:
        return form % tuple([function(row[index]) for index, function in shown])

    return many


# reading and checking


def read_slot(text: str, place: str, columns: Sequence[str], source: str | None) -> Slot | None:
    """Read a string of a body; None if it holds no placeholder at all.

    Raises TemplateError for a syntax error, a name that is no column of `columns`, and for what
    a template may not do.
    """
    if not any(mark in text for mark in ("{{", "{%", "{#")):
        return None
    guard = _guard(text)
    try:
        tree = _SANDBOX.parse(text.replace("\r", guard))
        tree = cast(nodes.Template, _Restored(guard).visit(tree))
        _check_statements(tree, place)
        names = _check_names(tree, place, columns, source)
        tree = cast(nodes.Template, _Measured(frozenset(columns)).visit(tree))
        tree.set_environment(_SANDBOX)
        _SANDBOX.compile(tree)
    except TemplateSyntaxError as error:
        raise TemplateError(_syntax(error, place)) from error
    printed = list(_printed(tree))
    only = printed[0] if len(printed) == 1 else None
    native = isinstance(only, nodes.Filter) and only.name in ("json", "tojson")
    return Slot(place, tree, names, _shown(tree) & names, native)


def _guard(text: str) -> str:
    """Return a character that isn't in `text`: it stands for CR, which Jinja would drop."""
    return next(chr(code) for code in range(0xE000, 0xF8FF) if chr(code) not in text)


class _Restored(NodeTransformer):
    """Puts CR back where `_guard` stands."""

    def __init__(self, guard: str) -> None:
        self.guard = guard

    def visit_TemplateData(self, node: nodes.TemplateData) -> nodes.Node:
        node.data = node.data.replace(self.guard, "\r")
        return node

    def visit_Const(self, node: nodes.Const) -> nodes.Node:
        if isinstance(node.value, str):
            node.value = node.value.replace(self.guard, "\r")
        return node


class _Measured(NodeTransformer):
    """Sends loops and concatenations through the budget, `row.name` to the column."""

    def __init__(self, columns: frozenset[str]) -> None:
        self.columns = columns

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.iter = _filtered("_each", node.iter)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _filtered("_concat", nodes.List(node.nodes, lineno=node.lineno))

    def visit_AssignBlock(self, node: nodes.AssignBlock) -> nodes.Node:
        self.generic_visit(node)
        node.filter = _filtered("_bounded", node.filter)
        return node

    def visit_Getattr(self, node: nodes.Getattr) -> nodes.Node:
        self.generic_visit(node)
        if (
            isinstance(node.node, nodes.Name)
            and node.node.name == ROW
            and node.attr in self.columns
        ):
            name = nodes.Const(node.attr, lineno=node.lineno)
            return nodes.Getitem(node.node, name, "load", lineno=node.lineno)
        return node


def _filtered(name: str, node: Any) -> nodes.Filter:
    lineno = node.lineno if node is not None else 1
    return nodes.Filter(node, name, [], [], None, None, lineno=lineno)


def _check_statements(tree: nodes.Template, place: str) -> None:
    for statement in tree.find_all(nodes.Stmt):
        allowed = isinstance(statement, _STATEMENTS)
        if not allowed or (isinstance(statement, nodes.For) and statement.recursive):
            what = type(statement).__name__.lower()
            raise TemplateError(f"{place}, line {statement.lineno}: {what} has no place here.")
    for node in _lookups(tree):
        name = node.attr if isinstance(node, nodes.Getattr) else _constant(node.arg)
        own = isinstance(node, nodes.Getitem) and _column(node) is not None
        if name.startswith("__") and not own:
            raise TemplateError(f"{place}, line {node.lineno}: {name} has no place here.")


def _lookups(tree: nodes.Template) -> Iterator[nodes.Getattr | nodes.Getitem]:
    yield from tree.find_all(nodes.Getattr)
    yield from tree.find_all(nodes.Getitem)


def _constant(node: nodes.Node) -> str:
    return node.value if isinstance(node, nodes.Const) and isinstance(node.value, str) else ""


def _check_names(
    tree: nodes.Template, place: str, columns: Sequence[str], source: str | None
) -> frozenset[str]:
    """Return the columns that the tree reads; TemplateError for a name that is none."""
    free = meta.find_undeclared_variables(tree)
    read = {name for name in free if name in columns and name != ROW}
    known = {*columns, ROW, *_SANDBOX.globals}
    for node in tree.find_all(nodes.Name):
        if node.name == ROW and node.ctx != "load":
            raise TemplateError(f"{place}: row is the row itself, take another name for {ROW}.")
        if node.name in free and node.name not in known:
            raise unknown_column(node.name, columns, source)
    if ROW in free:
        read |= _row_columns(tree, columns, source)
    return frozenset(read)


def _row_columns(tree: nodes.Template, columns: Sequence[str], source: str | None) -> set[str]:
    """Return the columns read through `row`: those named, or all if it is used otherwise."""
    named: set[str] = set()
    counted = 0
    for node in _lookups(tree):
        if not (isinstance(node.node, nodes.Name) and node.node.name == ROW):
            continue
        column = node.attr if isinstance(node, nodes.Getattr) else _column(node)
        if column in columns:
            named.add(str(column))
            counted += 1
        elif column is not None and not (
            isinstance(node, nodes.Getattr) and column in _ROW_METHODS
        ):
            raise unknown_column(column, columns, source)
    uses = sum(node.name == ROW for node in tree.find_all(nodes.Name))
    return named if uses == counted else set(columns)


def unknown_column(name: str, columns: Sequence[str], source: str | None) -> TemplateError:
    """Return the error of a placeholder that names no column."""
    where = f" in {source}" if source else ""
    return TemplateError(
        f"No column {name!r}{where}. {meant(name, columns)}"
        f"Columns: {listed(nearest_first(name, columns))}."
    )


def _shown(node: nodes.Node) -> frozenset[str]:
    """Return the columns that a tree prints, loops over or sets; tests of conditions left out."""
    names: set[str] = set()
    tests = {nodes.If: "test", nodes.CondExpr: "test", nodes.For: "test"}.get(type(node))
    column = _column(node)
    if column is not None:
        names.add(column)
    for field, child in node.iter_fields():
        if field == tests:
            continue
        for one in child if isinstance(child, list) else [child]:
            if isinstance(one, nodes.Node):
                names |= _shown(one)
    return frozenset(names)


def _syntax(error: TemplateSyntaxError, place: str) -> str:
    message = (error.message or "it can't be read").rstrip(".")
    if message.startswith("No filter named"):
        name = message.split("'")[1]
        return (
            f"{place}, line {error.lineno}: {message}. {meant(name, _SANDBOX.own_filters)}"
        ).rstrip()
    if "end of print statement" in message:
        message += '; a name with spaces is written {{ row["the name"] }}'
    return f"{place}, line {error.lineno}: {message}."
