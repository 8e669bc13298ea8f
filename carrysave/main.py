# SPDX-License-Identifier: Apache-2.0
"""The command line."""

import contextlib
import json
import sys
import warnings
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table

from .errors import BadInput, Failure

__all__ = ["main"]

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


def _show(content):
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(content, indent=1) + "\n")


def ledger_table(ledger):
    """The ledger as a table for the terminal, and a line for what was not run."""
    table = Table(title=f"Ledger of {ledger.subject}", title_justify="left", box=box.SIMPLE_HEAD,
                  pad_edge=False, padding=0)
    for name, justify in (
        ("arrow", "left"), ("method", "left"), ("compared", "right"), ("differ", "right"),
        ("s", "right"), ("status", "left"),
    ):
        table.add_column(name, justify=justify, no_wrap=True)
    styles = {"exact": "green", "differs": "bold red"}
    missing = {}
    for arrow in ledger.arrows:
        name = f"{arrow.source} → {arrow.target}"
        if arrow.status == "not run":
            missing.setdefault((name, arrow.why), []).append(arrow.on)
            continue
        style = styles[arrow.status]
        table.add_row(
            name,
            arrow.method + (f", {arrow.on}" if arrow.on else ""),
            f"{arrow.compared:,}",
            f"{arrow.mismatches:,}",
            f"{arrow.seconds:.1f}",
            f"[{style}]{arrow.status}[/]",
        )
    lines = [
        f"[dim]not run: {name}{' on ' + ', '.join(on) if any(on) else ''} ({why})[/]"
        for (name, why), on in missing.items()
    ]
    return Group(table, *lines)


def first_difference(ledger):
    """Lines that say where the first arrow that differs does so."""
    for arrow in ledger.arrows:
        if arrow.status == "differs":
            line = f"{arrow.source} → {arrow.target} ({arrow.method}) differs"
            if arrow.first:
                place = ", ".join(f"{k} {v}" for k, v in arrow.first.items() if v is not None)
                line += f": first at {place}"
            return line + (f" — {arrow.why}" if arrow.why else "")
    return ""


def _build(config, out, *, chain, inject, as_json, locked=None):
    from . import flow

    with Progress(as_json) as progress:
        built = flow.build(config, out, chain=chain is not False, locked=locked, fault=inject,
                           progress=progress)
    if as_json:
        _show(built.ledger.to_json())
    else:
        _summary(built)
    return _status(built.ledger, chain)


def _status(ledger, chain):
    """Exit status: with ``--chain``, a tool that is not installed is a failure as well."""
    return 0 if ledger.exact and not (chain and ledger.missing) else 1


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


@app.command()
def demo(out: Out = Path("build"), as_json: Json = False):
    """The main job, on the shipped example: handwritten digits, to bitstreams for three boards."""
    from .config import load_config

    config = load_config(Path(str(files("carrysave.examples") / "digits.toml")))
    raise typer.Exit(_build(config, out, chain=None, inject=None, as_json=as_json))


@app.command()
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
    from . import lock
    from .config import load_config

    if config.suffix == ".json":
        content, manifest = lock.repeat(config)
    else:
        content = load_config(config)
        manifest = lock.read(out / content.name / "manifest.json") if locked else None
    raise typer.Exit(_build(content, out, chain=chain, inject=inject, as_json=as_json,
                            locked=manifest if locked else None))


@app.command()
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
    from . import flow
    from .config import load_config

    if chain and netlists is False:
        raise BadInput("--chain must come without --no-netlists: netlists are a part of the chain")
    content = load_config(config)
    with Progress(as_json) as progress:
        prepared = flow.prepare(content, fault=inject, progress=progress)
        ledger, _ = flow.verify(
            prepared, netlists=netlists is not False, chain=chain, progress=progress)
    if as_json:
        _show(ledger.to_json())
    else:
        Console().print(ledger_table(ledger))
        if not ledger.exact:
            Console().print(f"[bold red]{first_difference(ledger)}[/]", highlight=False)
    return _status(ledger, chain)


