"""How long OpenAI's queue takes for many rows: a small simulation, with its assumptions in a table.

    python benchmarks/scale.py
    python benchmarks/scale.py --queue 5000000 --tokens 800 --hours 2

Nothing is sent. Parts are cut as this program cuts them: by requests, by bytes, and to half of the
queue at most, so that a second one can wait there. A part is sent when there is room for it, and
takes its place in the queue until its batch has ended. How long a batch takes is drawn around the
median that is given, and never more than 24 hours: OpenAI promises no more than that.
"""

from __future__ import annotations

import argparse
import heapq
import random
from dataclasses import dataclass

ROWS = (10_000, 1_000_000, 10_000_000, 100_000_000)
#: Enqueued tokens of gpt-4o-mini by usage tier, as OpenAI's page of that model listed them.
TIERS = {1: 2_000_000, 2: 20_000_000, 3: 40_000_000, 4: 1_000_000_000, 5: 15_000_000_000}
REQUESTS, FILE_BYTES, CREATES_PER_HOUR, WINDOW = 50_000, 200_000_000, 2_000, 24.0
SPREAD = 0.8
"""Of the logarithm of a batch's hours: nine of ten take a quarter to four times the median."""
POLL = 1 / 60
"""Hours until an ended batch is seen, and its place is given to the next part."""


@dataclass(frozen=True)
class Assumed:
    """What is assumed of rows and of the service."""

    tokens: int = 300
    line_bytes: int = 1_500
    hours: float = 1.0
    seed: int = 1


@dataclass(frozen=True)
class Simulated:
    """What came of it."""

    parts: int
    rounds: float
    days: float


def part_size(queue: int, assumed: Assumed) -> int:
    """Rows of a part."""
    by_queue = queue // 2 // assumed.tokens
    return max(1, min(REQUESTS, FILE_BYTES // assumed.line_bytes, by_queue))


def simulate(rows: int, queue: int, assumed: Assumed) -> Simulated:
    """Send all rows through a queue of so many tokens."""
    chance = random.Random(assumed.seed)
    size = part_size(queue, assumed)
    parts = -(-rows // size)
    at_once = max(1, queue // (size * assumed.tokens))
    running: list[float] = []
    now = 0.0
    for number in range(parts):
        if len(running) >= at_once:
            now = max(now, heapq.heappop(running) + POLL)
        now = max(now, number / CREATES_PER_HOUR)
        takes = min(WINDOW, assumed.hours * chance.lognormvariate(0, SPREAD))
        heapq.heappush(running, now + takes)
    return Simulated(parts, parts / min(parts, at_once), max(running) / 24)


def table(assumed: Assumed, queues: dict[str, int]) -> str:
    """Rows × queues as a Markdown table."""
    lines = [
        "| queue of tokens | " + " | ".join(f"{rows:,} rows" for rows in ROWS) + " |",
        "|---|" + "---:|" * len(ROWS),
    ]
    for name, queue in queues.items():
        cells = [cell(simulate(rows, queue, assumed)) for rows in ROWS]
        lines.append(f"| {name}: {queue:,} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cell(found: Simulated) -> str:
    """`3 hours (1 round, 20 parts)`."""
    hours = found.days * 24
    time = f"{hours:.1f} hours" if hours < 48 else f"{found.days:,.0f} days"
    if found.days > 730:
        time = f"{found.days / 365:,.0f} years"
    return f"{time} ({plural(max(1, round(found.rounds)), 'round')}, {plural(found.parts, 'part')})"


def plural(number: int, word: str) -> str:
    """`1 part`, `2 parts`."""
    return f"{number:,} {word}{'s' * (number != 1)}"


def tiers() -> dict[str, int]:
    """The published queues."""
    return {f"tier {number}": queue for number, queue in TIERS.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tokens", type=int, default=300, help="input tokens of a row")
    parser.add_argument("--line-bytes", type=int, default=1_500, help="bytes of a request line")
    parser.add_argument("--hours", type=float, default=1.0, help="median time of a batch")
    parser.add_argument("--queue", type=int, help="your limit of enqueued tokens for the model")
    options = parser.parse_args()
    assumed = Assumed(options.tokens, options.line_bytes, options.hours)
    print(table(assumed, {"yours": options.queue} if options.queue else tiers()))


if __name__ == "__main__":
    main()
