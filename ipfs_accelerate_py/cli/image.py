"""``ipfs-accelerate image``: pictures for a description."""

from __future__ import annotations

import os
from typing import Any

import click

from ipfs_accelerate_py.cli.asking import ask, model_option, one_text, plain_usage, usage_option
from ipfs_accelerate_py.cli.files import force_option, refuse_existing, write_file
from ipfs_accelerate_py.cli.helping import Command, common_options, option
from ipfs_accelerate_py.cli.options import free_options, merged
from ipfs_accelerate_py.cli.selection import Connection, connection_options
from ipfs_accelerate_py.cli.terminal import Terminal
from ipfs_accelerate_py.results import Image

__all__ = ["command"]

EXAMPLES = (
    ('ipfs-accelerate image -m openai/gpt-image-1 "A lake at sunset" --output lake.png', "Into a file"),
    (
        'ipfs-accelerate image -m openai/dall-e-3 --size 1024x1024 "A lake at sunset"',
        "As a URL, where the model gives one",
    ),
    (
        'ipfs-accelerate image -m openai/gpt-image-1 -n 3 "A lake" --output lake.png',
        "lake-1.png, lake-2.png, lake-3.png",
    ),
)


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("prompt", nargs=-1, metavar="[PROMPT]...")
@model_option()
@option("-n", "--count", type=click.IntRange(min=1), metavar="N", default=1, section="Model", help="How many.")
@option("--size", metavar="WxH", section="Model", help="Width and height in pixels, of those that the model has.")
@free_options("Model")
@option(
    "--output",
    metavar="FILE",
    section="Output",
    help="Write the picture here; several as FILE-1, FILE-2, ... Without it, URLs are printed.",
)
@force_option
@usage_option("Output")
@connection_options()
@common_options
@click.pass_obj
def command(
    terminal: Terminal,
    prompt: tuple[str, ...],
    model: str | None,
    count: int,
    size: str | None,
    options: tuple[tuple[str, Any], ...],
    output: str | None,
    force: bool,
    show_usage: bool,
    connection: Connection,
) -> None:
    """Make pictures for a description.

    The words of PROMPT are the description. Without PROMPT (or with - in its place) it is read from stdin.

    Some models give URLs, which are printed, and last an hour or so; with --output they are asked for the picture
    itself. Others give nothing but the picture, and need --output.
    """
    paths = _paths(output, count)
    for path in paths:
        refuse_existing(path, force)
    wanted = one_text(prompt, "the description")
    free = dict(options)
    # The newer models always send the picture itself, and refuse to be asked for it.
    asked = (
        "b64_json"
        if output is not None and "response_format" not in free and "gpt-image" not in (model or "")
        else None
    )
    call = merged(options, size=size, n=count if count > 1 else None, response_format=asked, **connection.per_call())
    reply = ask(
        terminal,
        model,
        connection,
        lambda client, name: client.generate_images(name, wanted, **call),
        show_usage=show_usage,
    )
    found = [
        _kept(image, path, force) for image, path in zip(reply.images, _filled(paths, len(reply.images)), strict=True)
    ]
    if terminal.json:
        terminal.data({"images": found, **plain_usage(reply)})
        return
    for each in found:
        terminal.write(f"{each['file'] or each['url']}\n")


def _paths(output: str | None, count: int) -> list[str]:
    if output is None:
        return []
    if output == "-":
        raise click.UsageError("pictures are written to files: name one with --output")
    if count == 1:
        return [output]
    stem, ending = os.path.splitext(output)
    return [f"{stem}-{number}{ending}" for number in range(1, count + 1)]


def _filled(paths: list[str], count: int) -> list[str | None]:
    """A path for each picture, of which a service may send fewer or more than were asked for."""
    return [*paths[:count], *[None] * (count - len(paths))]


def _kept(image: Image, path: str | None, force: bool) -> dict[str, Any]:
    """What became of a picture. Raises where it would be lost, having been paid for."""
    if image.data:
        if path is None:
            raise click.UsageError("the service sent a picture and no URL: name a file for it with --output")
        write_file(path, image.data, force)
    file = path if image.data else None
    return {
        "file": file,
        "url": image.url or None,
        "media_type": image.media_type or None,
        "prompt": image.prompt or None,
    }
