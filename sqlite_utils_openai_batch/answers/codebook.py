"""A codebook: the variables that are coded, their labels with definitions, and what is asked then.

People who code texts have one already, as a table: variable, label (or a range of numbers),
definition, example. From it come the answer schema, with labels in the codebook's order, and the
instructions for the model.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from ..base.errors import SchemaError
from ..base.text import listed, near
from ..base.text_files import Text, decoded, meant_file

#: Names under which people have these columns, and YAML these keys.
COLUMNS = {
    "variable": ("variable", "column", "name"),
    "label": ("label", "labels", "label or range", "range", "code", "codes", "value", "values"),
    "definition": ("definition", "definitions", "description", "meaning"),
    "example": ("example", "examples"),
    "several": ("several", "multiple", "several labels"),
    "ordered": ("ordered", "scale", "ordinal"),
    "otherwise": ("otherwise", "nothing fits", "else", "if nothing fits"),
}
YES, NO = ("yes", "y", "true", "1", "x"), ("no", "n", "false", "0", "")
#: Labels that say themselves that nothing fits.
NOTHING = ("other", "others", "none", "none of these", "nothing fits", "unclear", "unknown",
           "not sure", "can't tell", "cannot tell", "n/a", "na", "not applicable")  # fmt: skip
#: What may stand in a label's place, for a variable that has none.
KINDS = {"text": "string", "str": "string", "string": "string", "int": "integer",
         "integer": "integer", "number": "number", "float": "number", "bool": "boolean",
         "boolean": "boolean", "yes/no": "boolean", "yes|no": "boolean"}  # fmt: skip
_NUMBER = r"-?\d{1,15}(?:\.\d{1,15})?"
_RANGE = re.compile(rf"({_NUMBER})\s*(?:\.\.|…|–|-|to)\s*({_NUMBER})(?:\s+(int|float))?")
_SEVERAL = re.compile(r"^(.*?)\s*(?:\(\s*(?:several|multiple|list)[^)]*\)|\[\])$", re.IGNORECASE)
#: Where the instructions go in a text of one's own.
PLACE = re.compile(r"\{\{-?\s*codebook\s*-?\}\}")


@dataclass(frozen=True)
class Label:
    """One label of a variable, and what belongs under it."""

    value: str | int
    definition: str = ""
    example: str = ""


@dataclass(frozen=True)
class Variable:
    """What is coded of each row: a column of the answer."""

    name: str
    kind: str = "string"
    """string, integer, number or boolean."""
    definition: str = ""
    example: str = ""
    labels: tuple[Label, ...] = ()
    low: float | None = None
    high: float | None = None
    several: bool = False
    """Whether a row may have several labels."""
    ordered: bool | None = None
    """Whether labels are steps of a scale, in their order; None where the codebook doesn't say."""
    otherwise: str = ""
    """The label for what none fits."""

    @property
    def order(self) -> tuple[Any, ...]:
        """The labels as steps of a scale; none where the codebook says that they are none."""
        if self.several or self.ordered is False or len(self.labels) < 3:
            return ()
        return tuple(label.value for label in self.labels)

    def schema(self) -> dict[str, Any]:
        """What an answer may hold here, as JSON schema."""
        node: dict[str, Any] = {"type": self.kind}
        if self.labels:
            node["enum"] = [label.value for label in self.labels]
        if self.low is not None and self.high is not None:
            whole = self.kind == "integer"
            node["minimum"] = int(self.low) if whole else self.low
            node["maximum"] = int(self.high) if whole else self.high
        if self.several:
            node = {"type": "array", "items": node}
        if self.definition:
            node["description"] = self.definition
        return node

    def instructions(self) -> Iterator[str]:
        """What the model is told of it, line by line."""
        said = f"{self.name}: {self.definition}" if self.definition else f"{self.name}:"
        yield f"{said}{'' if said.endswith(('.', ':', '?', '!')) else '.'} {self.wanted()}"
        if self.example:
            yield f"  Example: {self.example}"
        for label in self.labels:
            meant = f": {label.definition}" if label.definition else ""
            yield f"- {label.value}{meant}"
            if label.example:
                yield f"  Example: {label.example}"
        if (nothing := self.nothing_fits()) is not None:
            yield nothing

    def wanted(self) -> str:
        """What is to be given."""
        if self.labels:
            return "Choose every label that applies." if self.several else "Choose one label."
        if self.low is not None and self.high is not None:
            number = "a whole number" if self.kind == "integer" else "a number"
            return f"Give {number} from {figure(self.low)} to {figure(self.high)}."
        kinds = {"integer": "a whole number", "number": "a number", "boolean": "true or false"}
        if self.several:
            return "Give a list."
        return f"Give {kinds.get(self.kind, 'a text')}."

    def nothing_fits(self) -> str | None:
        """What to choose where nothing fits."""
        otherwise = self.otherwise or next(
            (str(label.value) for label in self.labels if str(label.value).casefold() in NOTHING),
            "",
        )
        if otherwise:
            return f"If nothing fits, choose {otherwise}."
        if self.several:
            return "If nothing fits, give an empty list."
        if self.labels:
            return "If nothing fits well, choose the label whose definition comes closest."
        if self.low is not None:
            return "If nothing fits well, give the number that comes closest."
        return "If there is nothing to say, leave it empty." if self.kind == "string" else None


