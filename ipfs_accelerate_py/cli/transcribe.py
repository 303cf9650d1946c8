"""``ipfs-accelerate transcribe``: recordings into text."""

from __future__ import annotations

import os
from typing import Any

import click

from ipfs_accelerate_py.cli.asking import ask, model_option, plain_usage, usage_option
from ipfs_accelerate_py.cli.files import force_option, read_file, refuse_existing, write_file
from ipfs_accelerate_py.cli.helping import Command, common_options, option
from ipfs_accelerate_py.cli.options import free_options, merged
from ipfs_accelerate_py.cli.selection import Connection, connection_options
from ipfs_accelerate_py.cli.terminal import Terminal

__all__ = ["command"]

FORMATS = ("text", "srt", "vtt")
EXAMPLES = (
    ("ipfs-accelerate transcribe -m openai/gpt-4o-transcribe talk.mp3", "What was said, on stdout"),
    (
        "ipfs-accelerate transcribe -m groq/whisper-large-v3 talk.mp3 --output talk.srt",
        "Subtitles, by the file's ending",
    ),
    ("ipfs-accelerate transcribe -m openai/whisper-1 --translate talk.ogg", "In English"),
    (
        "ipfs-accelerate transcribe -m openai/whisper-1 --json talk.wav | jq -r '.segments[].text'",
        "With times, as JSON",
    ),
)


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("recording", metavar="FILE")
@model_option()
@option("--language", metavar="CODE", section="Model", help="What is spoken, such as de; else the model finds out.")
@option("--prompt", metavar="TEXT", section="Model", help="Names and words that occur, or what was said before.")
@option("--translate", is_flag=True, section="Model", show_default=False, help="Give the text in English.")
@free_options("Model")
@option("--filename", metavar="NAME", section="Input", help="What stdin is; its ending tells the service the format.")
@option("--output", metavar="FILE", section="Output", help="Write here instead of to stdout.")
@option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    section="Output",
    help="Plain text, or subtitles.  [default: by the ending of --output, else text]",
)
@force_option
@usage_option("Output")
@connection_options()
@common_options
@click.pass_obj
def command(
    terminal: Terminal,
    recording: str,
    model: str | None,
    language: str | None,
    prompt: str | None,
    translate: bool,
    options: tuple[tuple[str, Any], ...],
    filename: str | None,
    output: str | None,
    form: str | None,
    force: bool,
    show_usage: bool,
    connection: Connection,
) -> None:
    """Write down what is said in a recording.

    FILE is the recording; - is stdin. Which formats can be heard is the service's affair: mp3, m4a, wav, flac, ogg and
    webm mostly can.

    With --json, the text and, where the service tells them, its segments: start and end in seconds, and text.
    """
    refuse_existing(output, force)
    sound = read_file(recording)
    if not sound:
        raise click.UsageError("the recording is empty")
    if terminal.json and (form is not None or output is not None):
        raise click.UsageError("--json gives all there is on stdout, without --format or --output")
    wanted = form or _by_ending(output)
    call = merged(
        options,
        language=language,
        prompt=prompt,
        response_format=_format(wanted, model or "", terminal.json, dict(options)),
        **connection.per_call(),
    )
    name = filename or (os.path.basename(recording) if recording != "-" else "audio.wav")
    reply = ask(
        terminal,
        model,
        connection,
        lambda client, model: client.transcribe(model, sound, filename=name, translate=translate, **call),
        show_usage=show_usage,
    )
    if terminal.json:
        segments = [_segment(each.start, each.end, each.text, each.speaker) for each in reply.segments]
        terminal.data({"text": reply.text, "segments": segments, **plain_usage(reply)})
        return
    text = reply.text if reply.text.endswith("\n") else reply.text + "\n"
    if output in (None, "-"):
        terminal.write(text)
    else:
        write_file(output, text.encode(), force)
        terminal.note(f"written to {output}")


def _by_ending(output: str | None) -> str:
    ending = os.path.splitext(output or "")[1].lstrip(".").lower()
    return ending if ending in FORMATS else "text"


def _format(wanted: str, model: str, as_json: bool, options: dict[str, Any]) -> str | None:
    """What to ask of the service. Times come with whisper's answers alone, and with those of servers like it."""
    if "response_format" in options:
        return None
    if wanted != "text":
        return wanted
    return "verbose_json" if as_json and "whisper" in model else None


def _segment(start: float, end: float, text: str, speaker: str) -> dict[str, Any]:
    found: dict[str, Any] = {"start": start, "end": end, "text": text}
    return {**found, "speaker": speaker} if speaker else found
