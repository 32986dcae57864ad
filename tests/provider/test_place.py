"""Where a job is to run: what a person typed here, and no cluster or server that a file names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sqlite_utils_openai_batch.base.errors import ConfigurationError, UsageError
from sqlite_utils_openai_batch.provider.places import Places, check_same, read_place

NOTHING: dict[str, Any] = {
    "base_url": None, "upstream": None, "provider": "openai", "local": False, "concurrency": None,
    "key": None, "model": None,
}  # fmt: skip


def place(**options: Any) -> Any:
    return read_place({**NOTHING, **options})


def test_several_servers_are_one_place() -> None:
    found = place(upstream="http://a:1/v1 http://b:2/v1", model="m")
    assert (found.base_url, found.settings) == ("http://a:1/v1", {"upstreams": ["http://b:2/v1"]})
    with Places() as places:
        answerer = places.answerer(found.base_url, found.settings)
    assert answerer.label == "answers of http://a:1/v1, http://b:2/v1"


def test_a_cluster_in_words() -> None:
    found = place(upstream="http://a:1/v1", model="m", ray="head:6379", ray_workers=3)
    assert found.host == "http://a:1/v1, through the Ray cluster at head:6379"
    assert found.settings == {"ray": "head:6379", "ray_workers": 3}
    assert place(ray="local").host == "a Ray on this machine"
    assert place(ray="auto", engine="vllm", model="big").settings["engine_model"] == "big"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"engine": "vllm", "model": "m"}, "--engine is for --ray only"),
        ({"ray_workers": 2}, "--ray-workers is for --ray only"),
        ({"ray": "auto", "tensor_parallel": 2}, "--tensor-parallel is for --engine only"),
        ({"ray": "auto", "engine": "vllm"}, "Which model is vllm to load?"),
        ({"ray": "auto", "engine": "vllm", "model": "m", "upstream": "http://a/v1"}, "only one"),
        ({"ray": "auto", "base_url": "http://a/v1"}, "give only one of them"),
    ],
)
def test_what_goes_together(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        place(**options)


def test_a_database_decides_on_no_cluster(tmp_path: Path) -> None:
    settings = {"ray": "evil:6379", "concurrency": 4}
    with pytest.raises(ConfigurationError, match="nobody typed that on this machine"):
        check_same(tmp_path, settings, typed=False)
    check_same(tmp_path, settings, typed=True)
    check_same(tmp_path, settings, typed=False)
    with pytest.raises(ConfigurationError, match="the Ray cluster at other"):
        check_same(tmp_path, {"ray": "other:1"}, typed=False)
    with pytest.raises(ConfigurationError, match="several servers"):
        check_same(tmp_path, {"upstreams": ["http://evil/v1"]}, typed=False)
