"""The endpoints without a batch: streams, bodies of another kind, other methods."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import openai
import pytest

from sqlite_utils_openai_batch.local import Answer, SimulatedAnswerer, UpstreamAnswerer

from .bench import Bench, Serve, chat

SAY = [{"role": "user", "content": "two words\n\nand  é 😀"}]
TOOLS = [{"type": "function", "function": {"name": "label", "parameters": {
    "type": "object", "properties": {"mood": {"type": "string", "enum": ["good"]}},
    "required": ["mood"]}}}]  # fmt: skip
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
    "additionalProperties": False,
}


def texts(chunks: list[Any], index: int = 0) -> str:
    """What the chunks of one choice say together."""
    found = [one for chunk in chunks for one in chunk.choices if one.index == index]
    return "".join(one.delta.content or "" for one in found)


def test_chat_streams(bench: Bench) -> None:
    whole = bench.client.chat.completions.create(model="m", messages=SAY)  # type: ignore[arg-type]
    stream = bench.client.chat.completions.create(
        model="m",
        messages=SAY,  # type: ignore[arg-type]
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert texts(chunks).split(": ")[1] == (whole.choices[0].message.content or "").split(": ")[1]
    assert chunks[0].object == "chat.completion.chunk"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert len({chunk.id for chunk in chunks}) == 1


def test_chat_streams_choices_and_cut_answers(bench: Bench) -> None:
    stream = bench.client.chat.completions.create(
        model="m",
        messages=SAY,  # type: ignore[arg-type]
        stream=True,
        n=2,
        max_tokens=2,
    )
    chunks = list(stream)
    assert texts(chunks, 0) == texts(chunks, 1) == "simulate"
    ends = [one.finish_reason for chunk in chunks for one in chunk.choices if one.finish_reason]
    assert ends == ["length", "length"]


def test_chat_streams_tool_calls_and_schemas(bench: Bench) -> None:
    completions = bench.client.chat.completions
    with completions.stream(
        model="m",
        messages=SAY,
        tools=TOOLS,
        tool_choice="required",  # type: ignore[arg-type]
    ) as stream:
        message = stream.get_final_completion().choices[0].message
    assert message.tool_calls
    assert json.loads(message.tool_calls[0].function.arguments) == {"mood": "good"}
    schema = {"name": "p", "schema": PERSON, "strict": True}
    with completions.stream(
        model="m",
        messages=SAY,  # type: ignore[arg-type]
        response_format={"type": "json_schema", "json_schema": schema},  # type: ignore[arg-type]
    ) as stream:
        text = stream.get_final_completion().choices[0].message.content
    assert list(json.loads(text or "")) == ["name"]


def test_plain_completions_stream(bench: Bench) -> None:
    chunks = list(bench.client.completions.create(model="m", prompt=["a", "b"], stream=True))
    said = ["".join(c.choices[0].text for c in chunks if c.choices[0].index == n) for n in (0, 1)]
    assert said[0].endswith(": a")
    assert said[1].endswith(": b")
    assert [c.choices[0].finish_reason for c in chunks].count("stop") == 2


def test_the_lines_of_a_stream(bench: Bench) -> None:
    reply = bench.raw("POST", "/chat/completions", json=chat("hi", stream=True))
    assert reply.headers["content-type"].startswith("text/event-stream")
    *events, end, rest = reply.text.split("\n\n")
    assert (end, rest) == ("data: [DONE]", "")
    assert all(event.startswith("data: {") for event in events)
    plain = bench.raw("POST", "/chat/completions", json=chat("hi", stream=False))
    assert plain.json()["object"] == "chat.completion"


def test_responses_stream(bench: Bench) -> None:
    with bench.client.responses.stream(model="m", input="say é 😀") as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert final.output_text.endswith(": say é 😀")
    kinds = [event.type for event in events]
    assert kinds[:4] == [
        "response.created", "response.in_progress", "response.output_item.added",
        "response.content_part.added",
    ]  # fmt: skip
    assert kinds[-4:] == [
        "response.output_text.done", "response.content_part.done", "response.output_item.done",
        "response.completed",
    ]  # fmt: skip
    assert [event.sequence_number for event in events] == list(range(len(events)))
    said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert said == final.output_text


def test_responses_stream_of_a_cut_answer(serve_with: Serve) -> None:
    bench = serve_with(answerer=SimulatedAnswerer(echo=True))
    stream = bench.client.responses.create(
        model="m", input="hello " * 100, max_output_tokens=16, stream=True
    )
    last = list(stream)[-1]
    assert last.type == "response.incomplete"
    assert last.response.incomplete_details
    assert last.response.incomplete_details.reason == "max_output_tokens"


class Worded(SimulatedAnswerer):
    """Answers with a body of a test's own."""

    body: Mapping[str, Any] = {}

    def answer_now(self, url: str, body: Mapping[str, Any], custom_id: str) -> Answer:
        """Answer one request at once; who answers never hears of a stream."""
        assert "stream" not in body
        assert "stream_options" not in body
        return Answer(200, dict(self.body))


