"""Which requests go into one job of the provider's: by what may be together, and by how much it takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

from ipfs_accelerate_py.batch_jobs.items import load_item
from ipfs_accelerate_py.batch_jobs.manifest import Manifest
from ipfs_accelerate_py.batch_jobs.spool import Requests
from ipfs_accelerate_py.dialects.batches import BatchFormat
from ipfs_accelerate_py.types import EmbedRequest

__all__ = ["Planned", "plan"]


class Planned(NamedTuple):
    """A part: its requests as lines, how many, and headers that its job needs."""

    number: int
    group: str
    lines: bytearray
    size: int
    headers: dict[str, str] | None


class _Open:
    """A part that is being filled."""

    def __init__(self, headers: dict[str, str] | None) -> None:
        self.lines = bytearray()
        self.count = 0
        self.inputs = 0
        self.headers = headers


async def plan(manifest: Manifest, requests: Requests, api: BatchFormat) -> AsyncIterator[Planned]:
    """The parts: always the same ones for the same requests. One of each group is in memory at a time."""
    most_requests, most_bytes, most_inputs = manifest.limits
    filling: dict[str, _Open] = {}
    number = 0
    for index in range(len(requests)):
        if index % 256 == 0:
            await asyncio.sleep(0)
        item = load_item(requests.read(index))
        name = f"{manifest.id}-{index}"
        group, line, headers = api.encode(name, item.call(name))
        inputs = len(item.request.input) if isinstance(item.request, EmbedRequest) else 0
        found = filling.get(group)
        if found is not None and (
            found.count >= most_requests
            or len(found.lines) + len(line) > most_bytes
            or (most_inputs and found.inputs + inputs > most_inputs)
        ):
            yield Planned(number, group, found.lines, found.count, found.headers)
            number += 1
            found = None
        if found is None:
            found = filling[group] = _Open(headers)
        found.lines += line
        found.count += 1
        found.inputs += inputs
    for group, found in filling.items():
        yield Planned(number, group, found.lines, found.count, found.headers)
        number += 1
