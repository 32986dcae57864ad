from __future__ import annotations

from typing import Any

import pytest

from sqlite_utils_openai_batch.base.errors import TemplateError
from sqlite_utils_openai_batch.requests.body import build_body
from sqlite_utils_openai_batch.requests.template import Template
from sqlite_utils_openai_batch.tables.sql import SQLiteValue

CHAT = "/v1/chat/completions"
COLUMNS = ("id", "title", "photo")


def content(prompt: str, **row: SQLiteValue) -> Any:
    body = build_body(endpoint=CHAT, model="m", prompt=prompt, system=None, schema=None, options={})
    renderer = Template(body, CHAT).bind(COLUMNS)
    rendered = renderer.body([row.get(column) for column in renderer.columns])
    return rendered["messages"][0]["content"]


def doubled(start: str, step: str, end: str = "{{ title }}") -> str:
    """A template that sets `ns.a` to `step` again and again."""
    return (
        f"{{% set ns = namespace(a={start}) %}}{{% for i in range(99) %}}"
        f"{{% set ns.a = {step} %}}{{% endfor %}}{end}"
    )


TRICKS = [
    "{{ title['__cl' ~ 'ass__'] }}",
    "{{ (title | list | map(attribute='__class__') | list)[0] }}",
    "{{ row.items.__self__ }}",
    "{{ ''.join.__self__ }}",
    "{{ title.format(title) }}",
    "{{ title.format_map(row) }}",
    "{{ title.encode() }}",
    "{{ title.translate({65: 'x'}) }}",
    "{{ row.update({'a': 1}) }}{{ title }}",
    "{{ row.pop('title') }}",
    "{% set ns = namespace() %}{{ ns.__init__.__globals__ }}{{ title }}",
    "{{ cycler.__init__ }}{{ title }}",
    "{{ joiner.__init__.__globals__.os }}{{ title }}",
    "{{ (title | list).append('x') }}",
    "{{ id.to_bytes(1000000000, 'big') }}{{ title }}",
    "{{ photo._value }}{{ title }}",
    "{{ loop.index }}{{ title }}",
    "{{ range.__globals__ }}{{ title }}",
]
HUGE = [
    "{{ range(10 ** 9) | list }}{{ title }}",
    "{{ range(10 ** 9) | length }}{{ title }}",
    "{{ 'a' * 10 ** 9 }}{{ title }}",
    "{{ 10 ** 9 * title }}",
    "{{ [title] * 10 ** 9 }}",
    "{{ 9 ** (9 ** 9) }}{{ title }}",
    "{{ 2.5 | round(10 ** 9, 'ceil') }}{{ title }}",
    "{{ title | center(10 ** 9) }}",
    "{{ title | indent(10 ** 9, true) }}",
    "{{ title | wordwrap(1, wrapstring='x' * 900000) }}",
    "{{ title | replace('', 'x' * 900000) }}",
    "{{ title.replace('', 'x' * 900000) }}",
    "{{ ('x' * 900000).join(title) }}",
    "{{ (title | list) | join('x' * 900000) }}",
    "{{ title.ljust(10 ** 9) }}",
    "{{ title.zfill(10 ** 9) }}",
    "{{ title.center(10 ** 9) }}",
    "{{ title.expandtabs(10 ** 9) }}",
    "{{ '%1000000000d' % 1 }}{{ title }}",
    "{{ '%0*d' % (10 ** 9, 1) }}{{ title }}",
    "{{ '%.1000000000f' | format(1.0) }}{{ title }}",
    "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}{{ title }}",
    "{% for a in range(100000) %}{{ range(100000) | sum }}{% endfor %}{{ title }}",
    "{% for a in range(1000000) %}{{ title * 1000 }}{% endfor %}",
    "{% set l = range(100000) | list %}{% for i in l %}{{ l | sum }}{% endfor %}{{ title }}",
    doubled("title", "ns.a ~ ns.a"),
    doubled("title", "ns.a + ns.a"),
    doubled("title", "ns.a * 2"),
    doubled("title", "[ns.a, ns.a] | join"),
    doubled("title", "'%s%s' % (ns.a, ns.a)"),
    doubled("title", "'%(a)s%(a)s' % {'a': ns.a}"),
    doubled("title", "'%s%s' | format(ns.a, ns.a)"),
    doubled("7", "ns.a * ns.a"),
    doubled("[title]", "ns.a + ns.a"),
    doubled("[title]", "ns.a * 2"),
    doubled("[title]", "[ns.a, ns.a]", "{{ ns.a }}"),
    doubled("[title]", "[ns.a, ns.a]", "{{ ns.a | upper }}"),
    doubled("[title]", "[ns.a, ns.a]", "{{ ns.a ~ '' }}"),
    doubled("[title]", "[ns.a, ns.a]", "{{ '%s' % ns.a }}"),
    doubled("{'a': title}", "{'a': ns.a, 'b': ns.a}", "{{ ns.a | json }}"),
    "{% set ns = namespace(a=title) %}{% for i in range(99) %}"
    "{% set x %}{{ ns.a }}{{ ns.a }}{% endset %}{% set ns.a = x %}{% endfor %}",
    "{% set ns = namespace(a=title) %}{% for i in range(99) %}"
    "{% set x %}{% filter upper %}{{ ns.a }}{{ ns.a }}{% endfilter %}{% endset %}"
    "{% set ns.a = x %}{% endfor %}",
]


@pytest.mark.parametrize("prompt", TRICKS)
def test_templates_can_not_reach_python(prompt: str) -> None:
    with pytest.raises(TemplateError):
        content(prompt, title="{0.__class__}", id=1, photo=b"secret")


@pytest.mark.parametrize("prompt", HUGE)
def test_templates_can_not_grow_without_end(prompt: str) -> None:
    with pytest.raises(TemplateError):
        content(prompt, title="some words in a row " * 40)


def test_large_data_is_no_trick() -> None:
    title = "word, " * 300_000
    assert content("{{ title }}", title=title) == title
    assert content("{{ title | upper | trim }}!", title=title) == title.upper().strip() + "!"
    assert content("{% if id %}{{ title ~ title }}{% endif %}", id=1, title=title) == title * 2
    assert content("{% for t in title.split(', ') %}{{ t }}{% endfor %}", title=title) == (
        "word" * 300_000
    )
