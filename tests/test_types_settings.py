"""The vocabulary, the error tree, and settings that are checked when they are set."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import pytest

from ipfs_accelerate_py import AsyncClient, Client, Priority, Settings, Timeouts, Usage, errors
from ipfs_accelerate_py.errors import AccelerateError, BackendError, ConfigurationError
from ipfs_accelerate_py.transport import HttpRequest
from ipfs_accelerate_py.types import Call, ChatRequest, Chunk, Operation, Reply, ToolCall, new_request_id

# --- settings ----------------------------------------------------------------------------------------------------


def test_the_defaults_are_those_the_documents_promise() -> None:
    assert {
        name: value
        for name, value in Settings().as_dict().items()
        if name
        in (
            "max_concurrent_requests",
            "queue_size",
            "queue_enabled",
            "max_retries",
            "initial_retry_delay",
            "backoff_factor",
            "max_retry_delay",
            "circuit_failure_threshold",
            "circuit_reset_timeout",
            "circuit_success_threshold",
            "key_selection_strategy",
        )
    } == {
        "max_concurrent_requests": 5,
        "queue_size": 100,
        "queue_enabled": True,
        "max_retries": 5,
        "initial_retry_delay": 1.0,
        "backoff_factor": 2.0,
        "max_retry_delay": 60.0,
        "circuit_failure_threshold": 5,
        "circuit_reset_timeout": 30.0,
        "circuit_success_threshold": 1,
        "key_selection_strategy": "round-robin",
    }


WRONG: list[tuple[str, list[Any]]] = [
    ("max_concurrent_requests", [0, -1, 1.5, "5", None, True, math.inf, math.nan]),
    ("queue_size", [-1, 0.5, None, math.inf]),
    ("queue_enabled", [1, 0, "yes", None]),
    ("queue_timeout", [0, -1, "1", math.nan, True]),
    ("ageing_interval", [0, -1, None, math.nan]),
    ("max_retries", [-1, 1.5, "3", None, False, math.inf, math.nan]),
    ("initial_retry_delay", [-0.1, None, "1", math.nan]),
    ("backoff_factor", [0.5, 0, math.inf, math.nan, None, True]),
    ("max_retry_delay", [-1, None, math.nan]),
    ("circuit_failure_threshold", [0, None, 2.5]),
    ("circuit_reset_timeout", [-1, None, math.nan]),
    ("circuit_success_threshold", [0]),
    ("circuit_half_open_probes", [0]),
    ("key_selection_strategy", ["fastest", None, 1]),
    ("requests_per_minute", [0, -5, math.nan, "60"]),
    ("tokens_per_minute", [0, -5, math.nan]),
    ("connect_timeout", [0, -1, math.nan, "10"]),
    ("total_timeout", [0, -1, math.nan]),
    ("max_body_bytes", [0, None]),
    ("max_header_bytes", [10, None]),
]


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG for value in values])
def test_a_wrong_value_is_refused_by_name_and_nothing_changes(name: str, value: Any) -> None:
    settings = Settings()
    before = settings.as_dict()
    with pytest.raises(ConfigurationError, match=name):
        setattr(settings, name, value)
    with pytest.raises(ConfigurationError, match=name):
        Settings(**{name: value})
    assert settings.as_dict() == before


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("max_retries", 0, 0),
        ("max_retries", 3.0, 3),
        ("queue_size", 0, 0),
        ("queue_timeout", None, None),
        ("queue_timeout", 2, 2.0),
        ("total_timeout", None, None),
        ("initial_retry_delay", 0, 0.0),
        ("backoff_factor", 1, 1.0),
        ("tokens_per_minute", None, None),
        ("key_selection_strategy", "least-loaded", "least-loaded"),
        ("circuit_reset_timeout", 0, 0.0),
    ],
)
def test_right_values_are_kept_in_their_type(name: str, value: Any, kept: Any) -> None:
    settings = Settings()
    setattr(settings, name, value)
    found = getattr(settings, name)
    assert found == kept
    assert type(found) is type(kept)


def test_several_at_once_or_none() -> None:
    settings = Settings()
    with pytest.raises(ConfigurationError, match="max_retries"):
        settings.update({"queue_size": 7, "max_retries": -1})
    with pytest.raises(ConfigurationError, match="retries"):
        settings.update({"queue_size": 7, "retries": 1})
    assert settings.queue_size == 100
    settings.update({"queue_size": 7, "max_retries": 2})
    assert (settings.queue_size, settings.max_retries) == (7, 2)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"max_retires.*max_retries"):
        Settings().max_retires = 3


def test_limits_of_time_follow_the_settings() -> None:
    settings = Settings(connect_timeout=1, first_byte_timeout=2, first_content_timeout=3, idle_timeout=4)
    assert settings.timeouts == Timeouts(1, 2, 3, 4)
    assert settings.timeouts is settings.timeouts
    settings.idle_timeout = None
    assert settings.timeouts.idle is None


def test_watchers_hear_of_changes_after_they_were_made() -> None:
    settings = Settings()
    seen: list[int] = []
    settings.on_change(lambda: seen.append(settings.queue_size))
    settings.queue_size = 5
    with pytest.raises(ConfigurationError):
        settings.queue_size = -5
    assert seen == [5]


# --- live attributes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_every_setting_is_a_live_attribute(kind: type[Client] | type[AsyncClient]) -> None:
    client = kind("openai", api_key="sk-test", max_retries=2)
    for name, value in Settings(max_retries=2).as_dict().items():
        assert getattr(client, name) == value, name
    client.queue_size = 50
    assert client.settings.queue_size == 50
    with pytest.raises(ConfigurationError, match="queue_size"):
        client.queue_size = -1
    with pytest.raises(AttributeError, match=r"max_retires.*did you mean 'max_retries'"):
        client.max_retires = 3
    with pytest.raises(AttributeError):
        client.nothing_like_it = 3
    with pytest.raises(ConfigurationError, match="max_retires"):
        kind("openai", api_key="sk-test", max_retires=3)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_what_is_wrong_in_the_constructor_is_said_there(kind: type[Client] | type[AsyncClient]) -> None:
    with pytest.raises(errors.UnknownBackend, match=r"opanai.*openai"):
        kind("opanai")
    with pytest.raises(ConfigurationError, match="max_retries"):
        kind("openai", max_retries="many")
    assert repr(kind("openai", api_key="sk-secret-value")) in ("Client('openai')", "AsyncClient('openai')")


# --- priorities, usage, ids --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "priority"),
    [
        ("HIGH", Priority.HIGH),
        ("normal", Priority.NORMAL),
        ("Low", Priority.LOW),
        (0, Priority.HIGH),
        (1, Priority.NORMAL),
        (2, Priority.LOW),
        (Priority.LOW, Priority.LOW),
    ],
)
def test_priorities_by_name_and_number(value: Any, priority: Priority) -> None:
    assert Priority.parse(value) is priority


@pytest.mark.parametrize("value", ["URGENT", 3, -1, 1.5, None, "", b"HIGH", [], {}])
def test_other_priorities_are_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError, match='"HIGH"'):
        Priority.parse(value)


def test_request_ids_do_not_meet() -> None:
    ids = {new_request_id() for _ in range(10_000)}
    assert len(ids) == 10_000
    assert all(each.startswith("req_") and len(each) == 28 for each in ids)


def test_usage_adds_up() -> None:
    assert Usage(3, 4, reported=True).total_tokens == 7
    assert not Usage().reported


def test_defaults_are_not_shared_between_calls() -> None:
    def make() -> Call:
        return Call(operation=Operation.CHAT, request=ChatRequest("m", []), request_id="r")

    one, two = make(), make()
    one.attempts.append("x")  # type: ignore[arg-type]
    one.request.options["a"] = 1
    assert two.attempts == []
    assert two.request.options == {}
    reply = Reply()
    reply.vectors.append([1.0])
    reply.usage.input_tokens = 5
    assert Reply().vectors == []
    assert Reply().usage.input_tokens == 0


def test_a_chunks_own_object_is_decoded_when_asked_for() -> None:
    assert Chunk(data=b'{"a": 1}').raw == {"a": 1}
    assert Chunk().raw == {}
    assert Chunk(data=b"[1]").raw == {}


# --- errors ------------------------------------------------------------------------------------------------------

TREE = [getattr(errors, name) for name in errors.__all__]


def test_the_tree_is_closed() -> None:
    assert all(issubclass(kind, AccelerateError) for kind in TREE)
    assert {kind.__name__ for kind in BackendError.__subclasses__()} == {
        "AuthenticationError",
        "QuotaExhausted",
        "RateLimited",
        "InvalidRequest",
        "ServerError",
        "TransportError",
        "ProtocolError",
    }


@pytest.mark.parametrize(
    ("name", "retryable", "rotate", "outage"),
    [
        ("AuthenticationError", False, True, False),
        ("QuotaExhausted", False, True, False),
        ("RateLimited", True, True, False),
        ("InvalidRequest", False, False, False),
        ("ContextLengthExceeded", False, False, False),
        ("ContentFiltered", False, False, False),
        ("ModelNotFound", False, False, False),
        ("ServerError", True, False, True),
        ("TransportError", True, False, True),
        ("ConnectFailed", True, False, True),
        ("ReadTimeout", False, False, True),
        ("StreamCut", True, False, True),
        ("ProtocolError", False, False, False),
        ("QueueFull", False, False, False),
        ("CircuitOpen", False, False, False),
    ],
)
def test_verdicts(name: str, retryable: bool, rotate: bool, outage: bool) -> None:
    error = getattr(errors, name)("x")
    assert (error.retryable, error.rotate, error.outage) == (retryable, rotate, outage)


def test_backend_errors_are_value_errors_and_one_error_may_carry_its_own_verdict() -> None:
    error = errors.RateLimited(
        "Rate limit: slow", status=429, retry_after=2.0, retryable=False, code="c", request_id="r"
    )
    assert isinstance(error, ValueError)
    assert (error.retryable, error.retry_after, error.code) == (False, 2.0, "c")
    assert errors.RateLimited("x").retryable
    assert errors.RateLimited("x").retry_after is None


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_errors_survive_pickling_and_copying(kind: type[AccelerateError]) -> None:
    error = kind("what happened", code="some_code", retry_after=1.5)
    if isinstance(error, BackendError):
        error.status, error.backend, error.body, error.attempts = 503, "openai", {"a": 1}, 3
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(again) is kind
        assert str(again) == "what happened"
        assert again.__dict__ == error.__dict__
        assert again.retry_after == 1.5


def test_what_goes_on_the_wire_does_not_show_its_key() -> None:
    request = HttpRequest("POST", "http://x/v1", {"Authorization": "Bearer sk-secret-value"}, b"{}")
    assert "sk-secret-value" not in repr(request)


def test_a_reply_is_the_assistants_message_of_the_next_turn() -> None:
    block = {"type": "thinking", "thinking": "Hm.", "signature": "s1"}
    call = ToolCall("call_1", "f", '{"a":1}', signature="s2")
    reply = Reply(text="", tool_calls=[call], thinking_blocks=[block])
    assert reply.message() == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "f", "arguments": '{"a":1}'},
                "extra_content": {"google": {"thought_signature": "s2"}},
            }
        ],
        "thinking_blocks": [block],
    }
    assert Reply(text="Hello").message() == {"role": "assistant", "content": "Hello"}
    assert Reply(refusal="No.").message() == {"role": "assistant", "content": None, "refusal": "No."}