def _verify_units(name, mutants, rtl, top, timeout, chain, as_json):
    from . import unit_view, units
    from .hw import catalogue

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
        _show(ledgers if name is None else ledgers[0])
    else:
        console = Console()
        for part in unit_view.show_ledgers(found):
            console.print(part, highlight=False)
    missing = chain and any(unit_view.missing(ledger) for ledger in ledgers)
    return 0 if all(unit_view.exact(ledger) for ledger in ledgers) and not missing else 1


@app.command()
def boards(as_json: Json = False):
    """Boards that a configuration may name, with what is on them."""
    from .boards import describe, show

    found = describe()
    if as_json:
        _show(found)
    else:
        Console().print(show(found), highlight=False)


@app.command()
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
    from .boards import flash as run
    from .config import load_config

    with Progress(as_json) as progress:
        done = run(load_config(config), out, board=board, keep=keep, dry_run=dry_run,
                   progress=progress)
    if as_json:
        _show(done)
    else:
        verb = "Would load" if dry_run else "Loaded"
        Console().print(f"{verb} {done['bitstream']} into {done['title']}: "
                        f"{' '.join(done['command'])}", highlight=False, soft_wrap=True)


@app.command()
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
    from . import locate_view

    with Progress(as_json) as progress:
        if subject.endswith(".toml") or Path(subject).is_file():
            name, place, compared = _locate_config(Path(subject), inject, progress)
        else:
            from .locate_unit import locate_unit

            progress(f"vectors of {subject}")
            name, place, compared = subject, locate_unit(subject, rtl, top=top), None
    folder = locate_view.write(place, out / name) if place else None
    if as_json:
        _show({"first": None} if place is None else
              {"first": place.to_json(), "folder": str(folder)})
    elif place is None:
        if compared:
            Console().print(ledger_table(compared))
        Console().print("[green]No difference was found.[/]")
    else:
        Console().print(locate_view.show(place, folder), highlight=False)
    raise typer.Exit(0 if place is None else 1)


def _locate_config(config, inject, progress):
    from . import flow
    from .config import load_config
    from .locate import locate as find

    content = load_config(config)
    prepared = flow.prepare(content, fault=inject, progress=progress)
    ledger, run = flow.verify(prepared, progress=progress)
    return content.name, find(prepared, ledger, run, progress=progress), ledger


@app.command()
def units(as_json: Json = False):
    """Hardware units: the catalogue with formats, lanes, latency, and how each is verified."""
    from . import unit_view
    from .hw import catalogue
    from .units import describe

    found = [describe(preset) for preset in catalogue.PRESETS]
    if as_json:
        _show(found)
    else:
        console = Console()
        console.print(unit_view.show_catalogue(found), highlight=False)


@app.command()
def synth(
    unit: Annotated[str, typer.Argument(metavar="UNIT", help="One of the catalogue.")],
    family: Annotated[str, typer.Option(help="ecp5, ice40 or gowin.")] = "ecp5",
    dsp: Annotated[bool, typer.Option(help="Use DSP blocks where they fit.")] = True,
    timing: Annotated[bool, typer.Option(help="Place and route for Fmax, three times.")] = True,
    as_json: Json = False,
):
    """LUTs, flip-flops, DSP blocks, block RAM and Fmax of a unit on a family of FPGAs."""
    from . import synth as units

    with Progress(as_json) as progress:
        found = units.synth(unit, family=family, dsp=dsp, timing=timing, progress=progress)
    if as_json:
        _show(found)
    else:
        Console().print(units.show(found), highlight=False)


