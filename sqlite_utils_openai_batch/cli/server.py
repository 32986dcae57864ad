"""`serve` and `demo`: the local batch server in a terminal of its own, and the tour."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .click_ext import (
    FAILED_REQUESTS,
    INTERRUPTED,
    Command,
    FilePath,
    FiniteRange,
    give,
    option,
    show,
    talk,
)
from .options import cluster_options, together

if TYPE_CHECKING:
    from ..local import Answerer, LocalServer

ADDRESS = "Where it listens"
ANSWERED = "Who answers"
BEHAVIOUR = "How it behaves"
NEEDS = {
    "simulate": ("seed", "echo", "rate", "duration"),
    "upstream": ("upstream_key", "concurrency", "timeout"),
    "ray": ("ray_workers", "engine"),
    "engine": ("tensor_parallel",),
}
"""Option → the options that mean something with it only."""

address_options = together(
    option("--port", type=click.IntRange(0, 65_535), default=0, metavar="N", section=ADDRESS,
           help="Port  [default: a free one]"),
    option("--host", default="127.0.0.1", show_default=True, section=ADDRESS,
           help="Address; one that other machines can reach needs --key"),
    option("--key", section=ADDRESS, help="The only key to accept  [default: any]"),
    option("--state", type=FilePath(file_okay=False), metavar="DIR", section=ADDRESS,
           help="Keep batches and files here  [default: until the server stops]"),
    option("--print-url", is_flag=True, section=ADDRESS,
           help="Print the base URL and nothing else, for scripts and tests"),
)  # fmt: skip

answer_options = together(
    option("--local", is_flag=True, section=ANSWERED,
           help="Ask the small real model, which is the default; with --ray too"),
    option("--simulate", is_flag=True, section=ANSWERED,
           help="Make answers up, at once, and mark them so"),
    option("--seed", type=int, metavar="N", section=ANSWERED,
           help="Other answers of --simulate"),
    option("--echo", is_flag=True, section=ANSWERED,
           help="--simulate repeats the prompt in each answer"),
    option("--rate", type=FiniteRange(min=0, min_open=True), metavar="N", section=ANSWERED,
           help="--simulate answers N requests a second"),
    option("--duration", type=FiniteRange(min=0, min_open=True), metavar="SECONDS",
           section=ANSWERED, help="--simulate takes that long for a batch"),
    option("--upstream", metavar="URL", multiple=True, section=ANSWERED,
           help="Ask any OpenAI-compatible server, such as http://127.0.0.1:11434/v1; repeatable"),
    option("--upstream-key", metavar="KEY", section=ANSWERED, help="Key of that server"),
    option("-m", "--model", metavar="NAME", section=ANSWERED,
           help="Model of --upstream to ask, whatever requests name, or of --engine to load"),
    option("--concurrency", type=click.IntRange(1, 10_000), metavar="N", section=ANSWERED,
           help="Requests at a time to each --upstream, at most  [default: 4]"),
    option("--timeout", type=FiniteRange(min=0, min_open=True), metavar="SECONDS",
           section=ANSWERED, help="Time for one request to --upstream  [default: 600]"),
    *cluster_options(ANSWERED),
)  # fmt: skip

behaviour_options = together(
    option("--window", type=FiniteRange(min=0, min_open=True), metavar="SECONDS",
           section=BEHAVIOUR, help="Batches expire after that time  [default: never]"),
    option("--enqueued-tokens", type=click.IntRange(1, 10**15), metavar="N", section=BEHAVIOUR,
           help="Limit of queued tokens per model  [default: none]"),
    option("--fault", "faults", multiple=True, metavar="NAME[:ARG][*TIMES]", section=BEHAVIOUR,
           help="Go wrong in this way, repeatable"),
    option("--list-faults", is_flag=True, section=BEHAVIOUR,
           help="List the ways to go wrong, and exit"),
    option("--webhook", metavar="URL", section=BEHAVIOUR,
           help="Tell this address when a batch has ended"),
    option("--webhook-secret", metavar="SECRET", section=BEHAVIOUR,
           help="Secret that signs webhooks: whsec_ and base64"),
)  # fmt: skip


@click.command("serve", cls=Command)
@address_options
@answer_options
@behaviour_options
def serve(**options: Any) -> None:
    """Run a server of OpenAI's Files and Batches API on this machine.

    Answers come from the small real model, from --simulate, or from --upstream. The first line of
    stdout is the server's base URL; everything else is on stderr. Ctrl-C or `kill` stops it.

    \b
    Example: a batch server for the models of Ollama
      sqlite-utils openai-batch serve --port 8900 --state batches \\
        --upstream http://127.0.0.1:11434/v1
    """
    if options.pop("list_faults"):
        list_faults()
        return
    check_options(options)
    server = build(options)
    # A plain `kill` ends as Ctrl-C does: the socket closes, a temporary folder goes.
    signal.signal(signal.SIGTERM, interrupt)
    with server:
        give(server.base_url)
        if not options["print_url"]:
            introduce(server, options)
        try:
            server.join()
        except KeyboardInterrupt:
            if not options["print_url"]:
                talk(farewell(options["state"]))
    click.get_current_context().exit(INTERRUPTED)


def interrupt(number: int, frame: object) -> None:
    """Take any signal for Ctrl-C."""
    raise KeyboardInterrupt


def check_options(options: dict[str, Any]) -> None:
    """See that options go together. Raises UsageError."""
    from ..base.errors import UsageError
    from ..provider.accounts import check_address

    given = [name for name in ("local", "simulate", "upstream", "engine") if options[name]]
    if given == ["simulate", "upstream"]:
        raise UsageError("--simulate and --upstream: give only one of them.")
    if given[1:]:
        raise UsageError(f"--{given[0]} and --{given[1]}: give only one.")
    for needed, names in NEEDS.items():
        for name in names:
            if options[name] and not options[needed]:
                raise UsageError(f"--{name.replace('_', '-')} is for --{needed} only.")
    if options["model"] and not (options["upstream"] or options["engine"]):
        raise UsageError("--model is for --upstream only.")
    if options["engine"] and not options["model"]:
        raise UsageError(f"Which model is {options['engine']} to load? Name it with -m.")
    if options["ray"] and (options["rate"] or options["duration"]):
        raise UsageError("--rate and --duration slow one machine down: leave --ray out.")
    if bool(options["webhook"]) != bool(options["webhook_secret"]):
        raise UsageError("--webhook and --webhook-secret go together.")
    for url in options["upstream"]:
        check_address(url, "--upstream")
    if options["webhook"]:
        check_address(options["webhook"], "--webhook")


def build(options: dict[str, Any]) -> LocalServer:
    """Make the server that the options describe. Raises OpenAIBatchError."""
    from pathlib import Path

    from ..local import LocalServer, ServerLimits, Webhook

    url, secret = options["webhook"], options["webhook_secret"]
    return LocalServer(
        Path(options["state"]) if options["state"] else None,
        answerer=answerer(options),
        host=options["host"],
        port=options["port"],
        key=options["key"],
        faults=options["faults"],
        window=options["window"],
        limits=ServerLimits(enqueued_tokens=options["enqueued_tokens"]),
        webhook=Webhook(url, secret) if url else None,
    )


def answerer(options: dict[str, Any]) -> Answerer:
    """Who answers. Raises OpenAIBatchError."""
    from ..local import ModelAnswerer, SimulatedAnswerer, cluster

    if options["simulate"]:
        seed, echo = options["seed"] or 0, options["echo"]
        if address := options["ray"]:
            workers = options["ray_workers"]
            return cluster.by_simulation(seed, echo=echo, address=address, workers=workers)
        return SimulatedAnswerer(seed, options["rate"], options["duration"], echo=echo)
    if options["upstream"]:
        check_upstream(options)
    elif not options["engine"]:
        fetch_weights()
    if options["ray"]:
        return on_cluster(options)
    return upstream(options) if options["upstream"] else ModelAnswerer()


def on_cluster(options: dict[str, Any]) -> Answerer:
    """A Ray cluster, connected. Raises ConfigurationError."""
    from ..local import cluster

    return cluster.answerer(
        options["ray"],
        urls=options["upstream"],
        key=options["upstream_key"],
        concurrency=options["concurrency"] or 4,
        timeout=options["timeout"] or 600,
        engine=options["engine"],
        model=options["model"],
        workers=options["ray_workers"],
        tensor_parallel=options["tensor_parallel"] or 1,
    ).connect()


def check_upstream(options: dict[str, Any]) -> None:
    """Say which servers elsewhere aren't there yet. Raises UsageError for a model that none has."""
    from ..base.errors import Unreachable, UsageError
    from ..local import upstream_models

    urls, key, model = options["upstream"], options["upstream_key"], options["model"]
    for url in urls:
        try:
            names = upstream_models(url, key)
        except Unreachable as error:
            talk(f"Warning: {error}")
            names = []
        if model and names and model not in names:
            raise UsageError(f"{url} has no model {model!r}. It has: {', '.join(sorted(names))}.")


