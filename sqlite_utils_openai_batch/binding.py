"""A template over a source, for one job: what it may read, and how it reads images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .images import SIZE, Images
from .kept import kept_json
from .output import Output
from .template import Renderer, Template

if TYPE_CHECKING:
    from .source import Source
    from .store import Job


def bind(
    template: Template, source: Source, output: Output, settings: Mapping[str, Any]
) -> Renderer:
    """Bind a template to a source. Raises TemplateError.

    The columns that the job itself writes to the source are no part of `row` as a whole: there
    is nothing in them when the job is planned, and there is when its answers are checked.
    `settings` may hold `image_dir` and `image_size`.
    """
    own = {name.lower() for name in output.names} if output.table is None else set()
    folder = settings.get("image_dir")
    images = Images(Path(folder) if folder else None, int(settings.get("image_size", SIZE)))
    return template.bind(source.columns, source.name, hidden=own, images=images)


def bind_job(job: Job, source: Source, overrides: str | None = None) -> Renderer:
    """Bind a stored job's template; `overrides` are a retry's changes to the body, as JSON."""
    template = Template.from_json(job.template, job.endpoint)
    if overrides:
        template = Template(
            {**template.body, **kept_json(overrides, dict, "openai_batch_parts.overrides")},
            job.endpoint,
        )
    return bind(template, source, Output.from_json(job.output), job.settings)
