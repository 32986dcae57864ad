"""What somebody asks for: the command line as data, and the body that it stands for."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...answers.codebook import PLACE, Codebook, in_text
from ...answers.schema import AnswerSchema
from ...base.errors import TemplateError, UsageError
from ...base.file_kinds import JSON_LINES, NO_TEXT, PRETTY, TEXT, kind_of
from ...base.parameters import CHAT, EMBEDDINGS, RESPONSES
from ...base.text import listed, meant, nearest_first
from ...base.text_files import Text, meant_file, text_or_file
from ...pricing.ceiling import parse_ceiling
from ...pricing.estimate import Money
from ...pricing.prices import (
    Prices,
    context_window,
    find_prices,
    is_own,
    known_models,
    parse_usd,
    prices_version,
    stated_prices,
)
from ...provider.client import OPENAI_URL
from ...provider.places import Place
from ...requests.body import build_body, change_body, parse_option
from ...requests.images import WEB
from ...requests.placeholders import read_slot
from ...requests.whole_body import is_whole_body, parse_body, with_numbers
from ...tables.source import Source

DEFAULT_MODEL = "gpt-4o-mini"
EMBEDDING_MODEL = "text-embedding-3-small"


@dataclass(frozen=True)
class Ask:
    """The options of `run`, `preview` and `prepare`, as they were given."""

    table: str | None = None
    sql: str | None = None
    pk: Sequence[str] = ()
    where: str | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    order: str | None = None
    limit: int | None = None
    sample: int | None = None
    seed: int | None = None
    missing: bool = False
    changed: bool = False
    reuse: bool = False
    model: str | None = None
    system: str | None = None
    prompt: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    schema: str | None = None
    codebook: str | None = None
    """A codebook: it makes the schema, and the instructions unless there are others."""
    endpoint: str = CHAT
    name: str | None = None
    blanks: str = "skip"
    confidence: bool = False
    """Whether how sure the model is of its labels stands beside them."""
    repair: int | None = None
    """How often a wrong answer goes back to the model by itself."""
    times: int | None = None
    """How often each row is asked, for a vote."""
    pilot: int | None = None
    """How many rows are drawn for a first look."""
    pilot_job: int | None = None
    """The job of that look, which this one goes on with."""
    output: str | None = None
    output_table: str | None = None
    prefix: str = ""
    replace: bool = False
    write: bool = True
    responses: str = "all"
    part_requests: int | None = None
    part_bytes: int | None = None
    part_tokens: int | None = None
    enqueued_tokens: int | None = None
    attempts: int | None = None
    first_part: int | None = None
    first_wait: float | None = None
    first_typed: bool = False
    """Whether a part that goes ahead was asked for by this very command."""
    template: Mapping[str, Any] | None = None
    lines: Mapping[str, Any] | None = None
    """Where rows are request lines of somebody's own: what their bodies have in common."""
    fresh: bool = False
    """Whether those lines came from a file just now, and were checked."""
    images: Sequence[str] = ()
    image_dir: str | None = None
    image_detail: str | None = None
    image_size: int | None = None
    attach: Sequence[str] = ()
    """Columns whose paths, URLs or BLOBs are attached as what their bytes are."""
    attach_tokens: int | None = None
    """The most tokens that somebody says one attached PDF or sound has."""
    provider: str = "openai"
    new: bool = False
    files: bool = True
    """Whether prompt, system and schema may be names of files: never where a browser sent them."""
    money: Money = field(default_factory=Money)

    @property
    def image_settings(self) -> dict[str, Any]:
        """What a job keeps of how images and files are read, and what they may cost."""
        kept = {
            "image_dir": self.image_dir,
            "image_size": self.image_size,
            "attach_tokens": self.attach_tokens,
        }
        return {name: value for name, value in kept.items() if value is not None}


def given_text(ask: Ask, text: str | None) -> str | None:
    """What was given for a text: typed on a page, it is not a name of a file."""
    return text if ask.files or text is None else Text(text)


