"""The types of request bodies, checked before anything is read from one.

What the answerers look at must have the type that the API says; all else may be anything.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import msgspec

from .answers import Answer, api_error

Choices = Annotated[int, msgspec.Meta(ge=1, le=128)]
Tokens = Annotated[int, msgspec.Meta(ge=1)]
Dimensions = Annotated[int, msgspec.Meta(ge=1, le=4096)]


class _Message(msgspec.Struct):
    role: str = "user"
    content: str | list[dict[str, Any]] | None = None


class _Schema(msgspec.Struct):
    schema: dict[str, Any] | None = None


class _Format(msgspec.Struct):
    type: str
    schema: dict[str, Any] | None = None
    json_schema: _Schema | None = None


class _Text(msgspec.Struct):
    format: _Format | None = None


class _Function(msgspec.Struct):
    name: str = ""
    parameters: dict[str, Any] | None = None


class _Tool(msgspec.Struct):
    type: str = "function"
    function: _Function | None = None


class _Choice(msgspec.Struct):
    type: str = "function"
    function: _Function | None = None


class _Conversation(msgspec.Struct):
    model: str = ""
    messages: list[_Message] = []
    input: str | list[_Message] = []
    instructions: str | None = None
    n: Choices | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    max_output_tokens: Tokens | None = None
    response_format: _Format | None = None
    text: _Text | None = None
    tools: list[_Tool] | None = None
    tool_choice: str | _Choice | None = None


class _Embeddings(msgspec.Struct):
    input: str | list[str | int | list[int]]
    model: str = ""
    dimensions: Dimensions | None = None
    encoding_format: str | None = None


class _Completion(msgspec.Struct):
    prompt: str | list[str | int | list[int]]
    model: str = ""
    max_tokens: Tokens | None = None


class _Moderation(msgspec.Struct):
    input: str | list[str | dict[str, Any]]
    model: str = ""


TYPES: dict[str, type[msgspec.Struct]] = {
    "/v1/chat/completions": _Conversation,
    "/v1/responses": _Conversation,
    "/v1/embeddings": _Embeddings,
    "/v1/completions": _Completion,
    "/v1/moderations": _Moderation,
}


def refused(url: str, body: Mapping[str, Any]) -> Answer | None:
    """Return the error reply to a body whose parts have the wrong types; None for a good one."""
    kind = TYPES.get(url)
    if kind is None:
        return None
    try:
        msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        message = f"Invalid request body: {error}."
        return api_error(400, message, type="invalid_request_error", code="invalid_type")
    said = next(_unreadable_files(url, body), None)
    if said is None:
        return None
    return api_error(400, said, type="invalid_request_error", code="invalid_file")


# Files in content parts: their shape, and that they are what they say.

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
SOUND_FORMATS = ("wav", "mp3")


def _unreadable_files(url: str, body: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the files of a conversation, as sentences."""
    messages = body.get("messages") if url == CHAT else body.get("input")
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else ():
            said = _wrong_file(url, part)
            if said is not None:
                yield said


def _wrong_file(url: str, part: Mapping[str, Any]) -> str | None:
    kind = part.get("type")
    if kind not in ("file", "input_file", "input_audio"):
        return None
    wanted = ("file", "input_audio") if url == CHAT else ("input_file",)
    if kind not in wanted:
        return f"Invalid value: '{kind}'. {url} takes no content part of this type."
    if kind == "input_audio":
        return _wrong_sound(part.get("input_audio"))
    return _wrong_pdf(part.get("file") if kind == "file" else part, url)


def _wrong_sound(sound: Any) -> str | None:
    if not isinstance(sound, Mapping) or sound.get("format") not in SOUND_FORMATS:
        return f"Invalid value: input_audio.format must be one of {', '.join(SOUND_FORMATS)}."
    start = _decoded(sound.get("data"))
    wave = start is not None and start[:4] == b"RIFF" and start[8:12] == b"WAVE"
    song = start is not None and (start[:3] == b"ID3" or start[:1] == b"\xff")
    if not (wave if sound["format"] == "wav" else song):
        return "Invalid value: input_audio.data is not sound of its format in base64."
    return None


def _wrong_pdf(file: Any, url: str) -> str | None:
    if not isinstance(file, Mapping):
        return "Invalid type: a file must be an object."
    if file.get("file_id") or (url == RESPONSES and file.get("file_url")):
        return None
    head, _, data = str(file.get("file_data") or "").partition(",")
    if not file.get("filename"):
        return "Missing required parameter: filename."
    if head != "data:application/pdf;base64":
        return "Invalid value: file_data must begin with data:application/pdf;base64, and a PDF."
    start = _decoded(data)
    if start is None or b"%PDF-" not in start[:1024]:
        return f"The file '{file['filename']}' is no PDF that can be read."
    return None


def _decoded(data: Any) -> bytes | None:
    """The first bytes of base64; None for what isn't any."""
    if not isinstance(data, str):
        return None
    try:
        return base64.b64decode(data[:4096], validate=True)
    except binascii.Error:
        return None