@dataclass(frozen=True)
class Codebook:
    """All variables of a codebook, in their order."""

    variables: tuple[Variable, ...]

    @classmethod
    def parse(cls, text: str, name: str = "The codebook") -> Codebook:
        """Read a codebook from CSV or YAML; which of them, its first line tells.

        Raises SchemaError, which names `name` and the line.
        """
        entries = list(from_csv(text, name) if is_csv(text) else from_yaml(text, name))
        if not entries:
            raise SchemaError(
                f"{name} is empty. Its first line names the columns: "
                "variable,label,definition,example"
            )
        return cls(tuple(variables(entries, name)))

    @classmethod
    def from_data(cls, data: Any) -> Codebook | None:
        """Read back what `to_data` wrote; None where that isn't what somebody left there."""
        try:
            return cls(
                tuple(
                    Variable(**{**one, "labels": tuple(Label(**each) for each in one["labels"])})
                    for one in data
                )
            )
        except (TypeError, KeyError):
            # Another version's, or changed by hand: what it adds is left out.
            return None

    def to_data(self) -> list[dict[str, Any]]:
        """The codebook as a job keeps it."""
        return json.loads(json.dumps([asdict(one) for one in self.variables]))  # type: ignore[no-any-return]

    def schema(self) -> dict[str, Any]:
        """The JSON schema of an answer."""
        properties = {one.name: one.schema() for one in self.variables}
        return {"type": "object", "properties": properties, "required": list(properties)}

    def instructions(self) -> str:
        """What the model is told."""
        blocks = ["\n".join(one.instructions()) for one in self.variables]
        return "\n\n".join(["Code what you are given by this codebook.", *blocks])

    def template(self) -> str:
        """The instructions as they stand in a template: nothing in them is a placeholder."""
        text = self.instructions()
        if not any(mark in text for mark in ("{{", "{%", "{#")):
            return text
        if re.search(r"\{%-?\s*endraw", text):
            raise SchemaError(
                "The codebook has {% endraw %} in it, which can't be put in a prompt."
            )
        return f"{{% raw %}}{text}{{% endraw %}}"

    def variable(self, name: str) -> Variable | None:
        """The variable of that name."""
        return next((one for one in self.variables if one.name == name), None)


def codebook_text(value: str | None, *, files: bool = True) -> str | None:
    """The text of a codebook, of the file of that name or as it is given with a job.

    Raises SchemaError for a file that can't be read or is no codebook. Without `files` a value is
    no name of one.
    """
    if value is None:
        return None
    if not files or isinstance(value, Text) or "\n" in value:
        Codebook.parse(value)
        return Text(value)
    file = Path(value)
    if not file.is_file():
        raise SchemaError(
            f"--codebook '{value}': there is no such file. {meant_file(value)}".strip()
        )
    text = decoded(value, SchemaError, "--codebook ")
    Codebook.parse(text, f"--codebook '{value}'")
    return Text(text)


def figure(number: float) -> str:
    """A number without needless decimals."""
    return str(int(number)) if float(number).is_integer() else str(number)


# Entries: what stands in one line of the table, or under one key.


@dataclass(frozen=True)
class Entry:
    """One line of a codebook. Without a label it is about the variable itself."""

    line: int
    variable: str
    label: str = ""
    definition: str = ""
    example: str = ""
    several: str = ""
    ordered: str = ""
    otherwise: str = ""
    is_text: bool = False
    """Whether the label stands in a list of labels, so that it is not a range."""


def entry_with(
    line: int, variable: str, words: Mapping[str, str], *, is_text: bool = False
) -> Entry:
    """An entry of what is said by column."""
    label, definition, example, several, ordered, otherwise = (
        words.get(column, "") for column in COLUMNS if column != "variable"
    )
    return Entry(line, variable, label, definition, example, several, ordered, otherwise, is_text)


