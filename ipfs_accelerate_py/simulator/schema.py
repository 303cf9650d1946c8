"""Values that satisfy a JSON schema, made by hashing: arguments of tool calls and structured output."""

from __future__ import annotations

import math
from typing import Any, Final

from .text import generate, unit

__all__ = ["example"]

#: Optional properties are left out below this depth, which is what ends schemas that refer to themselves.
_DEEP: Final = 4
#: A schema may ask for no more items or characters than this.
_MOST: Final = 10_000
_FORMATS: Final = {
    "date-time": "2026-01-02T03:04:05Z",
    "date": "2026-01-02",
    "time": "03:04:05Z",
    "duration": "PT3S",
    "email": "someone@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def example(schema: Any, source: bytes, seed: int = 0) -> Any:
    """A value for the schema: ``type``, ``enum``, ``const``, ``properties``, ``items``, bounds of numbers and lengths,
    ``anyOf``, ``oneOf``, ``allOf``, ``$ref`` within the schema, and the common ``format`` values.

    ``pattern`` and conditions are not looked at.
    """
    return _Maker(schema, seed).make(schema, source, 0)


class _Maker:
    def __init__(self, root: Any, seed: int) -> None:
        self._root = root
        self._seed = seed

    def make(self, schema: Any, source: bytes, depth: int) -> Any:
        if not isinstance(schema, dict) or depth > 64:
            return {} if depth == 0 else None
        if "const" in schema:
            return schema["const"]
        if isinstance(schema.get("enum"), list) and schema["enum"]:
            return schema["enum"][int(unit(source, self._seed) * len(schema["enum"]))]
        if "$ref" in schema:
            return self.make(self._resolve(schema["$ref"]), source, depth + 1)
        if isinstance(schema.get("allOf"), list):
            return self.make(_merged([self._target(part) for part in schema["allOf"]], schema), source, depth + 1)
        for name in ("anyOf", "oneOf"):
            if isinstance(schema.get(name), list) and schema[name]:
                # The shallow ones first: the last branch of a recursive schema is often the one that ends it.
                branches = schema[name]
                return self.make(branches[-1 if depth > _DEEP else 0], source, depth + 1)
        return self._typed(schema, source, depth)

    def _typed(self, schema: dict[str, Any], source: bytes, depth: int) -> Any:
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = kind[0] if kind else None
        if kind is None:
            kind = (
                "object"
                if "properties" in schema
                else "array"
                if "items" in schema
                else "object"
                if depth == 0
                else "string"
            )
        if kind == "object":
            return self._object(schema, source, depth)
        if kind == "array":
            count = int(_number(schema, "minItems", 1 if depth <= _DEEP else 0))
            count = min(count, int(_number(schema, "maxItems", count)), _MOST)
            items = schema.get("items", {"type": "string"})
            return [self.make(items, source + b"/%d" % index, depth + 1) for index in range(count)]
        if kind == "string":
            return self._string(schema, source)
        if kind in ("integer", "number"):
            return self._between(schema, source, whole=kind == "integer")
        if kind == "boolean":
            return unit(source, self._seed) < 0.5
        return None

    def _object(self, schema: dict[str, Any], source: bytes, depth: int) -> dict[str, Any]:
        properties = schema.get("properties")
        properties = properties if isinstance(properties, dict) else {}
        required = schema.get("required")
        required = required if isinstance(required, list) else []
        made = {
            name: self.make(part, source + b"/" + name.encode(), depth + 1)
            for name, part in properties.items()
            if depth < _DEEP or name in required
        }
        for name in required:
            made.setdefault(name, "value")
        return made

    def _string(self, schema: dict[str, Any], source: bytes) -> str:
        known = _FORMATS.get(schema.get("format", ""))
        if known is not None:
            return known
        text = "".join(generate(source, 2, self._seed))
        text = text.ljust(min(int(_number(schema, "minLength", 0)), _MOST), "x")
        return text[: int(_number(schema, "maxLength", len(text)))]

    def _between(self, schema: dict[str, Any], source: bytes, *, whole: bool) -> float | int:
        step = _number(schema, "multipleOf", 0) or (1 if whole else 0)
        margin = step or 1e-3
        high = min(_number(schema, "maximum", math.inf), _number(schema, "exclusiveMaximum", math.inf) - margin)
        low = max(_number(schema, "minimum", -math.inf), _number(schema, "exclusiveMinimum", -math.inf) + margin)
        if math.isinf(low):
            low = 0 if high >= 0 else high - 100
        if math.isinf(high):
            high = low + 100
        value = low + unit(source, self._seed) * (high - low)
        if step:
            value = -(-low // step) * step + (value - low) // step * step
            value = min(value, high // step * step)
        return int(value) if whole else float(value)

    def _resolve(self, reference: Any) -> Any:
        place = self._root
        if not isinstance(reference, str) or not reference.startswith("#"):
            return {}
        for part in filter(None, reference[1:].split("/")):
            name = part.replace("~1", "/").replace("~0", "~")
            place = place.get(name, {}) if isinstance(place, dict) else {}
        return place

    def _target(self, schema: Any) -> Any:
        return self._resolve(schema["$ref"]) if isinstance(schema, dict) and "$ref" in schema else schema


def _number(schema: dict[str, Any], name: str, default: float) -> float:
    """A bound of the schema, or the default where there is none that makes sense."""
    value = schema.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else default


def _merged(parts: list[Any], whole: dict[str, Any]) -> dict[str, Any]:
    """Members of an ``allOf`` as one schema: properties and requirements together, anything else the last one's."""
    merged: dict[str, Any] = {}
    for part in [{name: value for name, value in whole.items() if name != "allOf"}, *parts]:
        if not isinstance(part, dict):
            continue
        for name, value in part.items():
            if name == "properties":
                merged["properties"] = {**merged.get("properties", {}), **value}
            elif name == "required":
                merged["required"] = [*merged.get("required", []), *value]
            else:
                merged[name] = value
    return merged
