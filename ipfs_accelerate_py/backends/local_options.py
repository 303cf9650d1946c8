"""What the local backend can be told: how models are loaded, how much memory they get, and where they lie."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.backends.spec import Option
from ipfs_accelerate_py.errors import ConfigurationError

if TYPE_CHECKING:
    from ipfs_accelerate_py.runtimes.engines.base import LoadPlan
    from ipfs_accelerate_py.runtimes.serving.settings import ServingSettings

__all__ = ["OPTIONS", "LocalOptions", "read_options", "read_size"]


def _option(name: str, default: Any = None) -> Option:
    return Option(name, default, (f"local_{name}",), (f"IPFS_ACCELERATE_LOCAL_{name.upper()}",))


#: Of the row ``local``; each may stand in the environment as ``IPFS_ACCELERATE_LOCAL_<NAME>``.
OPTIONS = (
    _option("runtime"),
    _option("device"),
    _option("precision"),
    _option("memory"),
    _option("isolation"),
    _option("unload_after"),
    _option("worker_memory"),
    _option("models"),
    _option("threads"),
    _option("device_map"),
    _option("trial"),
    _option("force"),
    _option("trust_remote_code"),
    Option("engine"),
)
_RUNTIMES = ("auto", "torch", "openvino", "llvm")
_PRECISIONS = ("auto", "float32", "bfloat16", "float16", "int8", "int8-weights", "int4")
_ISOLATIONS = ("thread", "process")
_UNITS = {"": 10**9, "gb": 10**9, "mb": 10**6, "kb": 10**3, "gib": 1 << 30, "mib": 1 << 20, "kib": 1 << 10, "b": 1}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]i?b|b)?")


@dataclass(frozen=True)
class LocalOptions:
    """The options, read.

    Attributes:
        plan: how each model is loaded.
        serving: of the `ModelManager`.
        folders: where models are looked for first.
    """

    plan: LoadPlan
    serving: ServingSettings
    folders: tuple[str, ...]


def read_options(given: Mapping[str, Any]) -> LocalOptions:
    """Raises `ConfigurationError`, which names the option that is wrong."""
    from ipfs_accelerate_py.runtimes.engines.base import LoadPlan
    from ipfs_accelerate_py.runtimes.serving.settings import ServingSettings

    memory = _size("memory", given.get("memory"))
    engine = dict(given.get("engine") or {})
    if _flag("trial", given.get("trial")):
        engine["trial"] = True
    plan = LoadPlan(
        runtime=_word("runtime", given.get("runtime"), _RUNTIMES),
        device=str(given.get("device") or "auto"),
        precision=_word("precision", given.get("precision"), _PRECISIONS),
        memory=memory,
        device_map=given.get("device_map"),
        threads=_whole("threads", given.get("threads")),
        force=_flag("force", given.get("force")),
        trust_remote_code=_flag("trust_remote_code", given.get("trust_remote_code")),
        options=engine,
    )
    serving = ServingSettings(
        isolation=_word("isolation", given.get("isolation"), _ISOLATIONS),
        budget=memory,
        idle_timeout=_seconds("unload_after", given.get("unload_after")),
        worker_memory=_size("worker_memory", given.get("worker_memory")),
    )
    serving.check()
    return LocalOptions(plan, serving, _folders(given.get("models")))


def read_size(value: Any) -> int:
    """Bytes: a number is gigabytes, a text may have a unit (``1.5GB``, ``512MiB``). Raises `ValueError`."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{value!r} is no size")
    found = _SIZE.fullmatch(str(value).strip().lower())
    if found is None or not (size := int(float(found[1]) * _UNITS[found[2] or ""])):
        raise ValueError(f"{value!r} is no size")
    return size


def _size(name: str, value: Any) -> int | None:
    if value is None or value == "":
        return None
    try:
        return read_size(value)
    except ValueError:
        raise ConfigurationError(f'{name} is gigabytes, or a text such as "512MB", not {value!r}') from None


def _word(name: str, value: Any, words: tuple[str, ...]) -> str:
    if value is None or value == "":
        return words[0]
    if value not in words:
        raise ConfigurationError(f"{name} must be one of {', '.join(words)}, not {value!r}")
    return str(value)


def _whole(name: str, value: Any) -> int | None:
    if value is None or value == "":
        return None
    try:
        found = int(value)
    except (TypeError, ValueError):
        found = 0
    if isinstance(value, bool) or found < 1 or str(found) != str(value).strip():
        raise ConfigurationError(f"{name} must be a whole number of at least 1, not {value!r}")
    return found


def _seconds(name: str, value: Any) -> float | None:
    if value is None or value == "":
        return None
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = 0.0
    if isinstance(value, bool) or not found > 0:
        raise ConfigurationError(f"{name} must be a number of seconds above 0, not {value!r}")
    return found


def _flag(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    found = {"": False, "none": False, "false": False, "0": False, "true": True, "1": True}.get(str(value).lower())
    if found is None:
        raise ConfigurationError(f"{name} must be true or false, not {value!r}")
    return found


def _folders(value: Any) -> tuple[str, ...]:
    if not value:
        return ()
    if isinstance(value, str):
        return tuple(each for each in value.split(os.pathsep) if each)
    if isinstance(value, os.PathLike):
        return (os.fspath(value),)
    if not isinstance(value, list | tuple) or not all(isinstance(each, str | os.PathLike) for each in value):
        raise ConfigurationError(f"models must be a folder or a list of folders, not {value!r}")
    return tuple(os.fspath(each) for each in value)