def column_of(name: str) -> str | None:
    """Which of our columns is meant by a name."""
    folded = " ".join(name.replace("_", " ").casefold().split())
    return next((ours for ours, names in COLUMNS.items() if folded in names), None)


def delimiter_of(first: str) -> str:
    """What separates the cells of a table."""
    return max(",;\t", key=first.count)


def first_line(text: str) -> str:
    """The first line that isn't empty."""
    return next((line for line in text.splitlines() if line.strip(" ,;\t")), "")


def is_csv(text: str) -> bool:
    """Whether a codebook is a table: its first line has several cells, or ours are among them."""
    first = first_line(text)
    if first.lstrip().startswith(("-", "{", "[", "#")) or first.rstrip().endswith(":"):
        return False
    cells = next(csv.reader([first], delimiter=delimiter_of(first)), [])
    return len(cells) > 1 and (":" not in cells[0] or column_of(cells[0]) is not None)


def from_csv(text: str, name: str) -> Iterator[Entry]:
    """The entries of a table. Raises SchemaError."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter_of(first_line(text)))
    places: list[str | None] | None = None
    variable = ""
    try:
        for cells in reader:
            line = reader.line_num
            if not any(cell.strip() for cell in cells):
                continue
            if places is None:
                places = header(cells, name, line)
                continue
            if any(cell.strip() for cell in cells[len(places) :]):
                raise SchemaError(
                    f"{name}, line {line}: {len(cells)} cells, and the first line names "
                    f"{len(places)}. Is a text with a comma in it not in quotes?"
                )
            found = {
                place: " ".join(cell.split())
                for place, cell in zip(places, cells, strict=False)
                if place is not None
            }
            variable = found.pop("variable", "") or variable
            if not variable:
                raise SchemaError(f"{name}, line {line}: no variable is named.")
            yield entry_with(line, variable, found)
    except csv.Error as error:
        raise SchemaError(f"{name}, line {reader.line_num}: this is not CSV: {error}.") from error


def header(cells: Sequence[str], name: str, line: int) -> list[str | None]:
    """Which column is which. Raises SchemaError where those are missing that must be there."""
    places = [column_of(cell) for cell in cells]
    for cell, place in zip(cells, places, strict=True):
        names = [one for one in ("variable", "label", "definition", "example") if one not in places]
        if place is None and (meant := near(cell.strip().casefold(), names)):
            raise SchemaError(
                f"{name}, line {line}: the column '{cell.strip()}' is not one of a codebook. "
                f"Did you mean {meant[0]}?"
            )
    for wanted in ("variable", "label"):
        if wanted not in places:
            raise SchemaError(
                f"{name}, line {line}: there is no column '{wanted}'. A codebook has: variable, "
                f"label (or range), definition, example. It has: {listed(map(str.strip, cells))}"
            )
    twice = next((one for one in places if one is not None and places.count(one) > 1), None)
    if twice is not None:
        raise SchemaError(f"{name}, line {line}: two columns are the {twice}.")
    return places


def from_yaml(text: str, name: str) -> Iterator[Entry]:
    """The entries of YAML: a list of lines as a table has them, or variables with their labels."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it can't be read"
        raise SchemaError(f"{name}{where}: neither CSV nor YAML: {problem}.") from error
    if root is None:
        return
    pairs = keyed(root, name) if isinstance(root, yaml.MappingNode) else {}
    if set(pairs) == {"variables"}:
        root = pairs["variables"]
    if isinstance(root, yaml.SequenceNode):
        for node in root.value:
            found = keyed(node, name)
            named = next((found.pop(key) for key in list(found) if column_of(key) == "variable"),
                         None)  # fmt: skip
            if named is None:
                raise SchemaError(f"{name}, line {line_of(node)}: no variable is named.")
            yield from of_variable(scalar(named, name), found, line_of(node), name)
    elif isinstance(root, yaml.MappingNode):
        for key, node in keyed(root, name).items():
            yield from of_variable(key, inner(node, name), line_of(node), name)
    else:
        raise SchemaError(
            f"{name}, line {line_of(root)}: a codebook is a table with the columns variable, "
            "label, definition, example, or the same as YAML."
        )


def line_of(node: Any) -> int:
    """The line on which something stands."""
    return int(node.start_mark.line) + 1


