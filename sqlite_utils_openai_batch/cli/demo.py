"""`demo`: the tour."""

from __future__ import annotations

import re
import shlex
import sqlite3
import time
from pathlib import Path

import click

from .framework import FAILED_REQUESTS, Command, option, talk

ROWS = 12
# The wording decides much with a model this small: this one was right most often of a dozen.
PROMPT = "Review of {{ product }}: {{ body }}"
SCHEMA = "sentiment positive|negative|mixed, about"


@click.command("demo", cls=Command)
@option("--rows", type=click.IntRange(min=1, max=300), default=ROWS, show_default=True,
        help="Reviews to ask about")  # fmt: skip
def demo_command(rows: int) -> None:
    """Watch a small model on this machine answer a question about some reviews.

    Needs no key and no account: it copies demo.db to this folder, fetches the model's weights
    (98 MB, once), and asks through the same files and batches as a job at OpenAI.

    \b
    Example:
      sqlite-utils openai-batch demo
    """
    from contextlib import closing

    from ..database import connect
    from ..demodata import copy_to
    from ..places import Places
    from .ask import run, run_command
    from .place import fetch_weights

    fetch_weights()
    began = time.monotonic()
    db = copy_to(Path.cwd()).name
    talk(f"{db} is here: films, personas, reviews and furniture to try things on.")
    talk(f"\nAsking a small model on this machine about {rows} reviews:\n")
    talk(as_typed(db, rows) + "\n")
    options = run_command.make_context("run", arguments(db, rows)).params
    for name in ("db", "table", "poll", "no_wait", "dry_run", "yes"):
        del options[name]
    with closing(connect(db)) as conn, Places() as places:
        code = 0
        try:
            run(conn, db, "reviews", options, places, poll=0.3, no_wait=False, yes=True)
        except click.exceptions.Exit as left:
            # Some reviews may have failed; the others are still worth seeing.
            code = left.exit_code
            if code != FAILED_REQUESTS:
                raise
        show_answers(conn, rows)
    talk(f"\nThat took {time.monotonic() - began:.0f} s. Try next:")
    talk(f"  In Datasette   datasette {db}     → /{Path(db).stem}/-/openai-batch")
    talk(f"  Another task   sqlite-utils openai-batch run {db} personas --local --limit 5 \\")
    talk("                   --prompt '{{ Description }}' --schema 'hobby'")
    talk(f"  Before paying  sqlite-utils openai-batch preview {db} movies \\")
    talk("                   --prompt '{{ title }}: {{ overview }}' --schema 'audience, pitch'")
    if code:
        raise click.exceptions.Exit(code)


def arguments(db: str, rows: int) -> list[str]:
    """What one would type after `openai-batch run` for the same job."""
    return [db, "reviews", "--limit", str(rows), "--local", "--prompt", PROMPT, "--schema", SCHEMA]


def as_typed(db: str, rows: int) -> str:
    """The same job as one would type it."""
    words = " ".join(shlex.quote(word) for word in arguments(db, rows))
    broken = re.sub(r" (--prompt|--schema)", r" \\\n    \1", words)
    return f"  sqlite-utils openai-batch run {broken}"


def show_answers(conn: sqlite3.Connection, rows: int) -> None:
    """Print the rows that were asked about, beside their answers."""
    from ..figures import cut
    from .text import table

    found = conn.execute(
        "SELECT id, product, body, sentiment, about FROM reviews ORDER BY id LIMIT ?", [rows]
    ).fetchall()
    click.echo()
    click.echo(
        table(
            ["id", "product", "body", "sentiment", "about"],
            (
                [
                    str(key),
                    cut(product or "", 20),
                    cut(body or "", 40),
                    sentiment or "-",
                    cut(about or "-", 44),
                ]
                for key, product, body, sentiment, about in found
            ),
            right=(0,),
        )
    )
