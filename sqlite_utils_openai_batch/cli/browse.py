"""`browse`: Datasette on a file, signed in, in the browser."""

from __future__ import annotations

import shlex
import signal
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .click_ext import Command, FilePath, give, option, talk
from .options import WHERE

if TYPE_CHECKING:
    from ..tables.files import Loaded

#: Seconds between two looks for something to do; each provider has a pace of its own beside it.
SYNC_EVERY = 5
PERMISSIONS = ("openai-batch-create", "openai-batch-manage", "openai-batch-review")
PLUGIN = "sqlite-utils-openai-batch"


@click.command("browse", cls=Command)
@click.argument("files", nargs=-1, required=True, metavar="FILE…", type=FilePath(readable=False))
@option("--port", type=click.IntRange(0, 65_535), default=0, metavar="N", section=WHERE,
        help="Port  [default: a free one]")  # fmt: skip
@option("--no-open", is_flag=True, section=WHERE,
        help="Open no browser: print the link that signs you in, once")  # fmt: skip
@option("--local", is_flag=True, section=WHERE,
        help="Offer the small model on this machine first: no key, no cost")  # fmt: skip
def browse_command(files: tuple[str, ...], port: int, no_open: bool, local: bool) -> None:
    """Do everything in the browser: open a SQLite file, a CSV file or a workbook in Datasette.

    A CSV, TSV, JSON lines or Excel file becomes a table of NAME.db beside it. Only you can see the
    pages: they are on this machine, and the link signs you in. Jobs go on while this runs.

    \b
    Example:
      sqlite-utils openai-batch browse survey.csv
    """
    from ..base.errors import ConfigurationError

    databases = [opened(Path(file)) for file in files]
    try:
        listening = socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise ConfigurationError(
            f"Port {port} cannot be used: {error.strerror}. Leave out --port to get a free one."
        ) from error
    with listening:
        serve(list(dict.fromkeys(databases)), listening, no_open=no_open, local=local)
    for db in databases:
        for sentence in going_on(db):
            talk(sentence)


def opened(file: Path) -> Path:
    """The database to open for a file; what was made of it is said. Raises FileError."""
    from ..base.errors import FileError
    from ..tables.files import is_database, load

    if not file.exists():
        raise FileError(f"No such file: '{file}'.")
    if file.is_dir():
        raise FileError(f"'{file}' is a folder: name a file in it.")
    try:
        if is_database(file):
            return file
        loaded = load(file)
    except OSError as error:
        raise FileError(f"'{file}' can't be read: {error.strerror or error}.") from error
    tell(file, loaded)
    return loaded.db


def tell(file: Path, loaded: Loaded) -> None:
    """Say what became of a file."""
    from ..base.text import counted

    rows = counted(loaded.rows, "row")
    talk(f"{file.name}: {rows} in the table {loaded.table} of {loaded.db}.")
    for note in loaded.notes:
        talk(f"  {note}")


def settings(local: bool) -> dict[str, Any]:
    """Datasette's configuration: nobody but root sees anything, and root may do everything."""
    root = {"id": "root"}
    return {
        "allow": root,
        "permissions": dict.fromkeys(PERMISSIONS, root),
        "plugins": {PLUGIN: {"sync_every": SYNC_EVERY, "local": "first" if local else True}},
    }


def secret() -> str:
    """What signs a person in: the same for all that is opened on this machine, now and later.

    Browsers keep cookies by machine, not by port: with a secret each, a second `browse` would sign
    people out of the first, and a form that they have filled in there would be refused.
    """
    import os
    import secrets

    import platformdirs

    if given := os.environ.get("DATASETTE_SECRET"):
        return given
    file = platformdirs.user_data_path("sqlite-utils-openai-batch") / "browse-secret"
    made = secrets.token_hex(32)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError), open(file, "x", opener=_for_me_only) as new:
            new.write(made)
        kept = file.read_text(encoding="ascii")
    except (OSError, ValueError):
        # Nothing can be kept there: one for this time.
        return made
    return kept if len(kept) == len(made) else made


def _for_me_only(name: str, flags: int) -> int:
    import os

    return os.open(name, flags, 0o600)


def serve(databases: list[Path], listening: socket.socket, *, no_open: bool, local: bool) -> None:
    """Run Datasette until Ctrl-C."""
    import uvicorn
    from datasette.app import Datasette

    is_1_0 = hasattr(Datasette, "allowed")
    where = {"config" if is_1_0 else "metadata": settings(local)}
    datasette = Datasette([str(db) for db in databases], secret=secret(), **where)
    if is_1_0:
        datasette.root_enabled = True
    port = listening.getsockname()[1]
    base = f"http://127.0.0.1:{port}"
    link = f"{base}/-/auth-token?token={datasette._root_token}"
    config = uvicorn.Config(datasette.app(), log_level="warning", timeout_graceful_shutdown=3)
    server = uvicorn.Server(config)
    # A plain `kill` ends as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # The socket listens already: whoever follows the link is answered as soon as pages are.
    announce(link, base, no_open)
    with suppress(KeyboardInterrupt):  # that is how it ends
        server.run(sockets=[listening])


def announce(link: str, base: str, no_open: bool) -> None:
    """Open the browser, or print the link that signs in; it works once."""
    import webbrowser

    if no_open:
        give(link)
        talk("Open this link: it signs you in, once. Ctrl-C stops.")
    else:
        talk(f"Opening {base} in your browser. Ctrl-C stops.")
        if not webbrowser.open(link):
            talk("No browser could be opened. Open this link: it signs you in, once.")
            give(link)


def going_on(db: Path) -> list[str]:
    """What of a database is still running, and how to go on."""
    from contextlib import closing

    from .. import store
    from ..base.errors import OpenAIBatchError
    from ..store.connection import connect
    from .screens.end import stopped_sentence

    try:
        with closing(connect(db)) as conn:
            jobs = store.unfinished_jobs(conn) if store.exists(conn) else []
            return [
                f"Job {job.id}: " + stopped_sentence(job, store.list_parts(conn, job.id), str(db))
                for job in jobs
                if job.approved_at is not None
            ] or [f"Stopped. Go on with: sqlite-utils openai-batch browse {shlex.quote(str(db))}"]
    except OpenAIBatchError as error:
        return [str(error)]
