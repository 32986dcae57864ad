"""The screen of `compare`. Nothing here reads or writes."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from ...base.text import counted, cut, hundredths, kappa_words, oneline, percent

if TYPE_CHECKING:
    from ...results.agreement import Agreement
    from ...results.compare import Account, Compared, Comparison
    from ...results.several import Several
    from ...store import Job

#: Labels in a table for people; the others are put together.
SHOWN = 10
#: Of more labels than this a table is shown only where each came twice on the mean.
FEW = 20


def sides(comparison: Comparison) -> tuple[str, str]:
    """What both sides are called on screens."""
    second = comparison.second
    gold = "people" if comparison.people else "gold"
    return f"job {comparison.first.job.id}", f"job {second.job.id}" if second else gold


def compare_screen(comparison: Comparison, db: str) -> str:
    """How both sides agree in each column, with the rows that could not be compared."""
    first, second = comparison.first.job, comparison.second
    names = sides(comparison)
    beside = job_words(second.job) if second else f"{first.source or 'its query'}"
    if comparison.people:
        beside = f"what people say of {counted(len(comparison.labels), 'row')}"
    lines = [f"{job_words(first)} beside {beside}", ""]
    accounts = [column.account for column in comparison.columns]
    together = all(account == accounts[0] for account in accounts)
    if together:
        lines += account_lines("Rows", accounts[0], names)
    for column in comparison.columns:
        lines.append("")
        lines += column_lines(column, names, gold=second is None)
        lines += coder_lines(comparison, column)
        if not together:
            lines += account_lines("  rows", column.account, names)
    target = f"{second.job.id}" if second else ""
    if not second and not comparison.people:
        target = " ".join(
            f"--gold {shlex.quote(f'{name}={column}')}" for name, column in comparison.gold
        )
    if any(column.agreement.same < column.agreement.n for column in comparison.columns):
        target += " -i" if comparison.fold_case else ""
        target += "".join(f" -c {shlex.quote(name)}" for name in comparison.wanted)
        words = f"compare {shlex.quote(db)} {first.id} {target}".split(" ")
        command = f"sqlite-utils openai-batch {' '.join(filter(None, words))}"
        lines += ["", f"Which rows differ: {command} --disagree --csv > differ.csv"]
    return "\n".join(lines)


def several_screen(found: Several) -> str:
    """Several jobs side by side: what they cost, and how far each is right."""
    from ...results.words import cost_words
    from .text import table

    blocks = []
    for column in found.columns:
        body = []
        for one in (line for line in found.lines if line.column == column):
            said = one.judged
            kappa = said.kappa if said else None
            body.append(
                [
                    f"{one.job.id}{f' {cut(one.job.name, 16)}' if one.job.name else ''}",
                    cut(one.job.model or "-", 24),
                    f"{one.answered:,}",
                    f"{one.failed:,}",
                    cost_words(one.job),
                    percent(said.same, said.n) if said and said.n else "-",
                    hundredths(kappa.value) if kappa else "-",
                    f"{said.n:,}" if said else "-",
                ]
            )
        headers = ["job", "model", "answered", "failed", "cost", "right", "κ", "of rows"]
        alpha = found.alphas[column]
        words = "not defined" if alpha is None else hundredths(alpha)
        blocks.append(
            f"{column}: Krippendorff's α of the {len(found.jobs)} jobs {words}\n\n"
            + table(headers, body, right=range(2, 8))
        )
    return "\n\n".join(blocks)


def job_words(job: Job) -> str:
    """A job and the model that it asked."""
    named = f" {job.name}" if job.name else ""
    return oneline(f"Job {job.id}{named} ({job.model or 'model unknown'})")


def account_lines(label: str, account: Account, names: tuple[str, str]) -> list[str]:
    """What became of all rows; the sum is their number."""
    first, second = names
    lacking = "value in gold" if second == "gold" else f"answer in {second}"
    lacking = "label by people" if second == "people" else lacking
    rows = [
        ("with both", account.compared),
        (f"no answer in {first}", account.no_first),
        (f"no {lacking}", account.no_second),
        ("neither", account.neither),
        (f"asked by {first} only", account.only_first),
        (f"asked by {second} only", account.only_second),
    ]
    shown = [row for n, row in enumerate(rows) if row[1] or n == 0]
    width = max(len(name) for name, _ in rows)
    lines = [
        f"{label if n == 0 else '':<10}{name:<{width}}  {count:>9,}"
        for n, (name, count) in enumerate(shown)
    ]
    return [*lines, f"{'':<10}{'sum':<{width}}  {account.total:>9,}"]


def column_lines(column: Compared, names: tuple[str, str], *, gold: bool) -> list[str]:
    """The agreement in one column: a sentence of figures, and which labels were taken for which."""
    found = column.agreement
    both = column.name if column.name == column.other else f"{column.name} / {column.other}"
    name = oneline(both)
    if not found.n:
        return [f"{name}: no row has both."]
    pieces = [f"{percent(found.same, found.n)} the same ({found.same:,} of {found.n:,})"]
    pieces += scale_words(found) if found.kind == "number" else []
    if found.kind == "list":
        pieces.append(f"{100 * found.overlap / found.n:.1f} % of their elements in common")
    labels = found.labels if found.has_labels else []
    shows = len(labels) > 1
    if shows:
        pieces += agreement_words(found, gold=gold)
    lines = [f"{name}: {' · '.join(pieces)}"]
    if found.alike:
        lines.append(f"  {counted(found.alike, 'row')} differ only in capitals or white space (-i)")
    if shows and len(labels) <= max(found.n // 2, FEW):
        lines += ["", *confusion_lines(found, names)]
        if gold and found.kind == "label":
            lines += ["", *score_lines(found)]
    elif not shows and found.kind == "label" and found.pairs is None:
        lines.append("  Too many different answers for κ or a table.")
    return lines


def coder_lines(comparison: Comparison, column: Compared) -> list[str]:
    """Who judged a column, and how far they agree."""
    if not comparison.people:
        return []
    coders, found = comparison.coders(column)
    agree = "" if found is None else f" · Krippendorff's α {hundredths(found)}"
    return [f"  coders: {', '.join(coders)}{agree}"]


def score_lines(found: Agreement) -> list[str]:
    """How well each label is found."""
    from ...results.agreement import label_scores
    from .text import table

    body = [
        [
            label_words(one.label),
            f"{one.gold:,}",
            *("-" if figure is None else f"{figure:.2f}"
              for figure in (one.precision, one.recall, one.f1)),
        ]
        for one in label_scores(found.pairs or {})[:SHOWN]
    ]  # fmt: skip
    text = table(["label", "rows", "precision", "recall", "F1"], body, right=range(1, 5))
    return [f"  {line}" for line in text.splitlines()]


def agreement_words(found: Agreement, *, gold: bool) -> list[str]:
    """κ with its interval; against gold also how well each label is found."""
    from ...results.agreement import macro_f1

    kappa = found.kappa
    if kappa is None:
        return []
    # Where one side never changes κ is 0 whatever the other says, and an interval says nothing.
    said = [kappa_words(kappa.value, kappa.low, kappa.high)]
    weighted = found.weighted
    if weighted is not None:
        said.append(f"weighted {kappa_words(weighted.value, weighted.low, weighted.high)}")
    if gold and found.kind == "label" and found.pairs:
        said.append(f"macro F1 {macro_f1(found.pairs) or 0:.2f}")
    return said


def scale_words(found: Agreement) -> list[str]:
    """How far numbers are apart, and whether they go together."""
    moments = found.moments
    said = []
    if moments.mean_difference is not None:
        said.append(f"{hundredths(moments.mean_difference)} apart on the mean")
    if moments.correlation is not None:
        said.append(f"r {hundredths(moments.correlation)}")
    if moments.concordance is not None:
        said.append(f"concordance {hundredths(moments.concordance)}")
    return said


def confusion_lines(found: Agreement, names: tuple[str, str]) -> list[str]:
    """Which label of one side came with which of the other, with sums."""
    from ...results.agreement import table_of
    from .text import table

    labels = found.labels
    shown = labels[:SHOWN] if len(labels) > SHOWN + 1 else labels
    if found.kind == "number":
        shown = sorted(shown, key=lambda label: (not isinstance(label, int | float), label or 0))
    cells = table_of(found.pairs or {}, shown)
    words = [label_words(label) for label in shown]
    if len(shown) < len(labels):
        words.append(f"({len(labels) - len(shown)} others)")
    else:
        cells = [line[:-1] for line in cells[:-1]]
    body = [[word, *map("{:,}".format, line), f"{sum(line):,}"]
            for word, line in zip(words, cells, strict=True)]  # fmt: skip
    sums = [sum(column) for column in zip(*cells, strict=True)]
    body.append(["sum", *map("{:,}".format, sums), f"{sum(sums):,}"])
    headers = [f"{names[0]} ↓  {names[1]} →", *words, "sum"]
    text = table(headers, body, right=range(1, len(headers)))
    return [f"  {line}" for line in text.splitlines()]


def label_words(label: object) -> str:
    """A label for the head of a column."""
    if label is None:
        return "(none)"
    if isinstance(label, bytes):
        return f"({len(label):,} bytes)"
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    return cut(str(label), 16) or "(empty)"