def keyed(node: Any, name: str) -> dict[str, Any]:
    """The pairs of an object. Raises SchemaError for what is none, and for a key that is twice."""
    if not isinstance(node, yaml.MappingNode):
        raise SchemaError(
            f"{name}, line {line_of(node)}: write names with values here, as in "
            "'definition: how they feel'."
        )
    found: dict[str, Any] = {}
    for key, value in node.value:
        text = scalar(key, name)
        if text in found:
            raise SchemaError(f"{name}, line {line_of(key)}: '{text}' is there twice.")
        found[text] = value
    return found


def scalar(node: Any, name: str) -> str:
    """A text. Raises SchemaError for anything else."""
    if not isinstance(node, yaml.ScalarNode):
        raise SchemaError(f"{name}, line {line_of(node)}: write a text here.")
    return "" if node.tag == "tag:yaml.org,2002:null" else " ".join(str(node.value).split())


def inner(node: Any, name: str) -> dict[str, Any]:
    """What is said of a variable; a text alone is its definition."""
    if isinstance(node, yaml.ScalarNode):
        return {"definition": node}
    if isinstance(node, yaml.SequenceNode):
        return {"labels": node}
    return keyed(node, name)


def of_variable(variable: str, found: Mapping[str, Any], line: int, name: str) -> Iterator[Entry]:
    """The entries of one variable."""
    if not variable:
        raise SchemaError(f"{name}, line {line}: no variable is named.")
    words: dict[str, str] = {}
    several: list[Entry] = []
    for key, node in found.items():
        ours = column_of(key)
        if ours is None or ours == "variable":
            known = [names[0] for one, names in COLUMNS.items() if one != "variable"]
            meant = near(key.casefold(), known)
            hint = f"Did you mean {meant[0]}?" if meant else f"There are: {listed(known)}"
            raise SchemaError(f"{name}, line {line_of(node)}: '{key}' is not a part of it. {hint}")
        if ours == "label" and not isinstance(node, yaml.ScalarNode):
            several = list(labels_of(variable, node, name))
        else:
            words[ours] = scalar(node, name)
    yield entry_with(line, variable, words)
    yield from several


def labels_of(variable: str, node: Any, name: str) -> Iterator[Entry]:
    """The labels of a variable: a list of them, or definitions by label."""
    if isinstance(node, yaml.MappingNode):
        for label, one in keyed(node, name).items():
            said = inner(one, name)
            words = {str(column_of(key)): scalar(each, name) for key, each in said.items()}
            yield entry_of(variable, label, words, one, name)
        return
    for one in node.value:
        if isinstance(one, yaml.ScalarNode):
            yield entry_of(variable, scalar(one, name), {}, one, name)
            continue
        said = keyed(one, name)
        if len(said) == 1 and column_of(next(iter(said))) is None:
            ((label, meant),) = said.items()
            yield entry_of(variable, label, {"definition": scalar(meant, name)}, one, name)
            continue
        words = {str(column_of(key)): scalar(each, name) for key, each in said.items()}
        yield entry_of(variable, words.pop("label", ""), words, one, name)


def entry_of(variable: str, label: str, words: dict[str, str], node: Any, name: str) -> Entry:
    """One label with what is said of it. Raises SchemaError."""
    if not label or not set(words) <= {"definition", "example"}:
        raise SchemaError(
            f"{name}, line {line_of(node)}: a label has a definition and an example, and nothing "
            "else."
        )
    return entry_with(line_of(node), variable, {**words, "label": label}, is_text=True)


# Variables, put together of their entries.


def variables(entries: Sequence[Entry], name: str) -> Iterator[Variable]:
    """The variables in the order in which they are named first. Raises SchemaError."""
    by_name: dict[str, list[Entry]] = {}
    for entry in entries:
        bare = _SEVERAL.match(entry.variable)
        if bare and bare[1]:
            entry = replace(entry, variable=bare[1], several=entry.several or "yes")
        other = next((one for one in by_name if one.casefold() == entry.variable.casefold()), None)
        if other is not None and other != entry.variable:
            raise SchemaError(
                f"{name}, line {entry.line}: '{entry.variable}' and '{other}' differ only in "
                "capitals. Spell the variable the same."
            )
        by_name.setdefault(entry.variable, []).append(entry)
    for variable, found in by_name.items():
        yield put_together(variable, found, name)