def with_codebook(ask: Ask, codebook: Codebook | None) -> Ask:
    """What is asked for, with the instructions of a codebook in it.

    They are the system message, or stand where a text of one's own says `{{ codebook }}`.
    """
    if codebook is None:
        return ask
    if ask.schema is not None:
        raise UsageError("--codebook makes the schema. Leave out --schema.")
    if ask.lines is not None:
        raise UsageError("--codebook: each line of a file is sent as it is. Leave it out.")
    if ask.template is not None:
        body = json.dumps(dict(ask.template), ensure_ascii=False)
        quoted = json.dumps(codebook.template(), ensure_ascii=False)[1:-1]
        return replace(ask, template=json.loads(PLACE.sub(lambda _: quoted, body)))
    texts = {}
    for option, given in (("system", ask.system), ("prompt", ask.prompt)):
        text = text_or_file(given_text(ask, given), f"--{option}") if given else given
        if text and PLACE.search(text):
            texts[option] = Text(in_text(text, codebook))
    if ask.system is None and "prompt" not in texts:
        texts["system"] = Text(codebook.template())
    return replace(ask, **texts)  # type: ignore[arg-type]


def tells_codebook(ask: Ask, codebook: Codebook) -> bool:
    """Whether what is asked, with the codebook in it, says anything of it."""
    said = json.dumps([ask.system, ask.prompt, ask.template], ensure_ascii=False)
    return json.dumps(codebook.template(), ensure_ascii=False)[1:-1] in said


def prompt_text(option: str, value: str | None, source: Source) -> str | None:
    """The text of --prompt or --system. Raises TemplateError, for a file's text naming the file."""
    text = text_or_file(value, option)
    if not isinstance(text, Text) or text.file is None:
        return text
    try:
        read_slot(text, "The text", source.columns, source.name)
    except TemplateError as error:
        raise TemplateError(
            f"In {option} '{text.file}': {error} Where it is text and no placeholder, put "
            "{% raw %} before it and {% endraw %} behind it."
        ) from error
    return text


def check_file(prompt: str | None) -> None:
    """Raise TemplateError for a prompt that must be the name of a file that isn't there."""
    if prompt and not prompt.isspace() and "{{" not in prompt and "{%" not in prompt:
        path = Path(prompt)
        if len(prompt) < 200 and path.suffix and " " not in prompt and "\n" not in prompt:
            raise TemplateError(
                f"--prompt '{prompt}' has no placeholder, and there is no file of that name. "
                f"{meant_file(prompt)}"
                "Look at its spelling, or give the prompt itself: 'Summarise: {{ title }}'."
            )


def default_for(endpoint: str, default_model: str = DEFAULT_MODEL) -> str:
    """The model that is asked at an endpoint where none is named."""
    if endpoint == EMBEDDINGS and default_model == DEFAULT_MODEL:
        return EMBEDDING_MODEL
    return default_model


def whole_body(
    ask: Ask, source: Source, schema: AnswerSchema | None, default_model: str
) -> dict[str, Any]:
    """The body with its placeholders: a template's, or built of prompt, system and images."""
    if ask.lines is not None:
        return dict(ask.lines)
    if ask.template is not None:
        given = (("--prompt", ask.prompt), ("--system", ask.system), ("--image", ask.images),
                 ("--attach", ask.attach))  # fmt: skip
        for option, value in given:
            if value:
                raise UsageError(f"--template is the whole body: {option} belongs in it.")
        if ask.endpoint == CHAT and "messages" not in ask.template:
            raise TemplateError(
                f"The template has no messages, which {CHAT} needs. "
                "Is it for another endpoint? Name it by --endpoint."
            )
        return with_numbers(
            change_body(
                ask.template,
                endpoint=ask.endpoint,
                model=ask.model or (default_model if needs_model(ask) else None),
                schema=schema,
                options=ask.options,
            )
        )
    prompt = prompt_text("--prompt", given_text(ask, ask.prompt), source)
    if ask.files:
        check_file(prompt)
    if prompt and is_whole_body(prompt):
        file = (prompt.file if isinstance(prompt, Text) else None) or "FILE"
        raise TemplateError(
            f"--prompt holds a whole request body, with messages and a model: give its file by "
            f"--template {file}"
        )
    if not prompt:
        columns = [column for column in source.columns if column not in source.key_columns]
        example = columns[0] if columns else "column"
        raise TemplateError(
            f"What do you want to ask? Give a prompt with a column in it: "
            f"--prompt 'Summarise: {{{{ {example} }}}}'. Columns: {listed(source.columns)}"
        )
    return with_numbers(
        build_body(
            endpoint=ask.endpoint,
            model=ask.model or default_model,
            prompt=prompt,
            system=prompt_text("--system", given_text(ask, ask.system), source),
            schema=schema,
            options=ask.options,
            images=[image_slot(given, source) for given in ask.images],
            detail=ask.image_detail,
            attachments=[attach_slot(given, source) for given in ask.attach],
        )
    )


