# SPDX-License-Identifier: Apache-2.0
"""Matrix engines and language models."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ..errors import BadInput
from ..front import Columns, Json, Progress, Rows, app, show_json
from ..ledger_view import first_difference

__all__ = ["estimate", "layers"]

PANEL = "Matrix engines"


@app.command(rich_help_panel=PANEL)
def estimate(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG.toml", help="A matrix engine and its workload.")
    ],
    rows: Rows = None,
    columns: Columns = None,
    activations: Annotated[
        str | None, typer.Option(metavar="FORMAT", help="Another format than the file's.")
    ] = None,
    weights: Annotated[str | None, typer.Option(metavar="FORMAT", help="Likewise.")] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", help="Draw the roofline.")
    ] = None,
    as_json: Json = False,
):
    """Cycles, traffic and utilisation of a network on a matrix engine, without simulation."""
    from .. import estimate_view
    from ..estimate import estimate as run
    from ..matrix_config import load_matrix_config

    if plot is not None and plot.suffix != ".svg":
        raise BadInput(f"--plot: must end in .svg, not {plot.suffix or plot.name!r}")
    content = load_matrix_config(
        config, rows=rows, columns=columns, activations=activations, weights=weights)
    with Progress(as_json) as progress:
        found = run(content, progress=progress)
    if plot is not None:
        estimate_view.plot(found, plot)
    if as_json:
        show_json(found)
    else:
        Console().print(estimate_view.show(found), highlight=False)


@app.command(rich_help_panel=PANEL)
def layers(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG.toml", help="A matrix engine, a model, formats.")
    ],
    rows: Rows = None,
    columns: Columns = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Other formats than the file's; may be repeated."),
    ] = None,
    all_blocks: Annotated[
        bool, typer.Option("--all-blocks", help="The golden and the cycle model alone, for every "
                                                "block of the model.")
    ] = False,
    as_json: Json = False,
):
    """Real layers of a language model on the RTL of a matrix engine: every result, every cycle."""
    from .. import layers as model
    from ..layers_view import show
    from ..matrix_config import load_matrix_config

    content = load_matrix_config(config, kinds=kind, rows=rows, columns=columns)
    ledger = None
    with Progress(as_json) as progress:
        if all_blocks:
            runs = model.all_blocks(content, progress=progress)
        else:
            ledger, runs = model.layers(content, progress=progress)
    if as_json:
        show_json({**({"ledger": ledger.to_json()} if ledger else {}), "runs": runs})
    else:
        Console().print(show(runs, ledger), highlight=False)
        if ledger and not ledger.exact:
            Console().print(f"[bold red]{first_difference(ledger)}[/]", highlight=False)
    raise typer.Exit(0 if ledger is None or ledger.exact else 1)