@contextlib.contextmanager
def _kept(what):
    """Say what an interrupted command leaves, and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        err.print(f"interrupted; {what}; the same command goes on from there", highlight=False,
                  soft_wrap=True)
        raise typer.Exit(130) from None


@app.command()
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
    from .characterise import characterise as run
    from .characterise_view import show

    with Progress(as_json) as progress, _kept(f"what was measured is in {out}"):
        found = run(units or (), every=every, families=family or (), lanes=lanes or (), dsp=dsp,
                    timing=timing, seeds=seeds, jobs=jobs, out=out, progress=progress)
    if as_json:
        _show(found)
    else:
        Console().print(show(found), highlight=False)
    for line in found["errors"]:
        err.print(f"[bold red]error:[/] {escape(line)}", highlight=False, soft_wrap=True)
    raise typer.Exit(1 if found["errors"] else 0)


@app.command()
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
    from . import estimate_view
    from .estimate import estimate as run
    from .matrix_config import load_matrix_config

    if plot is not None and plot.suffix != ".svg":
        raise BadInput(f"--plot: must end in .svg, not {plot.suffix or plot.name!r}")
    content = load_matrix_config(
        config, rows=rows, columns=columns, activations=activations, weights=weights)
    with Progress(as_json) as progress:
        found = run(content, progress=progress)
    if plot is not None:
        estimate_view.plot(found, plot)
    if as_json:
        _show(found)
    else:
        Console().print(estimate_view.show(found), highlight=False)


@app.command()
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
    x: Annotated[str | None, typer.Option(metavar="COLUMN")] = None,
    y: Annotated[str | None, typer.Option(metavar="COLUMN")] = None,
    as_json: Json = False,
):
    """Many configurations measured, each once: interrupted, the same command goes on."""
    from . import sweep_view
    from .sweep import sweep as run

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
        _show(found)
    else:
        Console().print(sweep_view.show(found), highlight=False)
    raise typer.Exit(1 if found["counts"]["failed"] else 0)


@app.command()
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
    from . import layers as model
    from .layers_view import show
    from .matrix_config import load_matrix_config

    content = load_matrix_config(config, kinds=kind, rows=rows, columns=columns)
    ledger = None
    with Progress(as_json) as progress:
        if all_blocks:
            runs = model.all_blocks(content, progress=progress)
        else:
            ledger, runs = model.layers(content, progress=progress)
    if as_json:
        _show({**({"ledger": ledger.to_json()} if ledger else {}), "runs": runs})
    else:
        Console().print(show(runs, ledger), highlight=False)
        if ledger and not ledger.exact:
            Console().print(f"[bold red]{first_difference(ledger)}[/]", highlight=False)
    raise typer.Exit(0 if ledger is None or ledger.exact else 1)


@app.command()
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
    from . import accuracy_view
    from .accuracy import accuracy as run

    with _kept(f"what was measured is in {out}"), Progress(as_json) as progress:
        found = run(formats or (), out=out, only=only, tokens=tokens, train=train,
                    progress=progress)
    if as_json:
        _show(accuracy_view.describe(found))
    else:
        Console().print(accuracy_view.show(found, out), highlight=False)


@app.command()
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
    from . import flow
    from .config import load_config
    from .infer import infer as run

    content = load_config(config)
    with Progress(as_json) as progress:
        prepared = flow.prepare(content, fault=inject, progress=progress)
        progress("waiting for the board")
        answers = run(
            prepared, port=port, simulate=simulate, board=board, source=source, count=count
        )
    labels = prepared.subject.network.labels
    if as_json:
        _show({
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


@app.command()
def formats(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="One of them, in full.")
    ] = None,
    as_json: Json = False,
):
    """Number formats: all of them, or one with its layout, values, special codes and source."""
    from .format_view import show_all, show_one
    from .formats import describe
    from .quant import formats as known

    console = Console()
    if name is None:
        found, page = [describe(known.get(each), full=False) for each in known.names()], show_all
    else:
        try:
            found, page = describe(known.get(name)), show_one
        except ValueError as error:
            raise BadInput(str(error)) from None
    if as_json:
        _show(found)
    else:
        console.print(page(found, console.width), highlight=False)


@app.command()
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
    from .export import export as write
    from .unit_choice import choose

    choice = choose(unit, preset=preset, settings=settings or ())
    found = write(choice, out, name=name, vectors=vectors, seed=seed)
    if as_json:
        _show(found)
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


def main():
    """Run the command line; mistakes of the user end in one line and exit status 2."""
    # Components that are made only to be checked are no mistake. By its text: to import the
    # warning's class takes as long as the rest of the start.
    warnings.filterwarnings("ignore", ".* created but never used")
    try:
        app(standalone_mode=True)
    except BadInput as error:
        err.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(2)
    except Failure as error:
        err.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        err.print("interrupted; nothing was left half-written", highlight=False)
        sys.exit(130)


if __name__ == "__main__":
    main()
