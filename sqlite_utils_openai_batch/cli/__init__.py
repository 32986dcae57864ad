"""`sqlite-utils openai-batch …`: parse, call, print."""

from __future__ import annotations

import click
from sqlite_utils.cli import cli

from .account import batches_command, fetch_command
from .browse import browse_command
from .click_ext import Group
from .files import (
    export_requests_command,
    extract_command,
    import_responses_command,
    split_command,
    validate_command,
)
from .follow import submit_command, sync_command, watch_command
from .jobs import jobs_command, show_command
from .manage import (
    apply_command,
    cancel_command,
    delete_command,
    pause_command,
    retry_command,
    revert_command,
)
from .results import compare_command, report_command, results_command
from .review import review_command, shares_command, vote_command
from .run import prepare_command, preview_command, run_command
from .server import demo_command, serve
from .trial import try_command

# The pages ask by the same steps, and say it in the same words.
__all__ = [
    "destination",
    "follow",
    "manage",
    "openai_batch",
    "options",
    "run",
    "screens",
    "trial",
]


class OpenAIBatchGroup(Group):
    """The commands under the headings of their help."""

    sections = (
        ("Ask", ("run", "preview", "try", "prepare", "submit", "browse")),
        ("Follow", ("sync", "watch", "jobs", "show", "pause", "cancel")),
        ("Take away", ("results", "report", "compare", "review", "shares", "vote")),
        ("Mend", ("retry", "apply", "revert", "delete")),
        (
            "Files",
            (
                "batches",
                "fetch",
                "export-requests",
                "import-responses",
                "split",
                "extract",
                "validate",
            ),
        ),
        ("Local", ("serve", "demo")),
    )


@click.group("openai-batch", cls=OpenAIBatchGroup)
def openai_batch() -> None:
    """Ask a language model about each row of a table, through the OpenAI Batch API.

    \b
    Example: what kind of film is it?
      sqlite-utils openai-batch run movies.db movies \\
        --prompt '{{ title }}: {{ overview }}' --schema 'categories list, summary'

    \b
    No key yet? Watch a small model on this machine do it:
      sqlite-utils openai-batch demo
    """


for command in (
    run_command,
    preview_command,
    try_command,
    prepare_command,
    submit_command,
    browse_command,
    sync_command,
    watch_command,
    jobs_command,
    show_command,
    pause_command,
    cancel_command,
    results_command,
    report_command,
    compare_command,
    review_command,
    shares_command,
    vote_command,
    retry_command,
    apply_command,
    revert_command,
    delete_command,
    batches_command,
    fetch_command,
    export_requests_command,
    import_responses_command,
    split_command,
    extract_command,
    validate_command,
    serve,
    demo_command,
):
    openai_batch.add_command(command)

# Importing this module first loads sqlite-utils, which then finds no group to add yet.
cli.add_command(openai_batch)
