# SPDX-License-Identifier: Apache-2.0
"""What the commands share: the application, options, progress, JSON."""

import contextlib
import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

__all__ = ["Columns", "ConfigFile", "Inject", "Json", "Out", "Progress", "Rows", "app", "err",
           "kept", "show_json"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Low-bit neural network accelerators, exact from the trained model to the bitstream.",
)
err = Console(stderr=True)

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="What to build.")]
Out = Annotated[Path, typer.Option("--out", help="Folder for build folders.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Rows = Annotated[int | None, typer.Option(help="Another array than the file's.")]
Columns = Annotated[int | None, typer.Option(help="Likewise.")]
Inject = Annotated[
    str | None,
    typer.Option(
        metavar="MEMORY:INDEX[:BIT]",
        help="Flip one bit of the memory weight, scale or bias, to see the ledger find it.",
    ),
]


class Progress:
    """Lines of progress on standard error: a spinner on a terminal, else one line per stage."""

    def __init__(self, quiet):
        self.quiet = quiet
        self.status = None
        self.last = None

    def __enter__(self):
        if not self.quiet and err.is_terminal:
            self.status = err.status("starting")
            self.status.__enter__()
        return self

    def __exit__(self, *error):
        if self.status:
            self.status.__exit__(*error)

    def __call__(self, line):
        stage = line.split(": epoch")[0]
        if self.status:
            self.status.update(line)
        if not self.quiet and stage != self.last:
            err.print(f"[dim]·[/] {stage}", highlight=False)
        self.last = stage


def show_json(content):
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(content, indent=1) + "\n")


@contextlib.contextmanager
def kept(what):
    """Say what an interrupted command leaves, and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        err.print(f"interrupted; {what}; the same command goes on from there", highlight=False,
                  soft_wrap=True)
        raise typer.Exit(130) from None
