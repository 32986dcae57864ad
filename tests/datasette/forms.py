"""A person without a script: reads a page's forms, fills them in, presses a button."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser
from typing import Any

from serving import run


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[dict[str, Any]] = []
        self.at: dict[str, Any] | None = None
        self.select: str | None = None
        self.text: list[str] | None = None
        self.button: dict[str, Any] | None = None
        self.area: str | None = None

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        found = dict(attrs)
        if tag == "form":
            self.at = {"attrs": found, "fields": [], "buttons": []}
            self.forms.append(self.at)
        if self.at is None:
            return
        name, value = found.get("name"), found.get("value") or ""
        if tag == "input":
            kind = found.get("type", "text")
            if kind in ("checkbox", "radio") and "checked" not in found:
                return
            self.at["fields"].append((name, value))
        elif tag == "textarea":
            self.area, self.text = name, []
        elif tag == "select":
            self.select = name
            self.at["fields"].append((name, None))
        elif tag == "option" and self.select:
            fields = self.at["fields"]
            if fields[-1][1] is None or "selected" in found:
                fields[-1] = (self.select, value)
        elif tag == "button":
            self.button = {"name": name, "value": value, "text": ""}

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self.at = None
        elif tag == "select":
            self.select = None
        elif tag == "textarea" and self.at is not None and self.text is not None:
            text = "".join(self.text)
            self.at["fields"].append((self.area, text.removeprefix("\n")))
            self.text = None
        elif tag == "button" and self.at is not None and self.button is not None:
            self.at["buttons"].append(self.button)
            self.button = None

    def handle_data(self, data: str) -> None:
        if self.text is not None:
            self.text.append(data)
        if self.button is not None:
            self.button["text"] += data


def forms(html: str) -> list[dict[str, Any]]:
    """The forms of a page."""
    reader = _Forms()
    reader.feed(html)
    return reader.forms


class Person:
    """Somebody with a browser that runs no scripts."""

    def __init__(self, datasette: Any, actor: str | None = "ana") -> None:
        self.datasette = datasette
        self.cookies: dict[str, str] = {}
        if actor:
            self.cookies["ds_actor"] = datasette.sign({"a": {"id": actor}}, "actor")
        self.page: Any = None
        self.path = ""

    def go(self, path: str) -> Any:
        """Open a page, and follow where it leads."""
        run(self.datasette.invoke_startup())
        return self._follow(run(self.datasette.client.get(path, cookies=self.cookies)), path)

    def _follow(self, response: Any, path: str) -> Any:
        self.cookies |= dict(response.cookies)
        self.page, self.path = response, path
        if response.status_code in (302, 303):
            return self.go(response.headers["location"])
        return response

    @property
    def text(self) -> str:
        """What the page says, without its marks."""
        body = re.sub(r"(?s)<(script|style).*?</\1>", "", self.page.text)
        return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())

    def wrong(self, name: str) -> str:
        """The sentence beside a field."""
        found = re.search(rf'id="wrong-{name}"[^>]*>([^<]*)<', self.page.text)
        return unescape(found[1]) if found else ""

    def buttons(self) -> list[str]:
        """What the buttons of the page's posting forms say."""
        return [
            " ".join(button["text"].split())
            for form in forms(self.page.text)
            if form["attrs"].get("method") == "post"
            for button in form["buttons"]
        ]

    def press(self, says: str, follow: bool = True, **fields: str | list[str]) -> Any:
        """Fill in fields and press the button whose text begins so."""
        path, data = self.filled(says, **fields)
        response = run(self.datasette.client.post(path, data=data, cookies=self.cookies))
        return self._follow(response, path) if follow else response

    def filled(self, says: str, **fields: str | list[str]) -> tuple[str, dict[str, Any]]:
        """Where a button leads, and what it posts."""
        for form in forms(self.page.text):
            for button in form["buttons"]:
                if button["text"].strip().startswith(says) and (
                    form["attrs"].get("method") == "post"
                ):
                    data: dict[str, Any] = {}
                    for name, value in form["fields"]:
                        data.setdefault(name, []).append(value or "")
                    data |= fields
                    if button["name"]:
                        data[button["name"]] = button["value"]
                    return form["attrs"].get("action") or self.path, data
        raise AssertionError(f"no button {says!r}: {self.buttons()}")
