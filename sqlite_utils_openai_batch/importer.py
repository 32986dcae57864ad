"""Takes in lines that were brought by hand: as those of a batch, and counts what they cost."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from decimal import Decimal

from . import store
from .prices import Spent, stated_prices
from .staging import Staged
from .store.money import add_cost
from .taking import Changed, Known, Taker
from .writeback import Writer


class Importer(Taker):
    """Takes in the lines of files for one part.

    Tokens and cost are added with the answers that they paid for, in the same transaction: so a
    file that was cut, and comes again whole, is counted once. What answers a part that is at the
    provider is counted when its batch is collected, which may be where these lines are from.
    `seen` tells for each file whether it was here before, `tell` hears of lines.
    """

    def __init__(
        self,
        conn: sqlite3.Connection,
        job: store.Job,
        part: store.Part,
        writer: Writer,
        *,
        seen: Sequence[bool],
        free: bool,
        tell: Callable[[int], None],
    ) -> None:
        super().__init__(conn, job, part, writer)
        self.seen = seen
        self.free = free
        self.tell = tell
        self.settled: dict[int, str] = {}
        """Requests, each once also where writing is given up and it is settled again."""
        if free:
            self.prices = stated_prices(Decimal(0), Decimal(0))
        self.counted = part.status == "prepared" or part.collected_at is not None
        self.extra = Spent(self.prices)
        """Second answers, which were paid for too."""

    def take_in(self) -> None:
        """Read the files and settle what they say; second answers are counted anew."""
        self.extra = Spent(self.prices)
        super().take_in()

    def judge(self, chunk: Sequence[Staged], known: Known) -> tuple[Changed, Changed]:
        """Which outcome settles each request; what that cost is added.

        What failed in a file that was here before is nothing new, also where the request waits
        again since.
        """
        self.tell(len(chunk))
        fresh = [line for line in chunk if line[3].status == "ok" or not self.seen[line[1]]]
        answered, failed = super().judge(fresh, known)
        changed = [*answered.items(), *failed.items()]
        self.settled.update({one: outcome.status for one, outcome in changed})
        if changed and self.counted:
            spent = Spent(self.prices)
            spent.add([outcome for _, outcome in changed])
            self.pay(spent)
        return answered, failed

    def surplus(self, line: Staged) -> None:
        """Note a second answer, and what it cost where it is a new one."""
        super().surplus(line)
        _, file, _, outcome = line
        if self.counted and not self.seen[file]:
            self.extra.add([outcome])

    def pay(self, spent: Spent) -> None:
        """Add tokens and cost, in the transaction that the caller holds."""
        if self.free:
            spent.unpriced = 0
        add_cost(self.conn, self.part.id, spent)
