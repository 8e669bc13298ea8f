# SPDX-License-Identifier: Apache-2.0
"""The catalogue: formats, units, and what units cost."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from ..errors import BadInput
from ..front import Json, Progress, app, err, kept, show_json

__all__ = ["characterise", "energy", "export", "formats", "predict", "synth", "units"]

PANEL = "Formats and units"


@app.command(rich_help_panel=PANEL)
def formats(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="One of them, in full.")
    ] = None,
    as_json: Json = False,
):
    """Number formats: all of them, or one with its layout, values, special codes and source."""
    from ..format_view import show_all, show_one
    from ..formats import describe
    from ..quant import formats as known

    console = Console()
    if name is None:
        found, page = [describe(known.get(each), full=False) for each in known.names()], show_all
    else:
        try:
            found, page = describe(known.get(name)), show_one
        except ValueError as error:
            raise BadInput(str(error)) from None
    if as_json:
        show_json(found)
    else:
        console.print(page(found, console.width), highlight=False)


@app.command(rich_help_panel=PANEL)
def units(as_json: Json = False):
    """Hardware units: the catalogue with formats, lanes, latency, and how each is verified."""
    from .. import unit_view
    from ..hw import catalogue
    from ..units import describe

    found = [describe(preset) for preset in catalogue.PRESETS]
    if as_json:
        show_json(found)
    else:
        console = Console()
        console.print(unit_view.show_catalogue(found), highlight=False)


@app.command(rich_help_panel=PANEL)
def export(
    unit: Annotated[
        str,
        typer.Argument(metavar="UNIT", help="A preset, such as mixpe-w4a8; or a unit, such as "
                                            "MixPE or pe/mixpe, with --preset or --set."),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="New or empty folder.")],
    preset: Annotated[
        str | None, typer.Option(metavar="NAME", help="Preset of the unit.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE",
                     help="A parameter, such as lanes=8 or activation=int16; may be repeated."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of the module; after the unit otherwise.")
    ] = None,
    vectors: Annotated[int, typer.Option(help="Transfers among the golden vectors.")] = 4096,
    seed: Annotated[int, typer.Option(min=0, help="Of the random ones.")] = 0,
    as_json: Json = False,
):
    """A unit for use elsewhere: Verilog, wrapper, description, golden vectors, test bench.

    Ports in this order: clk, rst (with registers only), payload, valid, ready of i, then of o.
    """
    from ..export import export as write
    from ..unit_choice import choose

    choice = choose(unit, preset=preset, settings=settings or ())
    found = write(choice, out, name=name, vectors=vectors, seed=seed)
    if as_json:
        show_json(found)
        return
    own, console = found["name"], Console()
    counts = found["vectors"]
    for file, what in (
        (f"{own}.v", f"Verilog, module {own}: {found['declaration']}"),
        (f"{own}_wrapper.sv", "the same with named fields"),
        (f"{own}.json", "ports, fields, latency, formats, equation, sources, tools"),
        (f"{own}_i.hex, {own}_o.hex",
         f"golden vectors: {counts['inputs']:,} transfers, {counts['outputs']:,} results"),
        (f"tb_{own}.sv", "self-checking test bench; how to run it stands at its top"),
    ):
        console.print(f"[bold]{escape(file)}[/]  {escape(what)}", highlight=False, soft_wrap=True)
    console.print(f"Written to {escape(str(out))}", highlight=False, soft_wrap=True)


@app.command(rich_help_panel=PANEL)
def synth(
    unit: Annotated[str, typer.Argument(metavar="UNIT", help="One of the catalogue.")],
    family: Annotated[str, typer.Option(help="ecp5, ice40 or gowin.")] = "ecp5",
    dsp: Annotated[bool, typer.Option(help="Use DSP blocks where they fit.")] = True,
    timing: Annotated[bool, typer.Option(help="Place and route for Fmax, three times.")] = True,
    as_json: Json = False,
):
    """LUTs, flip-flops, DSP blocks, block RAM and Fmax of a unit on a family of FPGAs."""
    from .. import synth as units

    with Progress(as_json) as progress:
        found = units.synth(unit, family=family, dsp=dsp, timing=timing, progress=progress)
    if as_json:
        show_json(found)
    else:
        Console().print(units.show(found), highlight=False)


@app.command(rich_help_panel=PANEL)
def characterise(
    units: Annotated[
        list[str] | None, typer.Argument(metavar="[UNIT…]", help="Of the catalogue, or arrays "
                                                                 "such as array-int8.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every unit and array.")] = False,
    family: Annotated[
        list[str] | None,
        typer.Option(help="ecp5, ice40, gowin, or gates for CMOS gates; may be repeated. "
                          "Default: all."),
    ] = None,
    lanes: Annotated[
        list[int] | None,
        typer.Option(help="Where lanes are a parameter; may be repeated. Default: the unit's."),
    ] = None,
    dsp: Annotated[
        bool | None,
        typer.Option(help="Only with DSP blocks, or only without. Default: both."),
    ] = None,
    timing: Annotated[bool, typer.Option(help="Place and route for Fmax.")] = True,
    seeds: Annotated[int, typer.Option(help="Placements of each.")] = 5,
    jobs: Annotated[int | None, typer.Option(help="Processes. Default: one per core.")] = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE.csv", help="The table. Its other rows stay.")
    ] = Path("reports/resources.csv"),
    as_json: Json = False,
):
    """Costs and Fmax of units into a table; what is known is not measured again."""
    from ..characterise import characterise as run
    from ..characterise_view import show

    with Progress(as_json) as progress, kept(f"what was measured is in {out}"):
        found = run(units or (), every=every, families=family or (), lanes=lanes or (), dsp=dsp,
                    timing=timing, seeds=seeds, jobs=jobs, out=out, progress=progress)
    if as_json:
        show_json(found)
    else:
        Console().print(show(found), highlight=False)
    for line in found["errors"]:
        err.print(f"[bold red]error:[/] {escape(line)}", highlight=False, soft_wrap=True)
    raise typer.Exit(1 if found["errors"] else 0)


@app.command(rich_help_panel=PANEL)
def predict(
    unit: Annotated[
        str | None, typer.Argument(metavar="[UNIT]", help="As for export; or an array such as "
                                                          "array-int8.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(metavar="NAME", help="Preset of the unit.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A parameter; may be repeated."),
    ] = None,
    lanes: Annotated[int | None, typer.Option(help="Short for --set lanes=…")] = None,
    family: Annotated[
        list[str] | None,
        typer.Option(help="ecp5, ice40 or gowin; may be repeated. Default: all."),
    ] = None,
    dsp: Annotated[
        bool | None,
        typer.Option(help="Only with DSP blocks, or only without. Default: both."),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every measured unit from the others, into the table.")
    ] = False,
    jobs: Annotated[
        int | None, typer.Option(help="Processes for --all. Default: one per core.")
    ] = None,
    table: Annotated[
        Path, typer.Option(metavar="FILE.csv", help="What is fitted to; of --all, its result.")
    ] = Path("reports/estimator.csv"),
    as_json: Json = False,
):
    """LUTs and Fmax of a unit with any parameters, estimated in seconds, without synthesis."""
    from .. import predict_view

    if every == (unit is not None):
        raise BadInput("UNIT must be given, or --all for every measured unit, not both"
                       if every else "UNIT must be given, or --all for every measured unit")
    if every:
        for option, value in (("--preset", preset), ("--set", settings), ("--lanes", lanes),
                              ("--family", family), ("--dsp", dsp)):
            if value is not None and value != []:
                raise BadInput(f"{option} is for one UNIT, not for --all")
        from ..estimator import estimator

        with Progress(as_json) as progress, kept(f"{table} is as before"):
            found = estimator(table=table, jobs=jobs, progress=progress)
        shown = predict_view.show_errors(found)
    else:
        from ..predict import predict as run

        found = run(unit, preset=preset, settings=settings or (), lanes=lanes,
                    families=family or (), dsp=dsp, table=table)
        shown = predict_view.show(found)
    if as_json:
        show_json(found)
    else:
        Console().print(shown, highlight=False)


@app.command(rich_help_panel=PANEL)
def energy(
    units: Annotated[
        list[str] | None, typer.Argument(metavar="[UNIT…]", help="As for characterise.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every unit and array.")] = False,
    trace: Annotated[
        list[str] | None,
        typer.Option(help="Operands: uniform, digits or smollm2; may be repeated. Default: all."),
    ] = None,
    lanes: Annotated[
        list[int] | None,
        typer.Option(help="Where lanes are a parameter; may be repeated. Default: the unit's."),
    ] = None,
    jobs: Annotated[int | None, typer.Option(help="Processes. Default: one per core.")] = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE.csv", help="The table. Its other rows stay.")
    ] = Path("reports/energy.csv"),
    as_json: Json = False,
):
    """How much the gates of units switch for a product, relative to int8; no joules."""
    from ..energy import energy as run
    from ..energy_view import show

    with Progress(as_json) as progress, kept(f"what was measured is in {out}"):
        found = run(units or (), every=every, traces=trace or (), lanes=lanes or (), jobs=jobs,
                    out=out, progress=progress)
    if as_json:
        show_json(found)
    else:
        Console().print(show(found), highlight=False)
    for line in found["errors"]:
        err.print(f"[bold red]error:[/] {escape(line)}", highlight=False, soft_wrap=True)
    raise typer.Exit(1 if found["errors"] else 0)
