"""What is sent to OPEA: megaservices in their shape, microservices in OpenAI's, and nothing that would be dropped."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ipfs_accelerate_py.dialects.base import WireRequest
from ipfs_accelerate_py.dialects.opea.dialect import OpeaDialect
from ipfs_accelerate_py.errors import ConfigurationError, UnsupportedOperation
from ipfs_accelerate_py.types import (
    Call,
    ChatRequest,
    EmbedRequest,
    ModelsRequest,
    Operation,
    RawRequest,
    RerankRequest,
)

HELLO = [{"role": "user", "content": "Hello"}]


def chat(messages: Any = None, *, model: str = "", stream: bool = False, **options: Any) -> Call:
    request = ChatRequest(model, HELLO if messages is None else messages, options)
    return Call(operation=Operation.CHAT, request=request, request_id="r", stream=stream)


def rerank(*documents: Any, model: str = "", **options: Any) -> Call:
    request = RerankRequest(model, "a question", list(documents), options)
    return Call(operation=Operation.RERANK, request=request, request_id="r")


def encode(call: Call, base_url: str = "http://localhost:8888", **settings: Any) -> WireRequest:
    return OpeaDialect(base_url, **settings).encode(call)


def sent(call: Call, **settings: Any) -> dict[str, Any]:
    wire = encode(call, **settings)
    assert wire.body is not None
    body: dict[str, Any] = json.loads(wire.body)
    return body


def test_a_lone_question_is_a_text_and_whether_it_streams_is_always_said() -> None:
    """A megaservice streams unless told not to, and searches for the messages as they are written."""
    assert sent(chat()) == {"messages": "Hello", "stream": False}
    assert sent(chat(model="m", stream=True)) == {"messages": "Hello", "model": "m", "stream": True}


def test_a_conversation_is_a_list_that_loses_nothing() -> None:
    messages = [
        {"role": "system", "content": "Be brief"},
        {"role": "developer", "content": [{"type": "text", "text": "and kind"}]},
        {"role": "user", "content": [{"type": "text", "text": "One"}, {"type": "text", "text": "Two"}]},
        {"role": "assistant", "content": None},
        {"role": "user", "content": "Three"},
    ]
    assert sent(chat(messages))["messages"] == [
        {"role": "system", "content": "Be brief\nand kind"},
        {"role": "user", "content": "One\nTwo"},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": "Three"},
    ]


def test_options_go_under_their_names_and_the_service_s_own_as_they_are() -> None:
    body = sent(
        chat(max_completion_tokens=9, temperature=0.2, top_p=None, top_n=3, search_type="mmr", chat_template="x")
    )
    assert body == {
        "messages": "Hello",
        "max_tokens": 9,
        "temperature": 0.2,
        "top_n": 3,
        "search_type": "mmr",
        "chat_template": "x",
        "stream": False,
    }


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("tools", [{"type": "function", "function": {"name": "f"}}]),
        ("tool_choice", "required"),
        ("response_format", {"type": "json_object"}),
        ("stop", ["."]),
        ("seed", 7),
        ("n", 2),
        ("logprobs", True),
        ("logit_bias", {"1": 2}),
        ("reasoning_effort", "low"),
        ("modalities", ["text", "audio"]),
    ],
)
def test_what_a_megaservice_would_drop_is_refused_by_name(option: str, value: Any) -> None:
    with pytest.raises(UnsupportedOperation, match=option):
        encode(chat(**{option: value}))
    # The model itself has it.
    assert sent(chat(service="chat/completions", **{option: value}))[option] == value


def test_what_makes_no_difference_is_left_out_and_said() -> None:
    wire = encode(chat(n=1, tools=[], seed=None, response_format={"type": "text"}, user="u", stream_options={}))
    assert wire.body == b'{"messages":"Hello","stream":false}'
    assert wire.ignored == ("n", "tools", "response_format", "user", "stream_options")


@pytest.mark.parametrize(
    "message",
    [
        {"role": "tool", "tool_call_id": "1", "content": "x"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
        {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]},
        {"role": "system", "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]},
    ],
)
def test_messages_that_a_megaservice_cannot_take_are_refused(message: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedOperation):
        encode(chat([message]))


def test_images_go_to_services_that_see_as_a_url_or_as_bare_base64() -> None:
    def image(url: str) -> list[Any]:
        return [
            {
                "role": "user",
                "content": [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": url}}],
            }
        ]

    for given, expected in (("https://x/y.png", "https://x/y.png"), ("data:image/png;base64,aGk=", "aGk=")):
        body = sent(chat(image(given), service="visualqna"))
        assert body["messages"][0]["content"][1] == {"type": "image_url", "image_url": {"url": expected}}
    # Anything else would be taken for a path on the server.
    for path in ("/etc/passwd", "file:///etc/passwd", "aGk="):
        with pytest.raises(ConfigurationError, match="URL"):
            encode(chat(image(path), service="visualqna"))


def test_services_are_chosen_by_call_by_row_and_by_url() -> None:
    assert encode(chat()).path == "/v1/chatqna"
    assert encode(chat(), service="/v1/codegen").path == "/v1/codegen"
    assert encode(chat(service="docsum"), service="codegen").path == "/v1/docsum"
    assert encode(chat(), "http://h:1/v1").path == "http://h:1/v1/chatqna"
    assert encode(chat(), "http://h:1/x/v1/codegen/").path == "http://h:1/x/v1/codegen"
    for wrong in ("../x", "a b", "x?y", 7):
        with pytest.raises(ConfigurationError, match="OPEA service"):
            encode(chat(service=wrong))


def test_summaries_say_what_they_are_of_and_translations_of_code_their_languages() -> None:
    assert sent(chat(service="docsum", summary_type="refine"))["type"] == "text"
    body = sent(chat(service="codetrans", language_from="Python", language_to="Go"))
    assert body == {"language_from": "Python", "language_to": "Go", "source_code": "Hello", "stream": False}
    with pytest.raises(ConfigurationError, match="language_to"):
        encode(chat(service="codetrans", language_from="Python"))
    with pytest.raises(UnsupportedOperation, match="max_tokens"):
        encode(chat(service="codetrans", language_from="Python", language_to="Go", max_tokens=3))


def test_microservices_are_openai_s_format_and_have_a_model_of_their_own() -> None:
    wire = encode(chat(service="chat/completions", stream=True))
    assert wire.path == "/v1/chat/completions"
    body = json.loads(wire.body or b"")
    assert "model" not in body
    assert (body["messages"], body["stream"], body["stream_options"]) == (HELLO, True, {"include_usage": True})
    embed = Call(operation=Operation.EMBED, request=EmbedRequest("m", ["a", "b"]), request_id="r")
    assert (encode(embed).path, sent(embed)) == ("/v1/embeddings", {"model": "m", "input": ["a", "b"]})


def test_a_reranking_asks_for_every_document_unless_told_how_many() -> None:
    wire = encode(rerank("a", {"text": "b", "id": 1}, return_documents=True, model="m"))
    assert (wire.path, wire.ignored) == ("/v1/reranking", ("model",))
    assert json.loads(wire.body or b"") == {
        "input": "a question",
        "retrieved_docs": [{"text": "a"}, {"text": "b"}],
        "top_n": 2,
    }
    assert sent(rerank("a", "b", top_n=1))["top_n"] == 1
    with pytest.raises(ConfigurationError, match="document"):
        encode(rerank({"title": "no text"}))


def test_any_path_is_sent_as_it_is() -> None:
    call = Call(operation=Operation.RAW, request=RawRequest("/v1/dataprep/get", {}), request_id="r")
    assert encode(call).path == "/v1/dataprep/get"
    assert encode(call, "http://h:1/v1").path == "http://h:1/v1/dataprep/get"
    form = RawRequest("/v1/dataprep/ingest", b"--x", content_type="multipart/form-data; boundary=x")
    wire = encode(Call(operation=Operation.RAW, request=form, request_id="r"))
    assert (wire.body, wire.headers) == (b"--x", {"Content-Type": "multipart/form-data; boundary=x"})


def test_what_opea_has_not_is_said_before_anything_is_sent() -> None:
    with pytest.raises(UnsupportedOperation, match="models"):
        encode(Call(operation=Operation.MODELS, request=ModelsRequest(), request_id="r"))
