"""Texts, vectors and values made by hashing."""

from __future__ import annotations

import math
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipfs_accelerate_py.simulator.answering import say
from ipfs_accelerate_py.simulator.schema import example
from ipfs_accelerate_py.simulator.text import count_tokens, generate, vector
from ipfs_accelerate_py.simulator.wire import Settings


def test_texts_are_the_same_everywhere() -> None:
    """Pinned: users' tests may compare with recorded answers."""
    assert "".join(generate(b"x", 6)) == "日本 many or what but an"
    assert generate(b"x", 6) == generate(b"x", 9)[:6]
    assert generate(b"x", 6) != generate(b"x", 6, seed=1)
    assert generate(b"x", 0) == ()


def test_texts_have_characters_of_every_length_in_utf8() -> None:
    widths = {len(char.encode()) for char in "".join(generate(b"x", 500))}
    assert widths == {1, 2, 3, 4}


def test_tokens_are_counted_by_four() -> None:
    assert [count_tokens("x" * length) for length in (0, 1, 4, 5, 8)] == [0, 1, 1, 2, 2]


@given(st.binary(max_size=50), st.integers(1, 300), st.integers(0, 5))
@settings(max_examples=50, deadline=None)
def test_vectors_have_unit_length(source: bytes, dimensions: int, seed: int) -> None:
    made = vector(source, dimensions, seed)
    assert len(made) == dimensions
    assert math.hypot(*made) == pytest.approx(1, abs=1e-5)


@given(st.text(max_size=60), st.lists(st.text(min_size=1, max_size=3), max_size=4))
@settings(max_examples=200, deadline=None)
def test_an_answer_ends_before_the_first_stop(text: str, stop: list[str]) -> None:
    said = say(b"", Settings(reply=text), {}, stop=stop)
    ends = [at for word in stop if (at := text.find(word)) >= 0]
    assert "".join(said.tokens) == text[: min(ends, default=len(text))]
    assert all(said.tokens)


SCHEMAS: list[Any] = [
    {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "boolean"}}, "required": ["a"]},
    {"type": "object", "properties": {"x": {"type": "array", "items": {"type": "number"}, "minItems": 3}}},
    {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 0},
    {"type": "string", "minLength": 30, "maxLength": 40},
    {"type": "string", "maxLength": 1},
    {"type": "string", "format": "date-time"},
    {"type": "integer", "minimum": 5, "maximum": 6},
    {"type": "integer", "exclusiveMinimum": 5, "exclusiveMaximum": 7},
    {"type": "integer", "minimum": 11, "multipleOf": 10},
    {"type": "integer", "minimum": 1.5, "maximum": 2.5},
    {"type": "integer", "maximum": -5},
    {"type": "number", "exclusiveMinimum": 0, "maximum": 0.01},
    {"type": "number", "multipleOf": 0.5, "minimum": 3},
    {"type": ["string", "null"]},
    {"const": {"a": 1}},
    {"anyOf": [{"type": "integer"}, {"type": "string"}]},
    {"allOf": [{"type": "object", "properties": {"a": {"type": "integer"}}}, {"required": ["a"]}]},
    {"$ref": "#/$defs/thing", "$defs": {"thing": {"type": "object", "properties": {"n": {"type": "null"}}}}},
    {"$defs": {"a/b": {"type": "integer"}}, "type": "object", "properties": {"x": {"$ref": "#/$defs/a~1b"}}},
    {
        "$defs": {
            "node": {
                "type": "object",
                "properties": {
                    "value": {"type": "integer"},
                    "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                    "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                },
                "required": ["value", "next", "children"],
            }
        },
        "$ref": "#/$defs/node",
    },
    {},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=range(len(SCHEMAS)))
@pytest.mark.parametrize("seed", range(8))
def test_examples_satisfy_their_schema(schema: Any, seed: int) -> None:
    jsonschema.validate(example(schema, b"x", seed), schema)


@pytest.mark.parametrize(
    "schema",
    [3, [], {"type": 7}, {"$ref": "#/nowhere"}, {"$ref": 4}, {"properties": [], "type": "object"}, {"enum": []},
     {"type": "integer", "minimum": "x"}, {"type": "string", "minLength": "x"}, {"type": "array", "minItems": "x"},
     {"required": [3]}, {"allOf": [3]}, {"anyOf": [3]}, {"$ref": "#"}, {"type": "number", "multipleOf": 0}],
)  # fmt: skip
def test_schemas_that_make_no_sense_do_no_harm(schema: Any) -> None:
    example(schema, b"x")
