"""`docs/coming-from.md`: each right-hand side runs, in the order of the page, on its own files."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "coming-from.md"
FILES = re.compile(r"```sh\n(.*?)```", re.DOTALL)
ROW = re.compile(r"^\|(?P<there>(?:\\\||[^|])*)\|(?P<here>(?:\\\||[^|])*)\|$", re.MULTILINE)
TYPED = ("sqlite-utils ", "datasette ")


def commands(text: str) -> Iterator[str]:
    """Blocks that make files, and commands in right-hand cells, in the order of the page."""
    found = [(block.start(), block[1]) for block in FILES.finditer(text)]
    for row in ROW.finditer(text):
        for code in re.findall(r"`([^`]*)`", row["here"]):
            if code.startswith(TYPED):
                found.append((row.start(), code.replace("\\|", "|")))
    return (command for _, command in sorted(found, key=lambda one: one[0]))


def sections() -> list[str]:
    return re.split(r"(?m)^## ", PAGE.read_text())[1:]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, server: Any, warm: Path) -> dict[str, str]:
    """What each command printed, all of the page run once."""
    folder = tmp_path_factory.mktemp("page")
    environment = {
        "PATH": os.pathsep.join([str(warm), str(Path(sys.executable).parent), os.defpath]),
        "HOME": str(folder), "XDG_DATA_HOME": str(folder), "LLM_USER_PATH": str(folder),
        "OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "any",
    }  # fmt: skip
    said = {"": str(folder)}
    for command in commands(PAGE.read_text()):
        # `view` starts a server: one page of it is as good.
        real = f"{command} --get /" if command.startswith("datasette ") else command
        done = subprocess.run(
            ["sh", "-c", real], cwd=folder, env=environment, text=True, check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        # 3: the test server's answers are echoes, which fit no schema.
        assert done.returncode in (0, 3), f"$ {command}\n{done.stdout}"
        said[command] = done.stdout
    return said


def table(folder: str, database: str, sql: str) -> list[Any]:
    with closing(sqlite3.connect(Path(folder) / database)) as conn:
        return conn.execute(sql).fetchall()


def test_every_tool_has_commands(ran: dict[str, str]) -> None:
    names = [text.partition("\n")[0] for text in sections()]
    assert names == [
        "The openaibatch web page", "The openai-batch command line, with a template file",
        "The cookbook notebook", "OpenAI's console", "GABRIEL",
    ]  # fmt: skip
    assert all(list(commands(text)) for text in sections())


def test_the_examples_of_the_tools_end_where_they_should(ran: dict[str, str]) -> None:
    folder = ran[""]
    rows = table(folder, "sentences.db", "SELECT id, text, label FROM sentences ORDER BY id")
    assert len(rows) == 4 and all(text in label for _, text, label in rows)
    assert (Path(folder) / "labels.csv").read_text().count("\n") == 5
    persons = table(folder, "personas.db", "SELECT ID, Age, College, answer FROM personas")
    assert [row[:3] for row in persons] == [
        (1, 28, "No"), (2, 45, "Yes"), (3, 39, "Yes"), (4, 38, "Yes"),
    ]  # fmt: skip
    assert all(row[3] for row in persons)
    films = table(folder, "movies.db", "SELECT categories, summary, json FROM movies")
    assert len(films) == 4 and all(all(row) for row in films)
    assert all(isinstance(json.loads(row[0]), list) for row in films)
    assert table(folder, "letters.db", "SELECT count(*), count(place) FROM files") == [(2, 2)]
    speeches = table(
        folder, "speeches.db", "SELECT populism, topic, promise, political FROM speeches"
    )
    assert all(0 <= row[0] <= 100 and row[1] and row[3] in ("yes", "no") for row in speeches)
