"""A Ray with two processors that lives as long as this process: its address on stdout.

With `engine`, it then has a stand-in for vLLM answer three requests, and prints their lines.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import types
from typing import Any


def start() -> str:
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    ray.init(
        address="local",
        num_cpus=2,
        object_store_memory=100 * 1024 * 1024,
        include_dashboard=False,
        configure_logging=False,
        log_to_driver=False,
    )
    return str(ray.get_runtime_context().gcs_address)


class Config:
    """As `ray.data.llm.vLLMEngineProcessorConfig` is made, with the names of its docs."""

    def __init__(
        self,
        *,
        model_source: str,
        engine_kwargs: dict[str, Any],
        concurrency: int,
        batch_size: int,
        should_continue_on_error: bool,
    ) -> None:
        assert engine_kwargs == {"tensor_parallel_size": 2}
        self.model, self.replicas, self.size = model_source, concurrency, batch_size


def build_processor(config: Config, preprocess: Any, postprocess: Any) -> Any:
    """As Ray's: before, the engine, after; a row with an error passes the last one by."""

    def engine(row: dict[str, Any]) -> dict[str, Any]:
        asked, words = row["messages"][-1]["content"], row["sampling_params"]
        if "break" in asked:
            return {**row, "__inference_error__": "ValueError: prompt too long"}
        schema = (words["structured_outputs"] or {}).get("json")
        text = f"{asked}|{words['max_tokens']}|{words['temperature']}|{schema}"
        tokens = {"num_input_tokens": 7, "num_generated_tokens": len(asked)}
        return {**row, **tokens, "generated_text": text, "__inference_error__": ""}

    def after(row: dict[str, Any]) -> dict[str, Any]:
        return row if row["__inference_error__"] else postprocess(row)

    return lambda rows: rows.map(preprocess).map(engine).map(after)


async def engine_answers() -> list[Any]:
    from sqlite_utils_openai_batch.local.answerers.cluster import RayAnswerer
    from sqlite_utils_openai_batch.local.answerers.engine import Engine, NamedModel, unable

    stand_in: Any = types.ModuleType("stand_in_llm")
    stand_in.vLLMEngineProcessorConfig, stand_in.build_processor = Config, build_processor
    sys.modules["stand_in_llm"] = stand_in
    answerer = RayAnswerer(
        lambda _: Engine("big", 1, 2, "stand_in_llm"), NamedModel("big"),
        address="auto", workers=1, idle=1.0, refuse=unable,
    )  # fmt: skip
    schema = {"type": "object", "properties": {"mood": {"enum": ["good", "bad"]}}}
    bodies: list[dict[str, Any]] = [
        {"model": "big", "max_tokens": 40, "temperature": 0,
         "response_format": {"type": "json_schema", "json_schema": {"schema": schema}},
         "messages": [{"role": "user", "content": "one"}]},
        {"model": "big", "messages": [{"role": "user", "content": "break it"}]},
        {"model": "big", "max_tokens": 3, "messages": [{"role": "user", "content": "three"}]},
    ]  # fmt: skip
    url = "/v1/chat/completions"
    lines = [json.dumps({"custom_id": f"r-{n}", "url": url, "body": body}).encode()
             for n, body in enumerate(bodies)]  # fmt: skip
    replies = await answerer.answer_block(lines)
    refused = await answerer.answer("/v1/embeddings", {"input": "x"}, "r-9")
    return [list(reply) for reply in (*replies, refused)]


if __name__ == "__main__":
    print(start(), flush=True)
    if sys.argv[1:] == ["engine"]:
        print(json.dumps(asyncio.run(engine_answers())), flush=True)
    sys.stdin.read()
