"""Whatever a client sends, anywhere in a body: a request comes of it or a refusal, and one that names its field."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_accelerate_py.errors import AccelerateError, InvalidRequest, UnsupportedOperation
from ipfs_accelerate_py.gateway.ingresses import ingress
from ipfs_accelerate_py.types import Call
from tests.dialects.support import places, replaced

from .test_nothing_dropped import ASKED, TARGETS
from .things import THINGS

#: In the place of anything.
VALUES: list[Any] = [None, True, 7, -1.5, "", "x", [], [1], [None], {}, {"type": 5}, {"type": "text"}, [{"type": {}}]]
#: No JSON, or JSON that no value of Python's is made of.
RAW = [
    *(b"NaN", b"-Infinity", b"1e999", b"1" * 5000, b"", b"tru"),
    *(b'"\\ud800"', b'"\xff"', b'"\xed\xa0\x80"', b'{"a": 1, "a": 2}'),
    *(b"[" * 3000 + b"]" * 3000, b'{"a":' * 3000 + b"1" + b"}" * 3000),
]


def judge(asked: str, body: bytes, *, whole: bool) -> None:
    """``whole`` says that the body is JSON, so that a field can be named."""
    name, operation, path = ASKED[asked]
    try:
        served = ingress(name).decode(operation, body, "application/json", path, stream=False)
        served.passthrough("m")
        served.summary("m")
        request = served.request("m")
    except InvalidRequest as error:
        if whole and not error.param:
            pytest.fail(f"refused without a field's name: {error} {body!r}")
        return
    except UnsupportedOperation:
        return
    for target in TARGETS.values():
        call = Call(operation=request.operation, request=request, request_id="req_1")
        try:
            target.dialect.encode(call)
            target.dialect.stream_decoder(call)
        except AccelerateError:
            pass


@pytest.mark.parametrize("asked", ASKED)
def test_a_wrong_value_in_any_place(asked: str) -> None:
    seen = set()
    for thing in THINGS[asked]:
        for path in places(thing.body):
            for value in VALUES:
                body = msgspec.json.encode(replaced(thing.body, path, value))
                if body not in seen:
                    seen.add(body)
                    judge(asked, body, whole=True)


@pytest.mark.parametrize("asked", ASKED)
def test_what_is_no_json_in_any_place(asked: str) -> None:
    for raw in RAW:
        judge(asked, raw, whole=False)
        for thing in THINGS[asked][::8]:
            for path in places(thing.body):
                body = json.dumps(replaced(thing.body, path, "@@")).encode()
                judge(asked, body.replace(b'"@@"', raw), whole=False)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("asked", ASKED)
@given(body=anything, at=st.integers(0, 1000), more=anything)
def test_any_json(asked: str, body: Any, at: int, more: Any) -> None:
    judge(asked, json.dumps(body).encode(), whole=False)
    things = THINGS[asked]
    whole = things[at % len(things)].body
    name = list(whole)[at % len(whole)]
    judge(asked, json.dumps({**whole, name: more, "zq": body}).encode(), whole=False)