def test_responses_stream_function_calls_and_refusals(serve_with: Serve) -> None:
    worded = Worded()
    bench = serve_with(answerer=worded)
    call = {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f",
            "arguments": '{"a": 1}', "status": "completed"}  # fmt: skip
    refusal = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
               "content": [{"type": "refusal", "refusal": "I won't do that."}]}  # fmt: skip
    plain = bench.client.responses.create
    worded.body = {"id": "resp_1", "object": "response", "status": "completed", "model": "m",
                   "created_at": 1, "output": [call, refusal], "usage": None}  # fmt: skip
    events = list(plain(model="m", input="hi", stream=True))
    arguments = [e.delta for e in events if e.type == "response.function_call_arguments.delta"]
    assert "".join(arguments) == '{"a": 1}'
    refused = [e.delta for e in events if e.type == "response.refusal.delta"]
    assert "".join(refused) == "I won't do that."
    last = events[-1]
    assert last.type == "response.completed"
    assert [item.type for item in last.response.output] == ["function_call", "message"]


def test_an_upstream_streams_too(serve_with: Serve) -> None:
    far = serve_with(answerer=SimulatedAnswerer(echo=True)).server
    near = serve_with(answerer=UpstreamAnswerer(far.base_url, far.key))
    stream = near.client.chat.completions.create(
        model="m",
        messages=[{"role": "user", "content": "hi"}],
        stream=True,
    )
    assert texts(list(stream)).endswith(": hi")


@pytest.mark.parametrize(
    ("more", "param"),
    [({"stream": "yes"}, "stream"), ({"stream": 1}, "stream"),
     ({"stream_options": {"include_usage": True}}, "stream_options"),
     ({"stream": True, "stream_options": 5}, "stream_options")],
)  # fmt: skip
def test_streams_that_cant_be(bench: Bench, more: dict[str, Any], param: str) -> None:
    reply = bench.raw("POST", "/chat/completions", json=chat("hi", **more))
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)


def test_an_error_is_no_stream(bench: Bench) -> None:
    with pytest.raises(openai.BadRequestError):
        bench.client.chat.completions.create(
            model="m",
            messages="no list",  # type: ignore[call-overload]
            stream=True,
        )


# bodies


