# SPDX-License-Identifier: Apache-2.0
"""Many things compared."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from ..front import (
    Json,
    Progress,
    app,
    err,
    kept,
    show_json,
)

__all__ = ["accuracy", "sweep"]

PANEL = "Studies"


@app.command(rich_help_panel=PANEL)
def accuracy(
    formats: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FORMAT]...", help="Those of the registry by default."),
    ] = None,
    only: Annotated[
        str | None, typer.Option(metavar="tensors|perplexity", help="One half of the table.")
    ] = None,
    tokens: Annotated[
        int, typer.Option(help="Of the text, for perplexity: 2 to 512, or a multiple of 512.")
    ] = 2048,
    train: Annotated[
        bool, typer.Option("--train", help="Weights of the examples fashion and har as well: "
                                           "trained, or from the cache.")
    ] = False,
    out: Annotated[
        Path, typer.Option(help="The table; rows that it has are not measured again.")
    ] = Path("reports/accuracy.csv"),
    as_json: Json = False,
):
    """What each number format costs: error on real tensors, perplexity of a language model."""
    from .. import accuracy_view
    from ..accuracy import accuracy as run

    with kept(f"what was measured is in {out}"), Progress(as_json) as progress:
        found = run(formats or (), out=out, only=only, tokens=tokens, train=train,
                    progress=progress)
    if as_json:
        show_json(accuracy_view.describe(found))
    else:
        Console().print(accuracy_view.show(found, out), highlight=False)


@app.command(rich_help_panel=PANEL)
def sweep(
    config: Annotated[
        Path, typer.Argument(metavar="SWEEP.toml", help="A configuration, and values to try.")
    ],
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Of a Dask cluster, tcp://HOST:PORT; "
                                                         "processes here by default.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes at once; one per processor by default.")
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="FOLDER|FILE.sqlite", help="Where results are kept.")
    ] = Path("build/sweeps"),
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", help="Draw two columns, --x and --y.")
    ] = None,
    x: Annotated[str | None, typer.Option(metavar="COLUMN", help="Of --plot.")] = None,
    y: Annotated[str | None, typer.Option(metavar="COLUMN", help="Likewise.")] = None,
    as_json: Json = False,
):
    """Many configurations measured, each once: interrupted, the same command goes on."""
    from .. import sweep_view
    from ..sweep import sweep as run

    sweep_view.check_plot(plot, x, y)
    try:
        with sweep_view.follow(err, quiet=as_json) as progress:
            found = run(config, out=out, scheduler=scheduler, jobs=jobs, progress=progress)
    except KeyboardInterrupt as stopped:
        err.print(escape(str(stopped) or "interrupted"), highlight=False, soft_wrap=True)
        raise typer.Exit(130) from None
    if plot is not None:
        sweep_view.plot(found, plot, x=x, y=y)
    if as_json:
        show_json(found)
    else:
        Console().print(sweep_view.show(found), highlight=False)
    raise typer.Exit(1 if found["counts"]["failed"] else 0)
