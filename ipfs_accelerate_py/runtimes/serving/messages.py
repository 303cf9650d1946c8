"""What the gateway's process and a model's worker say to each other: tagged structs, as MessagePack."""

from __future__ import annotations

import io
from typing import Any, TypeAlias

import msgspec

from ipfs_accelerate_py.errors import InvalidRequest
from ipfs_accelerate_py.runtimes.engines.base import LoadPlan
from ipfs_accelerate_py.types import Chunk

from .faults import Fault
from .jobs import Done, Facts, Job

__all__ = [
    "Answered", "Cancel", "Ended", "Failed", "FromWorker", "Load", "More", "Opened", "Run", "State", "Stop",
    "ToWorker", "Told", "Weigh", "Weighed", "Wrote", "decode_from_worker", "decode_to_worker", "encode",
]  # fmt: skip


# --- to a worker ---------------------------------------------------------------------------------------------------


class Load(msgspec.Struct, tag="load"):
    """Make the model ready for a task; the first one says which model it is. Answered by `Opened`.

    ``limit`` is the largest frame that will be taken, in bytes.
    """

    id: int
    name: str
    path: str
    task: str
    plan: LoadPlan
    limit: int


class Weigh(msgspec.Struct, tag="weigh"):
    """How much more memory would a task need? Answered by `Weighed`."""

    id: int
    task: str


class Run(msgspec.Struct, tag="run"):
    """A job. A stream is answered by `Wrote` and `Ended`, of which ``window`` chunks may be under way."""

    id: int
    job: Job
    stream: bool = False
    window: int = 0


class More(msgspec.Struct, tag="more"):
    """So many chunks of a stream have been read."""

    id: int
    count: int


class Cancel(msgspec.Struct, tag="cancel"):
    """Nobody waits for this any more."""

    id: int


class Stop(msgspec.Struct, tag="stop"):
    """Unload and end."""


ToWorker: TypeAlias = Load | Weigh | Run | More | Cancel | Stop


# --- from a worker -------------------------------------------------------------------------------------------------


class Told(msgspec.Struct, tag="told"):
    """How far a load is."""

    phase: str
    done: int
    total: int


class Opened(msgspec.Struct, tag="opened"):
    """The model is ready for the task."""

    id: int
    facts: Facts


class Weighed(msgspec.Struct, tag="weighed"):
    """So many bytes."""

    id: int
    memory: int


class Answered(msgspec.Struct, tag="answered"):
    """A job's answer."""

    id: int
    done: Done


class Wrote(msgspec.Struct, tag="wrote"):
    """Chunks of a stream."""

    id: int
    chunks: list[Chunk]


class Ended(msgspec.Struct, tag="ended"):
    """A stream is complete."""

    id: int


class Failed(msgspec.Struct, tag="failed"):
    """A request failed."""

    id: int
    fault: Fault


class State(msgspec.Struct, tag="state"):
    """The model's snapshot; sent now and then."""

    snapshot: dict[str, Any]


FromWorker: TypeAlias = Told | Opened | Weighed | Answered | Wrote | Ended | Failed | State


# --- both ways -----------------------------------------------------------------------------------------------------

_ARRAY = 1


class _Array(msgspec.Struct, array_like=True):
    dtype: str
    shape: list[int]
    data: bytes


def _hook(value: Any) -> Any:
    """What a caller may give that is no plain data: arrays go as their bytes, pictures as PNG."""
    if hasattr(value, "__array_interface__") or hasattr(value, "detach"):
        array = (value.detach().cpu().numpy() if hasattr(value, "detach") else value.__array__()).copy("C")
        if array.dtype.hasobject:
            raise InvalidRequest("an array of objects is no input for a model", status=400, param="input")
        packed = _Array(array.dtype.str, list(array.shape), array.tobytes())
        return msgspec.msgpack.Ext(_ARRAY, msgspec.msgpack.encode(packed))
    if hasattr(value, "item") and getattr(value, "shape", None) == ():  # a number of numpy's
        return value.item()
    if hasattr(value, "save") and hasattr(value, "mode"):  # a picture of PIL's
        file = io.BytesIO()
        value.save(file, format="PNG")
        return file.getvalue()
    if hasattr(value, "__fspath__"):
        return value.__fspath__()
    if isinstance(value, range):
        return list(value)
    raise InvalidRequest(f"a {type(value).__name__} is no input for a model in another process", status=400)


def _found(code: int, data: memoryview) -> Any:
    if code != _ARRAY:
        raise msgspec.DecodeError(f"unknown extension {code}")
    import numpy as np

    packed = msgspec.msgpack.decode(data, type=_Array)
    return np.frombuffer(packed.data, dtype=packed.dtype).reshape(packed.shape)


_encoder = msgspec.msgpack.Encoder(enc_hook=_hook)
_to_worker = msgspec.msgpack.Decoder(ToWorker, ext_hook=_found)
_from_worker = msgspec.msgpack.Decoder(FromWorker, ext_hook=_found)


def encode(message: ToWorker | FromWorker) -> bytes:
    """Raises `InvalidRequest` for an input that cannot cross to another process."""
    try:
        return _encoder.encode(message)
    except (TypeError, ValueError, OverflowError) as exc:
        if isinstance(exc, InvalidRequest):
            raise
        raise InvalidRequest(f"this input cannot go to a model in another process: {exc}", status=400) from exc


def decode_to_worker(frame: bytes) -> ToWorker:
    """Raises `msgspec.MsgspecError` for what is no message."""
    found: ToWorker = _to_worker.decode(frame)
    return found


def decode_from_worker(frame: bytes) -> FromWorker:
    """Raises `msgspec.MsgspecError` for what is no message."""
    found: FromWorker = _from_worker.decode(frame)
    return found
