"""Reading a string of a body: its placeholders, checked against the columns that exist."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, cast

from jinja2 import TemplateSyntaxError, meta, nodes
from jinja2.visitor import NodeTransformer

from .compiled import ROW, SANDBOX, Slot, column_of, printed
from .errors import TemplateError
from .nearest import listed, meant, nearest_first
from .sandbox import BOUNDED, CONCAT, EACH

_METHODS = frozenset({"items", "keys", "values", "get"})
_STATEMENTS = (
    nodes.Output,
    nodes.For,
    nodes.If,
    nodes.Assign,
    nodes.AssignBlock,
    nodes.With,
    nodes.FilterBlock,
    nodes.Scope,
)
_WORDS = {nodes.ScopedEvalContextModifier: "autoescape", nodes.For: "a recursive loop"}


def read_slot(
    text: str,
    place: str,
    columns: Sequence[str],
    source: str | None,
    hidden: Collection[str] = (),
) -> Slot | None:
    """Read a string of a body; None if it holds no placeholder at all.

    Columns in `hidden` are read only where they are named: `row` as a whole leaves them out.
    Raises TemplateError for a syntax error, a name that is no column of `columns`, and for what
    a template may not do.
    """
    if not any(mark in text for mark in ("{{", "{%", "{#")):
        return None
    guard = _guard(text)
    try:
        tree = SANDBOX.parse(text.replace("\r", guard))
        tree = cast(nodes.Template, _Restored(guard).visit(tree))
        _check_statements(tree, place)
        tree = cast(nodes.Template, _RowNames().visit(tree))
        names = _check_names(tree, place, columns, source, hidden)
        tree = cast(nodes.Template, _Measured().visit(tree))
        tree.set_environment(SANDBOX)
        SANDBOX.compile(tree)
    except TemplateSyntaxError as error:
        raise TemplateError(_syntax(error, place)) from error
    except (RecursionError, MemoryError, SyntaxError) as error:  # Python's limits, not Jinja's
        raise TemplateError(f"{place}: the template is nested too deep.") from error
    shown = list(printed(tree))
    only = shown[0] if len(shown) == 1 else None
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
    """Sends loops and concatenations through the budget."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.iter = _filtered(EACH, node.iter)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _filtered(CONCAT, nodes.List(node.nodes, lineno=node.lineno))

    def visit_AssignBlock(self, node: nodes.AssignBlock) -> nodes.Node:
        self.generic_visit(node)
        node.filter = _filtered(BOUNDED, node.filter)
        return node


class _RowNames(NodeTransformer):
    """Reads `row.name` as `row["name"]`, so that a column may be called items or keys.

    Methods stay methods where they are called: `row.items()`.
    """

    def visit_Call(self, node: nodes.Call) -> nodes.Node:
        called = node.node
        self.generic_visit(node)
        if isinstance(called, nodes.Getattr) and _is_row(called.node) and called.attr in _METHODS:
            node.node = called
        return node

    def visit_Getattr(self, node: nodes.Getattr) -> nodes.Node:
        self.generic_visit(node)
        if not _is_row(node.node):
            return node
        name = nodes.Const(node.attr, lineno=node.lineno)
        return nodes.Getitem(node.node, name, "load", lineno=node.lineno)


def _is_row(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Name) and node.name == ROW


def _filtered(name: str, node: Any) -> nodes.Filter:
    lineno = node.lineno if node is not None else 1
    return nodes.Filter(node, name, [], [], None, None, lineno=lineno)


def _check_statements(tree: nodes.Template, place: str) -> None:
    for statement in tree.find_all(nodes.Stmt):
        allowed = isinstance(statement, _STATEMENTS)
        if not allowed or (isinstance(statement, nodes.For) and statement.recursive):
            what = _WORDS.get(type(statement), type(statement).__name__.lower())
            raise TemplateError(f"{place}, line {statement.lineno}: {what} has no place here.")
    for node in _lookups(tree):
        name = node.attr if isinstance(node, nodes.Getattr) else _constant(node.arg)
        if name.startswith("__") and not _is_row(node.node):
            raise TemplateError(f"{place}, line {node.lineno}: {name} has no place here.")


def _lookups(tree: nodes.Template) -> Iterator[nodes.Getattr | nodes.Getitem]:
    yield from tree.find_all(nodes.Getattr)
    yield from tree.find_all(nodes.Getitem)


def _constant(node: nodes.Node) -> str:
    return node.value if isinstance(node, nodes.Const) and isinstance(node.value, str) else ""


def _check_names(
    tree: nodes.Template,
    place: str,
    columns: Sequence[str],
    source: str | None,
    hidden: Collection[str],
) -> frozenset[str]:
    """Return the columns that the tree reads; TemplateError for a name that is none."""
    free = meta.find_undeclared_variables(tree)
    read = {name for name in free if name in columns and name != ROW}
    known = {*columns, ROW, *SANDBOX.globals}
    for node in tree.find_all(nodes.Name):
        if node.name == ROW and node.ctx != "load":
            raise TemplateError(f"{place}: row is the row itself; take another name.")
        if node.name == "self" and "self" in columns:
            raise TemplateError(f'{place}: write {{{{ row["self"] }}}} for the column self.')
        if node.name == "self" or (node.name in free and node.name not in known):
            raise unknown_column(node.name, columns, source)
    if ROW in free:
        read |= _row_columns(tree, columns, source, hidden)
    return frozenset(read)


def _row_columns(
    tree: nodes.Template, columns: Sequence[str], source: str | None, hidden: Collection[str]
) -> set[str]:
    """Return the columns read through `row`: those named, or all if it is used otherwise."""
    named = [column_of(node) for node in tree.find_all(nodes.Getitem) if _is_row(node.node)]
    for column in named:
        if column is not None and column not in columns:
            raise unknown_column(column, columns, source)
    uses = sum(map(_is_row, tree.find_all(nodes.Name)))
    found = {column for column in named if column is not None}
    if None in named or uses > len(named):
        return found | {column for column in columns if column.lower() not in hidden}
    return found


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
    column = column_of(node)
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
            f"{place}, line {error.lineno}: {message}. {meant(name, SANDBOX.named_filters)}"
        ).rstrip()
    if "end of print statement" in message:
        message += '; a name with spaces is written {{ row["the name"] }}'
    return f"{place}, line {error.lineno}: {message}."
