"""What is kept of a comparison, for the job's page: an event of the log called `compared`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .agreement import folded, table_of
from .compare import Compared, Comparison

# Labels of a table that is kept.
MOST_LABELS = 30


def for_the_log(comparison: Comparison) -> dict[str, Any]:
    """What is kept of a comparison: figures, and tables of labels that a schema names.

    Answers themselves aren't: what the log holds is read by more people than the answers are.
    """
    second = comparison.second
    kept = []
    for column in comparison.columns:
        found = column.agreement
        kappa = found.kappa
        kept.append(
            {
                "name": column.name,
                "other": column.other,
                "kind": column.kind,
                **vars(column.account),
                "same": found.same,
                "kappa": kappa and [kappa.value, kappa.low, kappa.high],
                "mean_difference": found.moments.mean_difference,
                "correlation": found.moments.correlation,
                "concordance": found.moments.concordance,
                "overlap": found.overlap if column.kind == "list" else None,
                **named_table(comparison, column),
            }
        )
    return {"with": second.job.id if second else None, "columns": kept}


def named_table(comparison: Comparison, column: Compared) -> dict[str, Any]:
    """The labels that the schema names, and how often each came with each, all others last."""
    pairs, labels = column.agreement.pairs, named_labels(comparison, column)
    if not pairs or not labels or len(labels) > MOST_LABELS:
        return {}
    counted_as = [
        folded(label) if comparison.fold_case and isinstance(label, str) else label
        for label in labels
    ]
    return {"labels": list(labels), "table": table_of(pairs, counted_as)}


def named_labels(comparison: Comparison, column: Compared) -> Sequence[str | int]:
    """The labels of an enumeration, or the steps of a range of integers; else none."""
    schema = comparison.first.schema
    node = schema.json["properties"][column.name] if schema else {}
    if "enum" in node:
        return [label for label in node["enum"] if isinstance(label, str | int)]
    first, last = node.get("minimum"), node.get("maximum")
    if node.get("type") != "integer" or not isinstance(first, int) or not isinstance(last, int):
        return ()
    return range(first, last + 1) if column.kind == "number" else ()
