"""Datasette of whichever line is installed, and how tests ask it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from datasette.app import Datasette

IS_1_0 = hasattr(Datasette, "allowed")


def start(*files: Path, immutables: tuple[Path, ...] = (), **options: Any) -> Datasette:
    """A Datasette; `config` is metadata on the line that keeps permissions there."""
    config = options.pop("config", None)
    if config:
        options["config" if IS_1_0 else "metadata"] = config
    return Datasette([str(file) for file in files], [str(file) for file in immutables], **options)


def close(datasette: Datasette) -> None:
    """Close every connection of a Datasette, and its threads."""
    if IS_1_0:
        datasette.close()
        return
    if datasette.executor is not None:
        datasette.executor.shutdown()
    for db in datasette.databases.values():
        db.close()


def fetch(datasette: Datasette, path: str, actor: str | None = None) -> Any:
    """The response to a GET, as an actor."""

    async def ask() -> Any:
        await datasette.invoke_startup()
        cookies = {"ds_actor": datasette.sign({"a": {"id": actor}}, "actor")} if actor else None
        return await datasette.client.get(path, cookies=cookies)

    return run(ask())


def press(
    datasette: Datasette, page: str, path: str, actor: str | None = None, **fields: str
) -> Any:
    """The response to a form of `page`, sent by an actor as a browser does."""

    async def ask() -> Any:
        await datasette.invoke_startup()
        cookies = {"ds_actor": datasette.sign({"a": {"id": actor}}, "actor")} if actor else {}
        shown = await datasette.client.get(page, cookies=cookies)
        token = re.search(r'name="csrftoken" value="([^"]*)"', shown.text)
        cookies |= dict(shown.cookies)
        data = {"csrftoken": token[1] if token else "", **fields}
        return await datasette.client.post(path, data=data, cookies=cookies)

    return run(ask())


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine returns, in an event loop of its own."""
    return asyncio.run(coroutine)


class _Rows(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.depth = 0

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.depth = 1
        elif tag == "title":
            self.depth = 0

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self.depth = 0

    def handle_data(self, data: str) -> None:
        if self.depth and self.rows:
            self.rows[-1][-1] += data


def cells(html: str) -> list[list[str]]:
    """The rows of the first table in `html`, as text."""
    reader = _Rows()
    reader.feed(html[html.index("<table") : html.index("</table>")])
    return [[" ".join(cell.split()) for cell in row] for row in reader.rows]
