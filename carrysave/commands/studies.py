# SPDX-License-Identifier: Apache-2.0
"""Many things compared."""

import math
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from ..errors import BadInput
from ..front import (
    Json,
    Progress,
    app,
    err,
    kept,
    show_json,
)

__all__ = ["accuracy", "mixed", "report", "sweep"]

PANEL = "Studies"


@app.command(rich_help_panel=PANEL)
def accuracy(
    formats: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FORMAT]...", help="Those of the registry by default."),
    ] = None,
    only: Annotated[
        str | None, typer.Option(metavar="tensors|perplexity|tasks",
                                  help="One part of the table.")
    ] = None,
    tokens: Annotated[
        int, typer.Option(help="Of the text, for perplexity: 2 to 512, or a multiple of 512.")
    ] = 2048,
    train: Annotated[
        bool, typer.Option("--train", help="The examples fashion and har as well, trained or from "
                                           "the cache: their weights, and tasks.")
    ] = False,
    out: Annotated[
        Path, typer.Option(help="The table; rows that it has are not measured again.")
    ] = Path("reports/accuracy.csv"),
    as_json: Json = False,
):
    """What each number format costs: error on real tensors, perplexity, accuracy of networks."""
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
def mixed(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG.toml", help="Of a network that is trained.")
    ],
    board: Annotated[
        str | None, typer.Option(help="Whose LUTs are counted. Default: the configuration's first.")
    ] = None,
    widths: Annotated[
        list[int] | None, typer.Option("--width", metavar="BITS", help="2 to 8; may be repeated. "
                                                                       "Default: all.")
    ] = None,
    columns: Annotated[
        list[int] | None, typer.Option(metavar="N", help="Of engines to choose from; may be "
                                                         "repeated. Default: the configuration's.")
    ] = None,
    lut: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="The most LUTs. Default: the board's.")
    ] = None,
    cycles: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="The most cycles for a sample.")
    ] = None,
    memory: Annotated[
        float | None, typer.Option(min=0.01, metavar="KIB", help="The most memory on chip. "
                                                                "Default: the board's block RAM.")
    ] = None,
    points: Annotated[int, typer.Option(help="Of the front of memory and loss.")] = 9,
    sensitivity: Annotated[
        str, typer.Option(metavar="loss|hessian", help="What fewer bits of a layer cost: loss on "
                                                       "samples, or trace of the Hessian.")
    ] = "loss",
    samples: Annotated[int, typer.Option(help="Of the training set, for sensitivities.")] = 2000,
    out: Annotated[
        Path, typer.Option(metavar="FILE.csv", help="The table; rows of other networks stay.")
    ] = Path("reports/mixed.csv"),
    write: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="The configuration of the choice "
                                                            "within the budgets.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", help="Draw accuracy against memory.")
    ] = None,
    as_json: Json = False,
):
    """Bits of each layer's weights under budgets of LUTs, cycles, memory; the front, measured."""
    from .. import mixed_view
    from ..mixed import mixed as run

    if plot is not None and plot.suffix != ".svg":
        raise BadInput(f"--plot: must end in .svg, not {plot.suffix or plot.name!r}")
    if memory is not None and not math.isfinite(memory):
        raise BadInput(f"--memory: must be a number of KiB, not {memory}")
    if plot is not None and not plot.parent.is_dir():
        raise BadInput(f"--plot: {plot.parent} is no folder")
    if write is not None and write.suffix != ".toml":
        raise BadInput(f"--write: must end in .toml, not {write.suffix or write.name!r}")
    budgets = {"lut4": lut, "cycles": cycles,
               "memory_bits": memory and math.floor(memory * 8192)}
    chosen = {"widths": widths} if widths else {}
    with kept("what was trained and synthesised is in the cache"), Progress(as_json) as progress:
        found = run(config, board=board, columns=columns or (), budgets=budgets, points=points,
                    method=sensitivity, samples=samples, out=out, write=write, progress=progress,
                    **chosen)
    if plot is not None:
        mixed_view.plot(found, plot)
    if as_json:
        show_json(found)
    else:
        Console().print(mixed_view.show(found), highlight=False)


@app.command(rich_help_panel=PANEL)
def report(
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="The site; what was there before goes.")
    ] = Path("reports/site"),
    reports: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Tables and evidence.")
    ] = Path("reports"),
    builds: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Builds, whose ledgers are shown as well.")
    ] = Path("build"),
    as_json: Json = False,
):
    """A site of everything measured: explorer, units, formats, engines, findings, ledger."""
    from ..site import build_site

    with Progress(as_json) as progress:
        found = build_site(out, reports=reports, builds=builds, progress=progress)
    if as_json:
        show_json(found)
        return
    console = Console()
    console.print(f"{found['pages']} pages, {found['figures']} figures, {found['points']} points: "
                  f"{escape(found['index'])}", highlight=False, soft_wrap=True)
    for name, command in found["missing"].items():
        console.print(f"[dim]{name} is missing: {escape(command)}[/]", highlight=False,
                      soft_wrap=True)


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
