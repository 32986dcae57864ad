"""What our commands add to Click: headings in --help, our errors as sentences, exit codes."""

from __future__ import annotations

import atexit
import gc
import math
import shlex
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import click

from ..base.text import visible

F = TypeVar("F", bound=Callable[..., Any])

USAGE = 2  # Click's own, and that of UsageError
FAILED_REQUESTS = 3
NEEDS_YOU = 4
INTERRUPTED = 130

#: What each exit code means; docs/reference.md prints it.
EXIT_CODES = {
    0: "done, or nothing to do",
    1: "an error: the last line says what to do",
    USAGE: "options that are wrong, or do not go together",
    FAILED_REQUESTS: "the job has ended, and some of its requests failed",
    NEEDS_YOU: "a job is paused and needs you: credit, billing or key; `show` says why",
    INTERRUPTED: "stopped with Ctrl-C",
}

#: Objects that may be made until Python looks for cycles among them; it does at every 700 by
#: itself, and going through rows that hold no cycle takes a twentieth of a long command's time.
OBJECTS = 5_000


class Option(click.Option):
    """An option that stands under a heading in --help."""

    def __init__(self, *args: Any, section: str = "Options", **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.section = section

    def get_help_extra(self, ctx: click.Context) -> Any:
        """Leave the range out: its name for the number, x, stands nowhere else."""
        extra = super().get_help_extra(ctx)
        extra.pop("range", None)
        return extra


def option(*names: str, section: str = "Options", **kwargs: Any) -> Callable[[F], F]:
    """`click.option`, with the heading that it stands under."""
    return click.option(*names, cls=Option, section=section, **kwargs)


class Command(click.Command):
    """A command whose options stand under headings, and whose errors are sentences."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, one block for each heading, in the order of their definition."""
        blocks: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and isinstance(param, click.Option):
                blocks.setdefault(getattr(param, "section", "Options"), []).append(record)
        # What every command has comes last.
        blocks["Options"] = blocks.pop("Options")
        for heading, records in blocks.items():
            with formatter.section(heading):
                formatter.write_dl(records)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read what was typed; what is wrong with it is said as any other message."""
        try:
            left = super().parse_args(ctx, args)
        except click.UsageError as error:
            said = error.format_message()
            if visible(said) == said:
                raise
            raise click.UsageError(visible(said), ctx) from error
        if not ctx.resilient_parsing:
            check_empty(ctx)
        return left

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; say what went wrong without a traceback."""
        from ..base.errors import OpenAIBatchError
        from ..provider.lazy_types import load_types_lazily, without_trio

        # Here the process is ours alone. In Datasette, which `browse` runs, or in a program of
        # somebody's, others look into the same client.
        ours = self.name != "browse"
        if ours:
            load_types_lazily()
        try:
            check_order(ctx)
            with fewer_collections(), without_trio() if ours else nullcontext():
                return super().invoke(ctx)
        except OpenAIBatchError as error:
            raise Failure(str(error), error.exit_code) from error
        except KeyboardInterrupt:
            talk("Stopped.")
            ctx.exit(INTERRUPTED)
        except (click.exceptions.Exit, click.ClickException, BrokenPipeError):
            raise
        # What a library raises of the world (a disk, a file, a server) is a sentence here where
        # nobody nearer to it had a better one. Our own mistakes stay as they are: with a traceback.
        except Exception as error:
            said = sentence(error, str(ctx.params.get("db") or "the database"))
            if said is None:
                raise
            raise Failure(said, 1) from error


#: Libraries whose errors are about what they were given, and what that is.
GIVEN = {
    "msgspec": "Some JSON can't be read",
    "orjson": "Some JSON can't be read",
    "json": "Some JSON can't be read",
    "yaml": "Some YAML can't be read",
    "jinja2": "A template can't be rendered",
    "httpx": "A server didn't answer as it should",
    "httpx2": "A server didn't answer as it should",
    "httpcore2": "A server didn't answer as it should",
    "openai": "The provider didn't answer as it should",
    "PIL": "An image can't be read",
    "zipfile": "A file can't be unpacked",
    "zlib": "A file can't be unpacked",
    "gzip": "A file can't be unpacked",
    "lzma": "A file can't be unpacked",
    "_lzma": "A file can't be unpacked",
    "csv": "A table can't be read or written",
    "_csv": "A table can't be read or written",
    "xlsxwriter": "The workbook can't be written",
    "jsonschema_rs": "A schema can't be used",
}


def sentence(error: Exception, db: str) -> str | None:
    """What an error of a library means for the person who typed; None for a mistake of ours."""
    from ..base.text import cut
    from ..store.connection import explain, in_its_words

    reason = cut(str(error), 300).rstrip(".") or type(error).__name__
    if isinstance(error, (sqlite3.Error, sqlite3.Warning)):
        return explain(error, db) or in_its_words(error, db)
    for kind in type(error).__mro__:
        if (said := GIVEN.get(kind.__module__.partition(".")[0])) is not None:
            return f"{said}: {reason}. Nothing was lost: mend it and run this again."
    if isinstance(error, UnicodeError):
        return f"Some text is not UTF-8, so it can't be used: {reason}."
    if isinstance(error, OSError):
        name = "" if error.filename is None else f" '{cut(str(error.filename), 80)}'"
        return f"A file can't be used{name}: {error.strerror or reason}."
    if isinstance(error, EOFError):
        return f"A file ends before it should: {reason}."
    if isinstance(error, RecursionError):
        return "Something that was given is nested too deep. Make it flatter."
    if isinstance(error, MemoryError):
        return "There is not enough memory for that. Ask about fewer rows, or smaller ones."
    return None


EMPTY = (
    "it is empty. Does it come from a shell variable that isn't set? Give it a value, or "
    "leave it out."
)
#: What may well be empty: a prompt that says nothing, no prefix, values of parameters.
MAY_BE_EMPTY = {"system", "prompt", "prefix", "params", "options", "changes"}


def check_empty(ctx: click.Context) -> None:
    """Raise Failure for an option or argument that was typed and is empty.

    It comes from a variable of the shell that isn't set. An empty address would mean OpenAI's, an
    empty model the usual one, an empty database the folder.
    """
    for param in ctx.command.params:
        given = ctx.params.get(param.name or "")
        some = given if isinstance(given, tuple) else (given,)
        if param.name not in MAY_BE_EMPTY and any(is_empty(one) for one in some):
            name = param.opts[0] if isinstance(param, click.Option) else param.make_metavar(ctx)
            raise Failure(f"{name}: {EMPTY}", 2)


def is_empty(value: object) -> bool:
    """Whether that is text, or the name of a file, and says nothing."""
    return isinstance(value, str) and not value.strip()


class FilePath(click.Path):
    """The name of a file or folder; Python takes an empty one for the folder one is in."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Read a name. Fails for an empty one."""
        if not str(value).strip():
            self.fail(EMPTY, param, ctx)
        return super().convert(value, param, ctx)


class FiniteRange(click.FloatRange):
    """A range of numbers that NaN isn't in, nor a number without end."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Read a number. Fails for one that isn't finite."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a number that can be used.", param, ctx)
        return number


def check_order(ctx: click.Context) -> None:
    """Raise Failure where the database was typed after what belongs behind it."""
    from ..base.file_kinds import is_database

    db = ctx.params.get("db")
    if not isinstance(db, str) or is_database(Path(db)):
        return
    for param in ctx.command.params:
        given = ctx.params.get(param.name or "")
        others = [given] if isinstance(given, (str, Path)) else given
        if not isinstance(param, click.Argument) or param.name == "db" or not others:
            continue
        for other in map(str, others):
            if is_database(Path(other)):
                typed = " ".join(shlex.quote(one) for one in (other, db))
                raise Failure(
                    f"The database comes first: '{other}' is a database, '{db}' is not. "
                    f"Type: {ctx.command_path} {typed} …",
                    2,
                )


@contextmanager
def fewer_collections() -> Iterator[None]:
    """Let Python look for cycles of objects less often, and not at all at the end."""
    first, *others = gc.get_threshold()
    gc.set_threshold(OBJECTS, *others)
    # When the process ends, Python looks through all that was ever loaded, three times over: that
    # takes a third of a second, for what is gone a moment later.
    atexit.register(gc.freeze)
    try:
        yield
    finally:
        gc.set_threshold(first, *others)


class Failure(click.ClickException):
    """An error for the person at the keyboard, with its exit code."""

    def __init__(self, message: str, exit_code: int):
        super().__init__(visible(message))
        # Click's own class has one code for all of its errors.
        vars(self)["exit_code"] = exit_code


class Group(click.Group):
    """Commands under headings, in the order in which they are used."""

    command_class = Command
    sections: Sequence[tuple[str, Sequence[str]]] = ()

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in the order of their headings."""
        return [name for _, names in self.sections for name in names if name in self.commands]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, one block for each heading."""
        width = max(len(name) for name in self.commands)
        for heading, names in self.sections:
            records = [
                (name.ljust(width), self.commands[name].get_short_help_str(120))
                for name in names
                if name in self.commands
            ]
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)


def confirm(question: str) -> bool:
    """Ask a yes-or-no question. Raises KeyboardInterrupt for Ctrl-C and the end of the input."""
    try:
        return click.confirm(visible(question), default=False, err=True)
    except click.Abort:
        talk()
        raise KeyboardInterrupt from None


# All that is printed goes through these: names, prompts and answers hold whatever somebody wrote.


def talk(message: str = "") -> None:
    """Say something to the person: on stderr, so that stdout stays data."""
    click.echo(visible(message), err=True)


def ask(question: str) -> None:
    """Say what a line is awaited for, and stay on that line."""
    click.echo(visible(question), err=True, nl=False)


def talk_over(line: str, *, back: bool = False) -> None:
    """Say something over the line before, on a terminal; `back` goes to its beginning again."""
    click.echo("\r" + visible(line) + ("\r" if back else ""), err=True, nl=False)


def show(text: str) -> None:
    """Print a screen on stdout, for people."""
    click.echo(visible(text))


def give(text: str, *, nl: bool = True, json: bool = False) -> None:
    """Print data on stdout: as it is, but with what would act on a terminal escaped at one."""
    click.echo(visible(text, json=json) if sys.stdout.isatty() else text, nl=nl)


class Given:
    """Data for stdout as a file to write to: see `give`."""

    def write(self, text: str) -> None:
        """Print a piece."""
        sys.stdout.write(visible(text) if sys.stdout.isatty() else text)
