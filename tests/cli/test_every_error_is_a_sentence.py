"""Every exception that a library may raise at its seam ends in a sentence, never in a traceback.

The classes are taken from the libraries themselves, so that a new one is tried, too.
"""

from __future__ import annotations

import csv
import gzip
import inspect
import lzma
import sqlite3
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import httpx2
import jinja2
import msgspec
import openai
import orjson
import PIL
import pytest
import xlsxwriter.exceptions
import yaml
from click.testing import CliRunner
from PIL import Image

ASK = ("notes", "--prompt", "Say: {{ text }}")


def classes(*modules: ModuleType) -> list[type[Exception]]:
    """The exceptions that modules define or hand on."""
    found = {
        one
        for module in modules
        for one in list(vars(module).values())
        if inspect.isclass(one) and issubclass(one, Exception) and not issubclass(one, Warning)
    }
    return sorted(found, key=lambda one: (one.__module__, one.__qualname__))


def made(kind: type[Exception]) -> Exception:
    """An exception of a class, whatever its arguments would be."""
    error = kind.__new__(kind)
    error.args = ("it went wrong",)
    names = """message code param type body lineno name filename translated source context
        context_mark problem problem_mark note"""
    for name in names.split():
        if not hasattr(error, name):
            vars(error)[name] = 1 if name == "lineno" else None
    try:
        str(error)
    except (AttributeError, TypeError, IndexError, KeyError):
        # Some write their words themselves, of what only their own arguments hold.
        error = type(kind.__name__, (kind,), {"__str__": lambda self: "it went wrong"}).__new__(
            kind
        )
    return error


#: What is in the way of a command, the command, and whose errors come from there.
SEAMS: dict[str, tuple[str, tuple[str, ...], list[type[Exception]]]] = {
    "sqlite3": ("sqlite_utils_openai_batch.jobs.plan.plan.open_source",
                ("preview", "data.db", *ASK),
                classes(sqlite3)),
    "sqlite3 while rows are read": ("sqlite_utils_openai_batch.jobs.plan.prepare.rendered",
                                    ("preview", "data.db", *ASK), classes(sqlite3)),
    "sqlite3 of the jobs": ("sqlite_utils_openai_batch.store.sorted_out", ("jobs", "data.db"),
                            classes(sqlite3)),
    "msgspec": ("sqlite_utils_openai_batch.store.sorted_out", ("jobs", "data.db"),
                classes(msgspec)),
    "orjson": ("sqlite_utils_openai_batch.jobs.files.validate.parsed", ("validate", "a.jsonl"),
               [orjson.JSONDecodeError]),
    "jinja2": ("sqlite_utils_openai_batch.requests.template.read_slot",
               ("preview", "data.db", *ASK),
               classes(jinja2)),
    "yaml": ("sqlite_utils_openai_batch.requests.whole_body.parse_body",
             ("preview", "data.db", "notes", "--template", "a.jsonl"), classes(yaml)),
    "httpx": ("sqlite_utils_openai_batch.provider.client.Provider.check",
              ("prepare", "data.db", *ASK, "--base-url", "http://127.0.0.1:9/v1"),
              classes(httpx, httpx2)),
    "openai": ("sqlite_utils_openai_batch.provider.client.Provider.check",
               ("prepare", "data.db", *ASK, "--base-url", "http://127.0.0.1:9/v1"),
               classes(openai)),
    "readers": ("sqlite_utils_openai_batch.jobs.files.validate.iter_lines", ("validate", "a.jsonl"),
                [*classes(zipfile), *classes(csv), zlib.error, lzma.LZMAError, gzip.BadGzipFile,
                 EOFError, UnicodeDecodeError, OSError, PermissionError, IsADirectoryError,
                 MemoryError, RecursionError, xlsxwriter.exceptions.XlsxWriterException,
                 xlsxwriter.exceptions.FileCreateError]),
}  # fmt: skip
CASES = [(seam, kind) for seam, (_, _, kinds) in SEAMS.items() for kind in kinds]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """`data.db` with rows, and a file of requests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path / "home"))
    with sqlite3.connect("data.db") as conn:
        conn.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT, image BLOB)")
        conn.execute("INSERT INTO notes VALUES (1, 'one', x'00')")
    conn.close()
    Path("a.jsonl").write_text("{}\n")
    from sqlite_utils_openai_batch import store

    conn = sqlite3.connect("data.db", isolation_level=None)
    store.migrate(conn)
    conn.close()
    yield tmp_path


@pytest.mark.parametrize(
    ("seam", "kind"),
    CASES,
    ids=[f"{seam}-{kind.__module__}.{kind.__name__}" for seam, kind in CASES],
)
def test_it_ends_in_a_sentence(
    here: Path, monkeypatch: pytest.MonkeyPatch, seam: str, kind: type[Exception]
) -> None:
    from sqlite_utils.cli import cli

    place, command, _ = SEAMS[seam]

    def fails(*_: Any, **__: Any) -> Any:
        raise made(kind)

    monkeypatch.setattr(place, fails)
    before = Path("data.db").read_bytes()
    result = CliRunner().invoke(cli, ["openai-batch", *command])
    assert isinstance(result.exception, SystemExit), (result.exception, seam, kind)
    assert result.exit_code in (1, 2)
    assert result.stderr.startswith("Error: ")
    assert "Traceback" not in result.stderr
    assert result.stderr.strip().endswith((".", ")"))
    assert Path("data.db").read_bytes() == before


@pytest.mark.parametrize("kind", [*classes(PIL), *classes(Image), SyntaxError, OSError, EOFError,
                                  ValueError, MemoryError, ZeroDivisionError])  # fmt: skip
def test_an_image_that_pillow_cant_read_costs_its_row(
    monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    from sqlite_utils_openai_batch.base.errors import UnrenderableRow
    from sqlite_utils_openai_batch.requests.images import remade

    def fails(*_: Any, **__: Any) -> Any:
        raise made(kind)

    monkeypatch.setattr(Image, "open", fails)
    with pytest.raises(UnrenderableRow, match=r"^t\.image holds an image"):
        remade(b"x", "image/png", 8, "t.image")


def test_our_own_mistakes_keep_their_traceback(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlite_utils.cli import cli

    def fails(*_: Any, **__: Any) -> Any:
        raise KeyError("a mistake")

    monkeypatch.setattr("sqlite_utils_openai_batch.store.sorted_out", fails)
    result = CliRunner().invoke(cli, ["openai-batch", "jobs", "data.db"])
    assert isinstance(result.exception, KeyError)
