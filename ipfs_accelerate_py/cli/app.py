"""The program: its commands by name, each imported when it is used."""

from __future__ import annotations

from importlib import import_module

import click

from ipfs_accelerate_py._version import __version__
from ipfs_accelerate_py.cli.failures import EXIT_CODES
from ipfs_accelerate_py.cli.helping import Group, Rows, common_options
from ipfs_accelerate_py.cli.running import PROGRAM

__all__ = ["COMMANDS", "Program", "app"]

#: Module of this package by command (its ``command`` is the command), and the line that the program's help shows.
COMMANDS: dict[str, str] = {
    "serve": "Serve an OpenAI-compatible gateway in front of every backend.",
    "chat": "Ask a model, once or in a conversation.",
    "embed": "Turn texts into vectors.",
    "rerank": "Order documents by how well each answers a question.",
    "transcribe": "Write down what is said in a recording.",
    "speak": "Speak a text aloud, into a file.",
    "image": "Make pictures for a description.",
    "moderate": "Have texts judged: whether each is flagged, and for what.",
    "count": "Count the tokens that a prompt is for a model.",
    "run": "Do any task with a model on this machine.",
    "batch": "Hand in many requests at once, and fetch the answers later.",
    "models": "List the models that can be used.",
    "hardware": "Show what this machine can compute with, and why not more.",
    "pull": "Have an Ollama server fetch a model.",
    "simulate": "Run a simulated provider, with faults, to test against.",
    "check": "Make true round trips with every backend, and show what works.",
    "store": "Keep files and models in an S3-compatible store.",
    "usage": "Calls, tokens and US dollars, from the ledger.",
    "monitoring": "Write a Grafana dashboard and Prometheus rules for a gateway.",
    "matrix": "Show what runs where, how fast and how well, by running it.",
    "bench": "Measure models on this machine, and services under load.",
    "tests": "Make pytest modules for checkpoints of your own; verify them.",
    "config": "Show and check the configuration; write a template for it.",
}


class Program(Group):
    """A group whose commands are modules, imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"ipfs_accelerate_py.cli.{cmd_name}").command
        return command

    def command_rows(self, ctx: click.Context) -> Rows:
        return list(COMMANDS.items())  # without importing every command to ask it

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(int(code)), meaning) for code, meaning in EXIT_CODES.items()])


@click.group(
    cls=Program,
    name=PROGRAM,
    invoke_without_command=True,
    epilog="`ipfs-accelerate COMMAND --help` explains a command and shows examples.",
)
@click.version_option(__version__, message="%(prog)s %(version)s", prog_name=PROGRAM)
@common_options
@click.pass_context
def app(ctx: click.Context) -> None:
    """One interface to inference: hosted APIs, servers you run, and the hardware in this machine.

    Keys and addresses come from the environment, from .env, or from ~/.ipfs_api_credentials; `ipfs-accelerate config`
    shows what is found. Results go to stdout and everything else to stderr.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
