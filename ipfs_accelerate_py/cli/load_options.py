"""What the options of ``bench load`` mean: who is asked, what, when, and how much of it."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import click

from ipfs_accelerate_py.bench.arrivals import Closed, Load, Open, levels
from ipfs_accelerate_py.bench.load.mix import Dataset, Length, Mix, Synthetic
from ipfs_accelerate_py.bench.load.runner import Bounds
from ipfs_accelerate_py.bench.load.session import Plan
from ipfs_accelerate_py.bench.load.slo import Objective
from ipfs_accelerate_py.bench.load.targets import shown
from ipfs_accelerate_py.cli.selection import Connection, choose_target, named_model, split_model
from ipfs_accelerate_py.errors import MissingCredential

__all__ = ["Given", "mix_of", "plan_of", "spoken", "targets_of"]

Given = Mapping[str, Any]
"""The options by name."""


def plan_of(given: Given) -> Plan:
    """What is to be done. Raises `click.UsageError` and `ConfigurationError` for what does not go together."""
    ways = [name for name in ("concurrency", "rate", "find_rate", "find_concurrency") if given[name] is not None]
    if len(ways) > 1:
        raise click.UsageError(" and ".join(f"--{name.replace('_', '-')}" for name in ways) + ": one of them")
    way = ways[0] if ways else "concurrency"
    searching = way.startswith("find")
    wanted = _bounds_of_search(given[way]) if searching else levels(given[way] if ways else "8")
    load: Load
    if way.endswith("rate"):
        if given["think"]:
            raise click.UsageError("--think is for callers who wait: arrivals at a rate have none")
        if given["arrivals"] == "constant" and given["burstiness"] != 1:
            raise click.UsageError("--burstiness is for --arrivals poisson")
        shape = math.inf if given["arrivals"] == "constant" else given["burstiness"]
        load = Open(wanted[0], burstiness=shape, ramp=given["ramp"], seed=given["seed"])
        in_flight = given["max_in_flight"] or 256
    else:
        load = Closed(1, think=given["think"], ramp=given["ramp"], seed=given["seed"])
        for level in wanted:
            load.at(level)
        in_flight = given["max_in_flight"] or int(max(wanted))
    duration = given["duration"]
    if duration is None and given["requests"] is None:
        duration = 30.0
    return Plan(
        load,
        () if searching else wanted,
        Bounds(given["requests"], duration, in_flight, given["drain"]),
        rounds=given["rounds"] or (2 if given["beside"] else 1),
        objective=None if given["slo"] is None else Objective.parse(given["slo"]),
        goodput=given["goodput"],
        find=(wanted[0], wanted[-1]) if searching else None,
        precision=given["precision"],
        warm_up=given["warm_up"],
        settle=given["settle"],
    )


def _bounds_of_search(text: str) -> list[float]:
    found = levels(text.replace(":", ","))
    if text.count(":") != 1 or len(found) != 2:
        raise click.UsageError(f"{text!r} is no range to search in: LOW:HIGH")
    return found


def mix_of(given: Given) -> Mix:
    """What is asked."""
    options = dict(given["options"])
    if given["dataset"] is not None:
        return Dataset(given["dataset"], given["kind"], options)
    return Synthetic(
        given["kind"],
        tokens=Length.parse(given["input_tokens"]),
        output=Length.parse(given["output_tokens"]),
        batch=given["batch_size"],
        shared=given["shared_tokens"],
        seed=given["seed"],
        options=options,
    )


def targets_of(connection: Connection, given: Given) -> list[tuple[str, str, Connection]]:
    """Backend, model and connection of each target."""
    if given["url"] is not None:
        if connection.base_url is not None:
            raise click.UsageError("--url and --base-url are the same: one of them")
        connection = replace(connection, base_url=_with_version(given["url"]))
    model = named_model(given["model"])
    if model is None:
        raise click.UsageError("no model: name one with -m MODEL")
    backend, name = choose_target(model, connection)
    found = [(backend, name, connection)]
    beside = given["beside"]
    if beside is None:
        if given["beside_key_env"] is not None:
            raise click.UsageError("--beside-key-env is the key of --beside, which is missing")
        return found
    key = _key(given["beside_key_env"])
    if "://" in beside:
        own = Connection(None, _with_version(beside), key, connection.settings, connection.timeout)
        return [*found, ("llvm", name, own)]
    other, rest = split_model(beside)
    own = Connection(other or beside, None, key, connection.settings, connection.timeout)
    return [*found, (*choose_target(rest if other else name, own), own)]


def _key(variable: str | None) -> dict[str, str] | None:
    if variable is None:
        return None
    value = os.environ.get(variable, "").strip()
    if not value:
        raise MissingCredential(f"the environment variable {variable} (--beside-key-env) is not set")
    return {variable: value}


def _with_version(url: str) -> str:
    """``http://host:8000`` as ``http://host:8000/v1``, where OpenAI's format is; an address with a path stays."""
    parts = urlsplit(url)
    return parts._replace(path="/v1").geturl() if parts.path in ("", "/") else url


def spoken(ctx: click.Context) -> str:
    """The command as it was typed, without what may be secret in it."""
    words = [ctx.command_path]
    for parameter in ctx.command.params:
        value = ctx.params.get(parameter.name or "")
        source = ctx.get_parameter_source(parameter.name or "")
        if source is None or source.name != "COMMANDLINE" or not parameter.expose_value:
            continue
        name = max(parameter.opts, key=len)
        if isinstance(parameter, click.Option) and parameter.is_flag:
            words.append(name if value else (parameter.secondary_opts or [name])[0])
        elif parameter.name == "options":
            words += [f"--option {key}=..." for key, _ in value or ()]
        else:
            words += [name, _quoted(str(value))]
    return " ".join(words)


def _quoted(text: str) -> str:
    return shlex.quote(shown(text) if "://" in text else text)