def needs_model(ask: Ask) -> bool:
    """Whether a template names no model, and its endpoint wants one."""
    assert ask.template is not None
    return "model" not in ask.template and ask.endpoint in (CHAT, RESPONSES, EMBEDDINGS)


def attach_slot(given: str, source: Source) -> str:
    """What stands in a body for `--attach`: a column's placeholder, marked as a file."""
    if given in source.columns:
        return f"{{{{ row[{json.dumps(given, ensure_ascii=False)}] | attach }}}}"
    near = listed(nearest_first(given, source.columns))
    raise TemplateError(
        f"--attach {given!r} is not a column. {meant(given, source.columns)}Columns: {near}."
    )


def image_slot(given: str, source: Source) -> str:
    """What stands in a body for `--image`: a column's placeholder, a template or a URL."""
    if given in source.columns:
        return f"{{{{ row[{json.dumps(given, ensure_ascii=False)}] }}}}"
    lowered = given.lower()
    if "{{" in given or "{%" in given or lowered.startswith((*WEB, "data:image/")):
        return given
    near = listed(nearest_first(given, source.columns))
    raise TemplateError(
        f"--image {given!r} is not a column, a template or a URL. "
        f"{meant(given, source.columns)}Columns: {near}."
    )


def read_ask(
    table: str | None, options: dict[str, Any], place: Place, typed: Collection[str] = ()
) -> Ask:
    """Make an `Ask` of options, which are taken out of `options`; `typed` are those just given."""
    lines = options.pop("lines", None)
    template = options.pop("template_body", None) or read_template(options.get("template"))
    options.pop("template")
    options.pop("like", None)
    named = template.get("model") if template else None
    default = default_for(options["endpoint"], place.default_model or DEFAULT_MODEL)
    model = options["model"] or named or default
    body = {name: parse_option(name, value) for name, value in options.pop("options")}
    names = ("sql", "pk", "where", "order", "limit", "sample", "seed", "missing", "changed",
             "blanks", "model", "system", "prompt", "schema", "endpoint", "name", "output",
             "output_table", "prefix", "replace", "responses", "part_requests", "part_bytes",
             "part_tokens", "enqueued_tokens", "attempts", "first_part", "first_wait", "new",
             "reuse", "images", "image_detail", "image_size", "attach",
             "attach_tokens", "confidence", "repair", "times", "pilot",
             "pilot_job", "codebook")  # fmt: skip
    given = {name: options.pop(name, None) for name in names}
    if given["pilot"] is not None:
        if given["sample"] is not None or given["limit"] is not None:
            raise UsageError("--pilot draws its rows itself: leave out --sample and --limit.")
        given["sample"] = given["pilot"]
        given["name"] = given["name"] or "pilot"
    return Ask(
        table=table,
        params=dict(options.pop("params")),
        template=template,
        lines=lines,
        fresh=bool(options.pop("fresh", False)),
        image_dir=image_folder(options.pop("image_dir")),
        options=body,
        write=not options.pop("no_write"),
        money=replace(
            read_money(options, place, str(model), given["endpoint"]),
            attach_tokens=given["attach_tokens"],
        ),
        provider=place.provider,
        first_typed="first_part" in typed,
        **given,
    )


