"""`serve`: the local batch server in a terminal of its own."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import click

from .framework import INTERRUPTED, Command, option, talk
from .options import together
from .place import fetch_weights

if TYPE_CHECKING:
    from ..local import Answerer, LocalServer

ADDRESS = "Where it listens"
ANSWERED = "Who answers"
BEHAVIOUR = "How it behaves"
NEEDS = {
    "simulate": ("seed", "echo", "rate", "duration"),
    "upstream": ("upstream_key", "model", "concurrency", "timeout"),
}
"""Option → the options that mean something with it only."""

address_options = together(
    option("--port", type=click.IntRange(0, 65_535), default=0, metavar="N", section=ADDRESS,
           help="Port  [default: a free one]"),
    option("--host", default="127.0.0.1", show_default=True, section=ADDRESS,
           help="Address; one that other machines can reach needs --key"),
    option("--key", section=ADDRESS, help="The only key to accept  [default: any]"),
    option("--state", type=click.Path(file_okay=False), metavar="DIR", section=ADDRESS,
           help="Keep batches and files here  [default: until the server stops]"),
)  # fmt: skip

answer_options = together(
    option("--simulate", is_flag=True, section=ANSWERED,
           help="Make answers up, at once, and mark them so"),
    option("--seed", type=int, metavar="N", section=ANSWERED,
           help="Other answers of --simulate"),
    option("--echo", is_flag=True, section=ANSWERED,
           help="--simulate repeats the prompt in each answer"),
    option("--rate", type=click.FloatRange(min=0, min_open=True), metavar="N", section=ANSWERED,
           help="--simulate answers N requests a second"),
    option("--duration", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS",
           section=ANSWERED, help="--simulate takes that long for a batch"),
    option("--upstream", metavar="URL", section=ANSWERED,
           help="Ask any OpenAI-compatible server, such as http://127.0.0.1:11434/v1"),
    option("--upstream-key", metavar="KEY", section=ANSWERED, help="Key of that server"),
    option("-m", "--model", metavar="NAME", section=ANSWERED,
           help="Model of --upstream to ask, whatever requests name"),
    option("--concurrency", type=click.IntRange(min=1), metavar="N", section=ANSWERED,
           help="Requests at a time to --upstream  [default: 4]"),
    option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS",
           section=ANSWERED, help="Time for one request to --upstream  [default: 600]"),
)  # fmt: skip

behaviour_options = together(
    option("--window", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS",
           section=BEHAVIOUR, help="Batches expire after that time  [default: never]"),
    option("--enqueued-tokens", type=click.IntRange(min=1), metavar="N", section=BEHAVIOUR,
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

    The small real model answers, or --simulate, or --upstream. The first line of stdout is the
    server's base URL; everything else is on stderr. Ctrl-C stops it.

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
        click.echo(server.base_url)
        introduce(server, options)
        try:
            server.join()
        except KeyboardInterrupt:
            talk(farewell(options["state"]))
    click.get_current_context().exit(INTERRUPTED)


def interrupt(number: int, frame: object) -> None:
    """Take any signal for Ctrl-C."""
    raise KeyboardInterrupt


def check_options(options: dict[str, Any]) -> None:
    """See that options go together. Raises UsageError."""
    from ..errors import UsageError

    if options["simulate"] and options["upstream"]:
        raise UsageError("--simulate makes answers up, --upstream gets them: give only one.")
    for needed, names in NEEDS.items():
        for name in names:
            if options[name] and not options[needed]:
                raise UsageError(f"--{name.replace('_', '-')} is for --{needed} only.")
    if bool(options["webhook"]) != bool(options["webhook_secret"]):
        raise UsageError("--webhook and --webhook-secret go together.")


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
    from ..local import ModelAnswerer, SimulatedAnswerer

    if options["simulate"]:
        return SimulatedAnswerer(
            options["seed"] or 0, options["rate"], options["duration"], echo=options["echo"]
        )
    if options["upstream"]:
        return upstream(options)
    fetch_weights()
    return ModelAnswerer()


def upstream(options: dict[str, Any]) -> Answerer:
    """The server elsewhere; says so when it isn't there yet. Raises UsageError."""
    from ..errors import Unreachable, UsageError
    from ..local import UpstreamAnswerer, upstream_models

    url, key, model = options["upstream"], options["upstream_key"], options["model"]
    try:
        names = upstream_models(url, key)
    except Unreachable as error:
        talk(f"Warning: {error}")
        names = []
    if model and names and model not in names:
        raise UsageError(f"{url} has no model {model!r}. It has: {', '.join(sorted(names))}.")
    return UpstreamAnswerer(
        url, key, options["concurrency"] or 4, options["timeout"] or 600, model=model
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
        click.echo(f"{fault.written:<28}{fault.doc}")
