# SPDX-License-Identifier: Apache-2.0
"""Networks, from training to the board."""

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ..errors import BadInput
from ..front import (
    ConfigFile,
    Inject,
    Json,
    Out,
    Progress,
    app,
    show_json,
)
from ..ledger_view import first_difference, ledger_table, status_of

__all__ = ["boards", "build", "demo", "flash", "infer", "locate", "verify"]

PANEL = "Networks"


@app.command(rich_help_panel=PANEL)
def demo(out: Out = Path("build"), as_json: Json = False):
    """The main job, on the shipped example: handwritten digits, to bitstreams for three boards."""
    from ..config import load_config

    config = load_config(Path(str(files("carrysave.examples") / "digits.toml")))
    raise typer.Exit(_build(config, out, chain=None, inject=None, as_json=as_json))


@app.command(rich_help_panel=PANEL)
def build(
    config: ConfigFile,
    out: Out = Path("build"),
    chain: Annotated[
        bool | None,
        typer.Option(help="Compare routed designs and bitstreams as well; with --chain, a tool "
                          "that is not installed is an error. Default: what is installed."),
    ] = None,
    locked: Annotated[
        bool,
        typer.Option("--locked", help="Refuse where a tool, the network or a bitstream is not "
                                      "what the manifest.json of the last build says."),
    ] = False,
    inject: Inject = None,
    as_json: Json = False,
):
    """Train or load → integer network → RTL → ledger → bitstreams → report page.

    Instead of a CONFIG.toml, the manifest.json of a build may be given: it is then repeated.
    """
    from .. import lock
    from ..config import load_config

    if config.suffix == ".json":
        content, manifest = lock.repeat(config)
    else:
        content = load_config(config)
        manifest = lock.read(out / content.name / "manifest.json") if locked else None
    raise typer.Exit(_build(content, out, chain=chain, inject=inject, as_json=as_json,
                            locked=manifest if locked else None))


def _build(config, out, *, chain, inject, as_json, locked=None):
    from .. import flow

    with Progress(as_json) as progress:
        built = flow.build(config, out, chain=chain is not False, locked=locked, fault=inject,
                           progress=progress)
    if as_json:
        show_json(built.ledger.to_json())
    else:
        _summary(built)
    return status_of(built.ledger, chain)


def _summary(built):
    console, evidence = Console(), built.evidence
    console.print(ledger_table(built.ledger))
    score = evidence["accuracy"]
    table = Table(title="Result", title_justify="left", show_header=False)
    shown = {
        key: "–" if score[key] is None else f"{100 * score[key]:.2f} %"
        for key in ("float", "trained", "integer")
    }
    table.add_row(
        f"accuracy on {score['samples']} held-out samples",
        f"float {shown['float']}, Brevitas {shown['trained']}, integer {shown['integer']}",
    )
    cycles = evidence["cycles"]
    table.add_row(
        "cycles",
        f"{cycles['total']} for {cycles['vectors']} vectors; "
        f"{cycles['macs_per_cycle']:.2f} of {cycles['peak_macs_per_cycle']} MACs per cycle overall",
    )
    for layer in cycles["layers"]:
        table.add_row(
            f"  {layer['name']}",
            f"array busy {100 * layer['utilisation']:.1f} % from first to last MAC; cycles: "
            f"{layer['prepare']} prepare, {layer['macs']} MAC, {layer['stalls']} stall, "
            f"{layer['drain']} drain",
        )
    for board in evidence["boards"]:
        used = ", ".join(
            f"{value['used']} of {value['available']} {key}"
            for key, value in board["resources"].items()
        )
        table.add_row(
            board["title"],
            f"{board['fmax_mhz']:.1f} MHz (clock {board['clock_mhz']:g}), {used}",
        )
    console.print(table)
    if not built.ledger.exact:
        console.print(f"[bold red]{first_difference(built.ledger)}[/]", highlight=False)
    console.print(f"Report: {built.folder / 'report.html'}", highlight=False, soft_wrap=True)