def read_money(options: dict[str, Any], place: Place, model: str, endpoint: str) -> Money:
    """Take the options under 'Money' out of `options`.

    Raises UsageError where prices contradict each other, or a ceiling has no price to hold by.
    """
    asked = options.pop("max_cost", None)
    ceiling = None if asked is None else parse_ceiling(asked)
    base_url = place.base_url or ("" if place.provider == "local" else OPENAI_URL)
    price_as = options.get("price_as")
    prices = read_prices(options, model, base_url, endpoint)
    own = prices is None and is_own(place.provider, base_url)
    if ceiling is not None and prices is None and not own:
        raise UsageError(
            f"No batch price of {model} at {place.host} is known, so --max-cost can't hold. "
            f"{meant(model, known_models())}Name a model that costs the same with --price-as, "
            "or give USD per million tokens with --price-input and --price-output."
        )
    return Money(
        prices=prices,
        own=own,
        max_cost=ceiling,
        price_as=price_as,
        window=None if own else context_window(price_as or model, base_url or OPENAI_URL),
        base_url=place.base_url,
        account=place.account,
    )


def read_prices(options: dict[str, Any], model: str, base_url: str, endpoint: str) -> Prices | None:
    """The prices that somebody stated, else those that are published; None where unknown."""
    price_as = options.pop("price_as", None)
    input_, output = options.pop("price_input", None), options.pop("price_output", None)
    if price_as is not None and (input_ is not None or output is not None):
        raise UsageError("--price-as and --price-input or --price-output: give one or the other.")
    if output is None and endpoint == "/v1/embeddings":
        output = "0"
    if input_ is not None and output is not None:
        return stated_prices(
            parse_usd("--price-input", input_), parse_usd("--price-output", output)
        )
    if input_ is not None or (output is not None and endpoint != "/v1/embeddings"):
        missing = "--price-output" if output is None else "--price-input"
        raise UsageError(f"{missing} is missing: questions and answers have a price each.")
    if price_as is None:
        # nobody publishes a price of what runs on this machine, and looking takes a moment
        here = not base_url or is_own("openai", base_url)
        return None if here else find_prices(model, base_url)
    found = find_prices(price_as, base_url) or find_prices(price_as, OPENAI_URL)
    if found is None:
        raise UsageError(
            f"--price-as '{price_as}': {prices_version()} knows no batch price of it. "
            "Give USD per million tokens with --price-input and --price-output."
        )
    return found


def read_template(name: str | None) -> dict[str, Any] | None:
    """The whole body in a file. Raises TemplateError."""
    if name is None:
        return None
    kind = kind_of(Path(name))
    try:
        text = "" if kind in NO_TEXT else Path(name).read_text(encoding="utf-8-sig")
        return parse_body(text, name)
    except (TemplateError, UnicodeDecodeError) as error:
        if kind in (None, TEXT, PRETTY, JSON_LINES) and isinstance(error, TemplateError):
            raise
        raise TemplateError(
            f"--template '{name}' is {kind or 'no text in UTF-8'}, no request body. A template is "
            'JSON or YAML: {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": '
            '"{{ title }}"}]}'
        ) from error
    except OSError as error:
        reason = getattr(error, "strerror", None) or str(error)
        meant = meant_file(name) if isinstance(error, FileNotFoundError) else ""
        said = f"--template '{name}' can't be read: {reason}. {meant}"
        raise TemplateError(said.strip()) from error


def image_folder(name: str | None) -> str | None:
    """The folder of --image-dir as the job keeps it. Raises UsageError."""
    if name is None:
        return None
    if not Path(name).is_dir():
        raise UsageError(f"--image-dir '{name}' is not a folder.")
    return str(Path(name).resolve())