def put_together(variable: str, entries: Sequence[Entry], name: str) -> Variable:
    """One variable. Raises SchemaError."""
    about = [entry for entry in entries if not entry.label]
    labelled = [part for entry in entries if entry.label for part in parts(entry)]
    several = flag(entries, "several", name)
    made = Variable(
        variable,
        definition=" ".join(entry.definition for entry in about if entry.definition),
        example=next((entry.example for entry in about if entry.example), ""),
        several=bool(several),
        ordered=flag(entries, "ordered", name),
        otherwise=next((entry.otherwise for entry in entries if entry.otherwise), ""),
    )
    if len(labelled) == 1 and not labelled[0].is_text:
        found = alone(made, labelled[0], name)
        if found is not None:
            return found
    if labelled:
        made = with_labels(made, labelled, name)
    if made.otherwise and made.otherwise not in {str(one.value) for one in made.labels}:
        line = next(entry.line for entry in entries if entry.otherwise)
        raise SchemaError(
            f"{name}, line {line}: '{made.otherwise}' is not a label of {variable}. "
            f"Labels: {listed(str(one.value) for one in made.labels) or 'none'}"
        )
    return made


def parts(entry: Entry) -> list[Entry]:
    """The labels of an entry: several where bars separate them."""
    words = [word.strip() for word in entry.label.split("|")]
    if len(words) < 2 or entry.is_text or entry.label.casefold() in KINDS:
        return [entry]
    return [replace(entry, label=word, definition="", example="") for word in words if word]


def flag(entries: Sequence[Entry], column: str, name: str) -> bool | None:
    """Whether a variable says yes to something; None where it doesn't say. Raises SchemaError."""
    said = None
    for entry in entries:
        word = getattr(entry, column).casefold()
        if word in YES:
            said = True
        elif word not in NO:
            raise SchemaError(f"{name}, line {entry.line}: '{column}' is yes or no, not '{word}'.")
        elif word and said is None:
            said = False
    return said


def alone(made: Variable, entry: Entry, name: str) -> Variable | None:
    """A variable whose only line names a range or a type; None where that is a label."""
    said = replace(
        made,
        definition=" ".join(filter(None, (made.definition, entry.definition))),
        example=made.example or entry.example,
    )
    if entry.label.casefold() in KINDS:
        return replace(said, kind=KINDS[entry.label.casefold()])
    match = _RANGE.fullmatch(entry.label)
    if match is None:
        return None
    low, high = float(match[1]), float(match[2])
    if low >= high:
        raise SchemaError(
            f"{name}, line {entry.line}: the range {entry.label} of {made.name} is empty. "
            "Put the lower end first."
        )
    if made.several:
        raise SchemaError(f"{name}, line {entry.line}: {made.name} is a number, and one only.")
    decimals = "." in match[1] or "." in match[2] or (low, high) == (0, 1)
    whole = match[3] == "int" or (match[3] is None and not decimals)
    if whole and not (low.is_integer() and high.is_integer()):
        raise SchemaError(
            f"{name}, line {entry.line}: {entry.label} of {made.name} needs whole numbers."
        )
    return replace(said, kind="integer" if whole else "number", low=low, high=high)


def with_labels(made: Variable, entries: Sequence[Entry], name: str) -> Variable:
    """A variable with its labels. Raises SchemaError."""
    seen: dict[str, int] = {}
    for entry in entries:
        before = seen.get(entry.label.casefold())
        if before is not None:
            raise SchemaError(
                f"{name}, line {entry.line}: {made.name} has the label '{entry.label}' twice, "
                f"first in line {before}."
            )
        seen[entry.label.casefold()] = entry.line
        if not entry.is_text and "." in entry.label and _RANGE.fullmatch(entry.label):
            raise SchemaError(
                f"{name}, line {entry.line}: {made.name} has a range ({entry.label}) and labels. "
                "Give it a range or labels."
            )
    if len(entries) < 2:
        raise SchemaError(
            f"{name}, line {entries[0].line}: {made.name} has one label only "
            f"('{entries[0].label}'), so there is nothing to choose."
        )
    whole = not made.several and all(re.fullmatch(r"-?\d{1,15}", one.label) for one in entries)
    labels = tuple(
        Label(int(one.label) if whole else one.label, one.definition, one.example)
        for one in entries
    )
    return replace(made, kind="integer" if whole else "string", labels=labels)


def in_text(text: str, codebook: Codebook) -> str:
    """A text of one's own with the codebook where it says `{{ codebook }}`."""
    said = codebook.template()
    return PLACE.sub(lambda _: said, text)


def job_codebook(settings: Mapping[str, Any]) -> Codebook | None:
    """The codebook that a job keeps among its settings; None where it has none."""
    kept = settings.get("codebook")
    return Codebook.from_data(kept) if isinstance(kept, list) else None
