"""One string of a body, its placeholders compiled: a slot that makes text of a row.

Plain placeholders and the common filters become a list of pieces to join; everything else goes
through Jinja. Both give the same text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from jinja2 import Template as JinjaTemplate
from jinja2 import nodes
from jinja2.exceptions import SecurityError, UndefinedError

from .errors import UnrenderableRow
from .keys import SQLiteValue
from .sandbox import BUDGET, Budget, Sandbox
from .values import blob_in_text, json_text, wrapped

Values = Sequence[SQLiteValue]
Text = Callable[[Values], str]
Columns = Sequence[Sequence[SQLiteValue]]
Texts = Callable[[Columns], list[str]]

ROW = "row"

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
