"""What is kept of a comparison, for the job's page: an event of the log called `compared`."""

from __future__ import annotations

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
    schema = comparison.first.schema
    if schema is None or not column.agreement.pairs:
        return {}
    node = schema.json["properties"][column.name]
    labels = [label for label in node.get("enum") or () if isinstance(label, str)]
    if not labels or len(labels) > MOST_LABELS:
        return {}
    counted_as = [folded(label) for label in labels] if comparison.fold_case else labels
    return {"labels": labels, "table": table_of(column.agreement.pairs, counted_as)}
