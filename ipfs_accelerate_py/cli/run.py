"""``ipfs-accelerate run``: any task of a model on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ipfs_accelerate_py.cli.helping import Command, common_options, option
from ipfs_accelerate_py.cli.options import free_options, merged
from ipfs_accelerate_py.cli.terminal import Terminal

__all__ = ["command"]

RUNTIMES = ("auto", "torch", "openvino", "llvm")
PRECISIONS = ("auto", "float32", "bfloat16", "float16", "int8", "int8-weights", "int4")
EXAMPLES = (
    ('ipfs-accelerate run bert --task fill-mask "The capital of France is [MASK]."', "What may stand there"),
    ("ipfs-accelerate run detr-resnet-50 @street.jpg --json", "What is in a picture: @ reads a file"),
    ("ipfs-accelerate run whisper-small @talk.wav", "The model's own task, where none is named"),
    (
        'ipfs-accelerate run roberta-squad \'{"question": "Who?", "context": "It was Ada."}\'',
        "An input of several parts, as JSON",
    ),
    ("ipfs-accelerate run all-MiniLM-L6-v2 --runtime openvino --precision int8 Hello", "By another runtime"),
)


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("model")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@option("--task", metavar="NAME", section="Model", help="Hugging Face's name of it.  [default: the model's own]")
@option("--runtime", type=click.Choice(RUNTIMES), section="Model", help="What computes.  [default: auto]")
@option("--device", metavar="NAME", section="Model", help="cpu, cuda, cuda:1, mps, xpu.  [default: auto]")
@option("--precision", type=click.Choice(PRECISIONS), section="Model", help="Of its weights.  [default: auto]")
@option("--memory", metavar="SIZE", section="Model", help="Most memory for models: 4GB, 512MB.")
@option("--models", metavar="FOLDER", multiple=True, section="Model", help="Look for the model here first.")
@free_options("Model")
@option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", section="Model", help="In all.")
@common_options
@click.pass_obj
def command(
    terminal: Terminal,
    model: str,
    inputs: tuple[str, ...],
    task: str | None,
    runtime: str | None,
    device: str | None,
    precision: str | None,
    memory: str | None,
    models: tuple[str, ...],
    options: tuple[tuple[str, Any], ...],
    timeout: float | None,
) -> None:
    """Do any task with a model on this machine.

    MODEL is a name that `ipfs-accelerate models --local` lists, a model type (bert), or the path of a folder or GGUF
    file. Each INPUT is one input: a text, @FILE for a file's bytes (pictures, recordings) or a text file's text, or a
    JSON object, in which "@FILE" stands for a file as well.
    """
    from ipfs_accelerate_py.sync import Client

    given = [_input(each) for each in inputs]
    told = merged((), runtime=runtime, device=device, precision=precision, memory=memory, models=list(models) or None)
    with Client("local", **told) as client:
        reply = client.run(model, given, task=task, **merged(options, timeout=timeout))
    from ipfs_accelerate_py.plain_results import as_json, as_plain

    if terminal.json:
        terminal.data({"model": reply.model, "results": [as_json(each) for each in reply.results]})
        return
    for result in reply.results:
        for line in _lines(as_plain(result)):
            terminal.write(line + "\n")


_TEXTS = frozenset((".txt", ".md", ".csv", ".json", ".html", ".py"))


def _input(text: str) -> Any:
    if text.startswith("@"):
        return _file(text[1:])
    if text.startswith("{") and text.endswith("}"):
        try:
            found = json.loads(text)
        except ValueError:
            return text
        return _with_files(found)
    return text


def _with_files(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_files(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_with_files(each) for each in value]
    return _file(value[1:]) if isinstance(value, str) and value.startswith("@") else value


def _file(name: str) -> str | bytes:
    path = Path(name).expanduser()
    try:
        if path.suffix.lower() in _TEXTS:
            return path.read_text(encoding="utf-8")
        return path.read_bytes()
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _lines(result: dict[str, Any]) -> list[str]:
    """A result for people: a text as it is, lists a line an entry, arrays by their first numbers."""
    if isinstance(text := result.get("text"), str):
        return [text]
    lines = []
    for name, value in result.items():
        if isinstance(value, bytes):
            lines.append(f"{name}: {len(value)} bytes")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            lines += ["\t".join(_shown(each) for each in entry.values()) for entry in value]
        elif name == "masks" and isinstance(value, list) and value and isinstance(value[0], list):
            lines += [f"{fill['score']:.4f}\t{fill['token']}\t{fill['text']}" for mask in value for fill in mask]
        else:
            lines.append(f"{name}: {_shown(value)}")
    return lines


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, list) and len(value) > 8:
        return f"[{', '.join(_shown(each) for each in value[:4])}, ... {len(value)} in all]"
    if isinstance(value, list):
        return f"[{', '.join(_shown(each) for each in value)}]"
    if isinstance(value, dict):
        return ", ".join(f"{name}={_shown(each)}" for name, each in value.items())
    return str(value)