def upstream(options: dict[str, Any]) -> Answerer:
    """The servers elsewhere."""
    from ..local import UpstreamAnswerer

    return UpstreamAnswerer(
        options["upstream"],
        options["upstream_key"],
        options["concurrency"] or 4,
        options["timeout"] or 600,
        model=options["model"],
    )


def introduce(server: LocalServer, options: dict[str, Any]) -> None:
    """Say what runs and how to use it."""
    from ..local import SimulatedAnswerer

    fixed, state = options["key"], options["state"]
    shown = "your --key" if fixed else server.key
    talk(f"Answers  {server.answerer.label}")
    if isinstance(server.answerer, SimulatedAnswerer):
        talk("         nothing here was asked of a model")
    talk(f"Keys     {'the one of --key' if fixed else 'any; each sees its own files and batches'}")
    talk(f"State    {state or 'gone when the server stops (--state DIR keeps it)'}")
    for fault in server.faults.active():
        talk(f"Fault    {fault['fault']}")
    talk(f"Use      export OPENAI_BASE_URL={server.base_url} OPENAI_API_KEY={shown}")
    talk(f"or       openai.OpenAI(base_url={server.base_url!r}, api_key={shown!r})")
    talk("Stop     Ctrl-C")


def farewell(state: str | None) -> str:
    """The last words: where batches that didn't end are."""
    if state is None:
        return "Stopped."
    return f"Stopped. Batches that were running go on with --state {state}"