@app.command(rich_help_panel=PANEL)
def verify(
    subject: Annotated[
        str | None, typer.Argument(metavar="UNIT|CONFIG.toml", help="What to verify.")
    ] = None,
    all_units: Annotated[
        bool, typer.Option("--all-units", help="Every unit of the catalogue.")
    ] = False,
    mutants: Annotated[
        bool, typer.Option("--mutants", help="Of a unit: try 200 faults in its netlist as well.")
    ] = False,
    rtl: Annotated[
        Path | None,
        typer.Option("--rtl", metavar="FILE.v", help="Of a unit: somebody else's Verilog for it."),
    ] = None,
    top: Annotated[
        str | None, typer.Option(help="Module in that file; by default called as the file is.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=1, help="Of a unit: seconds for each proof.")
    ] = 120,
    inject: Inject = None,
    netlists: Annotated[
        bool | None,
        typer.Option("--netlists/--no-netlists",
                     help="Compare the netlists as well, as is the default; they must be "
                          "synthesised first."),
    ] = None,
    chain: Annotated[
        bool,
        typer.Option("--chain", help="Everything: netlists, routed designs, bitstreams taken "
                                     "apart again. A tool that is not installed is an error."),
    ] = False,
    as_json: Json = False,
):
    """The ledger alone: of a unit, of all units, or of a configuration without place and route."""
    if (subject is None) != all_units:
        raise BadInput("Subject must be a UNIT or a CONFIG.toml, or else --all-units: "
                       f"not {'neither' if subject is None else 'both'}")
    if subject is not None and (subject.endswith(".toml") or Path(subject).is_file()):
        raise typer.Exit(_verify_config(Path(subject), inject, netlists, chain, as_json))
    raise typer.Exit(_verify_units(subject, mutants, rtl, top, timeout, chain, as_json))


def _verify_config(config, inject, netlists, chain, as_json):
    from .. import flow
    from ..config import load_config

    if chain and netlists is False:
        raise BadInput("--chain must come without --no-netlists: netlists are a part of the chain")
    content = load_config(config)
    with Progress(as_json) as progress:
        prepared = flow.prepare(content, fault=inject, progress=progress)
        ledger, _ = flow.verify(
            prepared, netlists=netlists is not False, chain=chain, progress=progress)
    if as_json:
        show_json(ledger.to_json())
    else:
        Console().print(ledger_table(ledger))
        if not ledger.exact:
            Console().print(f"[bold red]{first_difference(ledger)}[/]", highlight=False)
    return status_of(ledger, chain)


def _verify_units(name, mutants, rtl, top, timeout, chain, as_json):
    from .. import unit_view, units
    from ..hw import catalogue

    kinds = ["vectors", "proofs", "contract", "simulators", *(["mutation"] if mutants else []),
             *(("initial", *units.CHAIN) if chain else ())]
    with Progress(as_json) as progress:
        if name is not None:
            units.find(name)
        if rtl is not None:
            if name is None:
                raise BadInput("--rtl must come with the UNIT that the file is to equal")
            found = [(units.verify_rtl(name, rtl, top=top, timeout=timeout), False)]
        else:
            names = catalogue.names() if name is None else [name]
            found = units.verify_units(names, kinds=kinds, timeout=timeout, progress=progress)
    ledgers = [ledger for ledger, _ in found]
    if as_json:
        show_json(ledgers if name is None else ledgers[0])
    else:
        console = Console()
        for part in unit_view.show_ledgers(found):
            console.print(part, highlight=False)
    missing = chain and any(unit_view.missing(ledger) for ledger in ledgers)
    return 0 if all(unit_view.exact(ledger) for ledger in ledgers) and not missing else 1


@app.command(rich_help_panel=PANEL)
def locate(
    subject: Annotated[
        str, typer.Argument(metavar="UNIT|CONFIG.toml", help="Where to look.")
    ],
    out: Out = Path("build"),
    rtl: Annotated[
        Path | None,
        typer.Option("--rtl", metavar="FILE.v", help="Of a unit: somebody else's Verilog for it."),
    ] = None,
    top: Annotated[
        str | None, typer.Option(help="Module in that file; by default called as the file is.")
    ] = None,
    inject: Inject = None,
    as_json: Json = False,
):
    """The first place where two models of the chain part, with a waveform around it."""
    from .. import locate_view

    with Progress(as_json) as progress:
        if subject.endswith(".toml") or Path(subject).is_file():
            name, place, compared = _locate_config(Path(subject), inject, progress)
        else:
            from ..locate_unit import locate_unit

            progress(f"vectors of {subject}")
            name, place, compared = subject, locate_unit(subject, rtl, top=top), None
    folder = locate_view.write(place, out / name) if place else None
    if as_json:
        show_json({"first": None} if place is None else
              {"first": place.to_json(), "folder": str(folder)})
    elif place is None:
        if compared:
            Console().print(ledger_table(compared))
        Console().print("[green]No difference was found.[/]")
    else:
        Console().print(locate_view.show(place, folder), highlight=False)
    raise typer.Exit(0 if place is None else 1)


def _locate_config(config, inject, progress):
    from .. import flow
    from ..config import load_config
    from ..locate import locate as find

    content = load_config(config)
    prepared = flow.prepare(content, fault=inject, progress=progress)
    ledger, run = flow.verify(prepared, progress=progress)
    return content.name, find(prepared, ledger, run, progress=progress), ledger


@app.command(rich_help_panel=PANEL)
def infer(
    config: ConfigFile,
    port: Annotated[
        str | None, typer.Option(metavar="PORT", help="Serial port, such as /dev/ttyUSB1 or COM4.")
    ] = None,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Use a simulated board behind a pseudo-terminal.")
    ] = False,
    board: Annotated[str | None, typer.Option(help="Board to simulate.")] = None,
    source: Annotated[
        Path | None,
        typer.Option("--input", metavar="FILE.npz", help="Inputs x and, if known, labels y."),
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="Only the first so many.")] = None,
    inject: Inject = None,
    as_json: Json = False,
):
    """Run inputs on a board over its serial port, and check every answer."""
    from .. import flow
    from ..config import load_config
    from ..infer import infer as run

    content = load_config(config)
    with Progress(as_json) as progress:
        prepared = flow.prepare(content, fault=inject, progress=progress)
        progress("waiting for the board")
        answers = run(
            prepared, port=port, simulate=simulate, board=board, source=source, count=count
        )
    labels = prepared.subject.network.labels
    if as_json:
        show_json({
            "port": answers.port,
            "compared": answers.compared,
            "mismatches": answers.mismatches,
            "correct": answers.correct,
            "samples": len(answers.classes),
            "seconds": round(answers.seconds, 3),
            "predictions": [labels[index] for index in answers.classes],
            "logits": answers.logits.tolist(),
        })
    else:
        _answers(answers, labels)
    raise typer.Exit(1 if answers.mismatches else 0)