@pytest.mark.parametrize(
    ("content", "kind"),
    [("[]", "an array"), ("[{}]", "an array"), ("null", "null"), ("5", "an integer"),
     ('"x"', "a string"), ("true", "a boolean"), ("1.5", "a decimal")],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/chat/completions", "/batches", "/-/clock"])
def test_bodies_that_are_no_object(bench: Bench, path: str, content: str, kind: str) -> None:
    reply = bench.raw("POST", path, content=content.encode())
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert f"expected an object, but got {kind} instead." in error["message"]
    assert error["code"] == "invalid_type"


@pytest.mark.parametrize("content", ["", "{", "[", "nothing", "{'a': 1}"])
def test_bodies_that_are_no_json(bench: Bench, content: str) -> None:
    reply = bench.raw("POST", "/chat/completions", content=content.encode())
    assert reply.status_code == 400
    assert "We could not parse the JSON body of your request." in reply.json()["error"]["message"]


# methods and forms


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("PUT", "/files", "GET, HEAD, POST"), ("DELETE", "/batches", "GET, HEAD, POST"),
     ("GET", "/chat/completions", "POST"), ("PATCH", "/files/file-x", "DELETE, GET, HEAD"),
     ("GET", "/batches/batch_x/cancel", "POST"), ("PUT", "/-/faults", "DELETE, GET, HEAD, POST")],
)  # fmt: skip
def test_another_method(bench: Bench, method: str, path: str, allowed: str) -> None:
    reply = bench.raw(method, path)
    assert reply.status_code == 405
    assert reply.headers["allow"] == allowed
    assert reply.json()["error"]["message"].startswith(f"Not allowed to {method} on ")
    assert reply.json()["error"]["code"] == "method_not_supported"


def upload(bench: Bench, **fields: str) -> Any:
    """Upload a file by a form with these fields."""
    files = {"file": ("in.jsonl", b"{}\n")}
    return bench.raw("POST", "/files", data={"purpose": "batch", **fields}, files=files)


@pytest.mark.parametrize("seconds", [3600, 86_400, 2_592_000])
def test_expiry_as_one_part(bench: Bench, seconds: int) -> None:
    whole = json.dumps({"anchor": "created_at", "seconds": seconds})
    made = upload(bench, expires_after=whole).json()
    assert made["expires_at"] - made["created_at"] == seconds


@pytest.mark.parametrize(
    ("whole", "param"),
    [('{"anchor": "now", "seconds": 3600}', "expires_after.anchor"),
     ('{"anchor": "created_at", "seconds": 60}', "expires_after.seconds"),
     ('{"anchor": "created_at"}', "expires_after.seconds"),
     ("{}", "expires_after.anchor"), ("3600", "expires_after"), ("soon", "expires_after"),
     ("[]", "expires_after")],
)  # fmt: skip
def test_expiry_that_isnt_one(bench: Bench, whole: str, param: str) -> None:
    reply = upload(bench, expires_after=whole)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)
    assert list(bench.client.files.list()) == []


# Host


OWN = ["localhost", "localhost:{port}", "LOCALHOST", "127.0.0.1", "127.0.0.1:9999", "[::1]:80",
       "127.8.8.8", "localhost."]  # fmt: skip
OTHERS = ["evil.example", "evil.example:{port}", "localhost.evil.example", "127.0.0.1.evil.example",
          "192.168.1.4", "notlocalhost", "0.0.0.0", "2130706433", "", "[::2]", "a b"]  # fmt: skip


@pytest.mark.parametrize("host", OWN)
def test_own_names(bench: Bench, host: str) -> None:
    port = bench.server.base_url.rsplit(":", 1)[1].removesuffix("/v1")
    headers = {"host": host.format(port=port)}
    assert bench.raw("GET", "/models", headers=headers).status_code == 200


@pytest.mark.parametrize("host", OTHERS)
@pytest.mark.parametrize("path", ["/models", "/nothing", "/-/journal"])
def test_names_of_others(bench: Bench, host: str, path: str) -> None:
    port = bench.server.base_url.rsplit(":", 1)[1].removesuffix("/v1")
    reply = bench.raw("GET", path, headers={"host": host.format(port=port)})
    assert reply.status_code == 403
    assert "its own names only" in reply.json()["error"]["message"]


def test_a_server_for_other_machines_goes_by_its_key(serve_with: Serve) -> None:
    bench = serve_with(host="0.0.0.0", key="secret")
    headers = {"host": "batch.internal:8900"}
    assert bench.raw("GET", "/models", headers=headers).status_code == 200
