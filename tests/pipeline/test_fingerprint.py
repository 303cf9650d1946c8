"""What makes two calls the same request, and what does not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_accelerate_py.pipeline.fingerprint import deterministic, fingerprint
from ipfs_accelerate_py.requests import Passthrough, RawRequest, StoreRequest
from ipfs_accelerate_py.settings import Timeouts
from ipfs_accelerate_py.types import Call, ChatRequest, CompletionRequest, EmbedRequest, Operation, Priority

from .support import make_call


def call(**changes: Any) -> Call:
    made = make_call(options={"temperature": 0, "stop": ["a"]})
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def named(**changes: Any) -> bytes:
    found = fingerprint(call(**changes))
    assert found is not None
    return found


@pytest.mark.parametrize(
    "changes",
    [
        {"stream": True},
        {"tenant": "a"},
        {"key_name": "first"},
        {"headers": {"anthropic-beta": "x"}},
        {"operation": Operation.COMPLETION, "request": CompletionRequest("m", "hello")},
        {"passthrough": Passthrough("openai", b"{}")},
        {"request": ChatRequest("m2", [{"role": "user", "content": "hello"}], {"temperature": 0, "stop": ["a"]})},
        {"request": ChatRequest("m", [{"role": "user", "content": "hello"}], {"temperature": 0, "stop": ["b"]})},
        {"request": ChatRequest("m", [{"role": "user", "content": "hello"}], {"temperature": 0})},
        {"request": ChatRequest("m", [{"role": "system", "content": "hello"}], {"temperature": 0, "stop": ["a"]})},
    ],
)
def test_what_can_change_the_answer_is_another_request(changes: dict[str, Any]) -> None:
    assert named(**changes) != named()


@pytest.mark.parametrize(
    "changes",
    [
        {"request_id": "other"},
        {"priority": Priority.HIGH},
        {"deadline": 5.0},
        {"timeouts": Timeouts(connect=1.0)},
        {"limits": {"idle_timeout": 3.0}},
        {"session": "s"},
        {"tags": {"feature": "search"}},
        {"cache": "on"},
        {"caller": "key-1"},
    ],
)
def test_what_only_changes_the_way_there_is_the_same_request(changes: dict[str, Any]) -> None:
    assert named(**changes) == named()


def test_the_order_in_which_options_are_written_does_not_matter() -> None:
    one = make_call(options={"temperature": 0, "top_p": 1, "metadata": {"a": 1, "b": 2}})
    other = make_call(options={"metadata": {"b": 2, "a": 1}, "top_p": 1, "temperature": 0})
    assert fingerprint(one) == fingerprint(other)


def test_without_the_tenant_tenants_are_the_same() -> None:
    one, other = call(tenant="a"), call(tenant="b")
    assert fingerprint(one) != fingerprint(other)
    assert fingerprint(one, tenant=False) == fingerprint(other, tenant=False)


def test_two_bodies_that_are_forwarded_never_run_into_each_other() -> None:
    names = {
        named(passthrough=Passthrough(dialect, body, hide))
        for dialect in ("openai", "anthropic")
        for body in (b"{}", b'{"a":1}')
        for hide in (True, False)
    }
    assert len(names) == 8


def test_what_changes_something_has_no_name() -> None:
    store = call(operation=Operation.STORE, request=StoreRequest("upload_file"))
    post = call(operation=Operation.RAW, request=RawRequest("/x", {}))
    get = call(operation=Operation.RAW, request=RawRequest("/x", method="get"))
    assert fingerprint(store) is None
    assert fingerprint(post) is None
    assert fingerprint(get) is not None


def test_what_is_no_json_has_no_name() -> None:
    assert fingerprint(make_call(options={"odd": object()})) is None
    endless: dict[str, Any] = {}
    endless["self"] = endless
    assert fingerprint(make_call(options=endless)) is None


def test_a_callers_format_must_say_what_it_is() -> None:
    class Silent:
        def __call__(self, *_: Any) -> Any: ...

    class Named(Silent):
        def __init__(self, name: bytes) -> None:
            self.fingerprint = name

    assert fingerprint(call(variants=Silent())) is None
    assert named(variants=Named(b"openai:1")) != named(variants=Named(b"anthropic:1")) != named()


@given(
    st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.booleans() | st.none(), max_size=4),
    st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.booleans() | st.none(), max_size=4),
)
def test_two_requests_have_one_name_if_and_only_if_they_are_one(one: dict[str, Any], other: dict[str, Any]) -> None:
    def plain(options: dict[str, Any]) -> dict[str, tuple[type, Any]]:
        return {name: (type(value), value) for name, value in options.items()}

    same = fingerprint(make_call(options=one)) == fingerprint(make_call(options=other))
    assert same == (plain(one) == plain(other))


def test_what_is_deterministic() -> None:
    assert deterministic(call(operation=Operation.EMBED, request=EmbedRequest("m", ["a"])))
    assert deterministic(make_call(options={"temperature": 0}))
    assert deterministic(make_call(options={"temperature": 0.7, "seed": 1}))
    assert not deterministic(make_call(options={"temperature": 0.1}))
    assert not deterministic(make_call())
    assert not deterministic(call(operation=Operation.IMAGE))