def _answers(answers, labels):
    console, samples = Console(), len(answers.classes)
    shown = " ".join(labels[index] for index in answers.classes[:40])
    console.print(f"Predictions: {shown}{' …' if samples > 40 else ''}", highlight=False)
    if answers.correct is not None:
        share = 100 * answers.correct / samples
        console.print(f"{answers.correct} of {samples} right ({share:.2f} %)", highlight=False)
    verdict = "[green]equal to the golden model[/]" if not answers.mismatches else (
        f"[bold red]{answers.mismatches} differ from the golden model[/]"
    )
    console.print(
        f"{answers.compared:,} logits and classes compared: {verdict}; "
        f"{samples / answers.seconds:.0f} inferences per second on {answers.port}",
        highlight=False,
    )


@app.command(rich_help_panel=PANEL)
def boards(as_json: Json = False):
    """Boards that a configuration may name, with what is on them."""
    from ..boards import describe, show

    found = describe()
    if as_json:
        show_json(found)
    else:
        Console().print(show(found), highlight=False)


@app.command(rich_help_panel=PANEL)
def flash(
    config: ConfigFile,
    board: Annotated[str | None, typer.Option(help="Which, where several are built for.")] = None,
    out: Out = Path("build"),
    keep: Annotated[
        bool, typer.Option("--keep", help="Into the flash memory: it stays after power-off. "
                                          "Always so on iCE40.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show the command.")
    ] = False,
    as_json: Json = False,
):
    """Load the bitstream of a build into a board (openFPGALoader)."""
    from ..boards import flash as run
    from ..config import load_config

    with Progress(as_json) as progress:
        done = run(load_config(config), out, board=board, keep=keep, dry_run=dry_run,
                   progress=progress)
    if as_json:
        show_json(done)
    else:
        verb = "Would load" if dry_run else "Loaded"
        Console().print(f"{verb} {done['bitstream']} into {done['title']}: "
                        f"{' '.join(done['command'])}", highlight=False, soft_wrap=True)
