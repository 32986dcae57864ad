"""One string of a body, its placeholders compiled: a slot that makes text of a row.

Plain placeholders and the common filters become a list of pieces to join; everything else goes
through Jinja. Both give the same text.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from jinja2 import Template as JinjaTemplate
from jinja2 import TemplateSyntaxError, meta, nodes
from jinja2.exceptions import SecurityError, UndefinedError
from jinja2.visitor import NodeTransformer

from ..base.errors import TemplateError, UnrenderableRow
from ..base.text import listed, meant, nearest_first
from ..tables.sql import SQLiteValue
from .sandbox import BOUNDED, BUDGET, CONCAT, EACH, Budget, Sandbox
from .values import blob_in_text, json_text, wrapped

Values = Sequence[SQLiteValue]
Text = Callable[[Values], str]
Columns = Sequence[Sequence[SQLiteValue]]
Texts = Callable[[Columns], list[str]]

ROW = "row"
#: Filters whose text is JSON: a string that is nothing but such a placeholder becomes that value.
NATIVE = ("json", "tojson", "number")

SANDBOX = Sandbox()


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
    attached: bool = False
    """Whether it is exactly `{{ … | attach }}`: its text is a content part of a file."""

    @property
    def column(self) -> str | None:
        """The column, where the string is its placeholder and nothing else."""
        shown = list(printed(self.tree))
        return column_of(shown[0]) if len(shown) == 1 else None

    def text(self, columns: Sequence[str]) -> Text:
        """Return the function from values of `columns` to its text, the fast one if it can be."""
        return self.fast(columns) or self.jinja(columns)

    def texts(self, columns: Sequence[str]) -> Texts:
        """Return the function from many rows, column by column, to their texts.

        It raises UnrenderableRow where `text` does for any one of the rows.
        """
        pieces = self.pieces(columns)
        if pieces and any(isinstance(piece, Piece) for piece in pieces):
            return _joined_columns(pieces)
        return one_by_one(self.text(columns))

    def fast(self, columns: Sequence[str]) -> Text | None:
        """Return the function for plain placeholders and common filters, None for others."""
        pieces = self.pieces(columns)
        return None if pieces is None else _joined(pieces)

    def pieces(self, columns: Sequence[str]) -> list[str | Piece] | None:
        """Return plain placeholders, common filters and the text between; None for others."""
        found: list[str | Piece] = []
        for node in printed(self.tree):
            if isinstance(node, nodes.TemplateData):
                found.append(node.data)
            elif (piece := _piece(node, columns)) is not None:
                found.append(piece)
            else:
                return None
        return found

    def jinja(self, columns: Sequence[str]) -> Text:
        """Return the function that renders by Jinja."""
        code = SANDBOX.compile(self.tree)
        template = JinjaTemplate.from_code(
            SANDBOX, cast(Any, code), SANDBOX.make_globals(None), None
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


@dataclass(frozen=True)
class Piece:
    """A placeholder: the column it stands for, and what makes text of a value."""

    index: int
    of: Callable[[Any], str]
    plain: bool
    """Whether the text is the value's own, unfiltered."""

    def column(self, values: Sequence[SQLiteValue]) -> Iterable[SQLiteValue]:
        """Return what `%s` prints as the texts of these values."""
        if self.plain and _PRINTED.issuperset(map(type, values)):
            return values
        return map(self.of, values)


#: Types whose text is what `%s` makes of them.
_PRINTED = frozenset({str, int, float})


def one_by_one(text: Text) -> Texts:
    """Return the function for many rows that makes each one's text by itself."""

    def texts(columns: Columns) -> list[str]:
        return list(map(text, zip(*columns, strict=True)))

    return texts


def printed(tree: nodes.Template) -> Iterator[nodes.Node]:
    """Yield what a tree prints: text, expressions, and its statements as they are."""
    for statement in tree.body:
        if isinstance(statement, nodes.Output):
            yield from statement.nodes
        else:
            yield statement


def _piece(node: nodes.Node, columns: Sequence[str]) -> Piece | None:
    filters: list[Callable[[str], str]] = []
    while isinstance(node, nodes.Filter):
        if node.args or node.kwargs or node.dyn_args or node.dyn_kwargs or node.node is None:
            return None
        if node.name in ("json", "tojson") and column_of(node.node) in columns:
            column = column_of(node.node) or ""
            return Piece(columns.index(column), _chained(_as_json(column), filters), plain=False)
        if node.name not in _COMMON:
            return None
        filters.insert(0, _COMMON[node.name])
        node = node.node
    column_name = column_of(node)
    if column_name is None or column_name not in columns:
        return None
    made = _chained(_as_text(column_name), filters)
    return Piece(columns.index(column_name), made, plain=not filters)


_COMMON: dict[str, Callable[[str], str]] = {
    "upper": str.upper,
    "lower": str.lower,
    "trim": str.strip,
    "capitalize": str.capitalize,
    "string": str,
}


def column_of(node: nodes.Node) -> str | None:
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


def _joined(pieces: Sequence[str | Piece]) -> Text:
    form, shown = _form(pieces)
    if len(shown) == 1:
        index, function = shown[0].index, shown[0].of
        before, after = (part.replace("%%", "%") for part in form.split("%s"))

        def one(row: Values) -> str:
            return before + function(row[index]) + after

        return one
    functions = [(piece.index, piece.of) for piece in shown]

    def many(row: Values) -> str:
        return form % tuple([function(row[index]) for index, function in functions])

    return many


def _joined_columns(pieces: Sequence[str | Piece]) -> Texts:
    form, shown = _form(pieces)

    def texts(columns: Columns) -> list[str]:
        # no Python code runs for each row here: that is what makes it fast
        values = [piece.column(columns[piece.index]) for piece in shown]
        return list(map(form.__mod__, zip(*values, strict=True)))

    return texts


def _form(pieces: Sequence[str | Piece]) -> tuple[str, list[Piece]]:
    """Return pieces as a form for `%`, and the placeholders that fill it."""
    form = "".join(p.replace("%", "%%") if isinstance(p, str) else "%s" for p in pieces)
    return form, [piece for piece in pieces if not isinstance(piece, str)]


# Reading a string of a body: its placeholders, checked against the columns that exist.

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
    Raises TemplateError for a syntax error, a name that is not a column of `columns`, and for what
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
    native = isinstance(only, nodes.Filter) and only.name in NATIVE
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