def list_faults() -> None:
    """Print every fault with what it does."""
    from ..local import FAULTS

    for fault in FAULTS.values():
        show(f"{fault.written:<28}{fault.doc}")


# `demo`: the tour.

ROWS = 12
# The wording decides much with a model this small: this one was right most often of a dozen.
PROMPT = "Review of {{ product }}: {{ body }}"
SCHEMA = "sentiment positive|negative|mixed, about"


@click.command("demo", cls=Command)
@option("--rows", type=click.IntRange(min=0, max=300), default=ROWS, show_default=True,
        help="Reviews to ask about; 0 only copies demo.db")  # fmt: skip
def demo_command(rows: int) -> None:
    """Watch a small model on this machine answer a question about some reviews.

    Needs no key and no account: it copies demo.db to this folder, fetches the model's weights
    (98 MB, once), and asks through the same files and batches as a job at OpenAI.

    \b
    Example:
      sqlite-utils openai-batch demo
    """
    from contextlib import closing

    from ..provider.places import Places
    from ..store.connection import connect
    from .run import run, run_command

    if rows:
        fetch_weights()
    began = time.monotonic()
    db = copy_to(Path.cwd()).name
    talk(f"{db} is here: films, personas, reviews and furniture to try things on.")
    if not rows:
        return
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
    from ..base.text import cut
    from .screens.text import table

    found = conn.execute(
        "SELECT id, product, body, sentiment, about FROM reviews ORDER BY id LIMIT ?", [rows]
    ).fetchall()
    show(
        "\n"
        + table(
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


# `demo.db`, as it comes with the package.


def shipped() -> Path:
    """The file inside the installed package, or at the top of a checkout."""
    from ..base.errors import ConfigurationError

    here = Path(__file__).resolve().parent.parent
    for place in (here / "demo.db", here.parent / "demo.db"):
        if place.is_file():
            return place
    raise ConfigurationError(
        "demo.db is missing from this installation. Install again with: "
        "pip install --force-reinstall --no-deps sqlite-utils-openai-batch"
    )


def copy_to(folder: Path) -> Path:
    """Copy demo.db into `folder` under a free name (`demo.db`, `demo-2.db`, …); returns it."""
    number = 1
    while True:
        target = folder / ("demo.db" if number == 1 else f"demo-{number}.db")
        if not target.exists():
            shutil.copyfile(shipped(), target)
            return target
        number += 1


def fetch_weights() -> None:
    """Have the small model's weights, with progress where they must be fetched first."""
    from ..local import ensure_weights, weights_path
    from .screens.text import Progress

    progress = Progress()
    if not weights_path().exists():
        progress.told(0, None)
    ensure_weights(progress.told)
