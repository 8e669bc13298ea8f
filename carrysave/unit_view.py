# SPDX-License-Identifier: Apache-2.0
"""The catalogue of units and their ledgers on a terminal."""

from rich import box
from rich.markup import escape
from rich.table import Table

__all__ = ["exact", "missing", "show_catalogue", "show_ledgers"]

LOOK: dict = {"box": box.SIMPLE_HEAD, "pad_edge": False, "padding": (0, 1, 0, 0)}
STYLES = {"exact": "green", "differs": "bold red", "not run": "yellow"}


def exact(ledger):
    """Whether no arrow of a ledger (as JSON) differs and at least one was run."""
    states = [arrow["status"] for arrow in ledger["arrows"]]
    return "differs" not in states and "exact" in states


def missing(ledger):
    """Whether an arrow of a ledger (as JSON) was not run because a tool is not installed."""
    return any(arrow["detail"].get("missing") for arrow in ledger["arrows"])


def show_catalogue(found):
    """All presets, as `.units.describe` gives them, as a table."""
    methods = [set(unit["verified"]) for unit in found]
    shared = [name for name in found[0]["verified"] if all(name in each for each in methods)]
    table = Table(
        title=f"{len(found)} units, each verified by: {', '.join(shared)}",
        title_justify="left", **LOOK)
    for name, justify in (("unit", "left"), ("formats", "left"), ("lanes", "right"),
                          ("latency", "right"), ("also by", "left")):
        table.add_column(name, justify=justify, no_wrap=name != "formats")
    room = None
    for unit in found:
        if room not in (None, unit["room"]):
            table.add_section()
        room = unit["room"]
        table.add_row(unit["name"], ", ".join(f"{k} {v}" for k, v in unit["formats"].items()),
                      str(unit["lanes"]), str(unit["latency"]),
                      ", ".join(name for name in unit["verified"] if name not in shared))
    return table


def show_ledgers(found):
    """Ledgers of units (as JSON, and whether they were cached): a table; then what went wrong."""
    if len(found) == 1:
        yield _one(*found[0])
    else:
        yield _many(found)
    for ledger, _ in found:
        for arrow in ledger["arrows"]:
            where = f"{ledger['subject']}: {_method(arrow)}, {arrow['what']}"
            if arrow["detail"].get("missing"):
                where = f"{ledger['subject']}: {arrow['from']} → {arrow['to']}"
                yield f"[yellow]{escape(where)}: not run: {escape(arrow['why'])}[/]"
            elif arrow["status"] == "not run":
                yield f"[yellow]{escape(where)}: {escape(arrow['why'])}[/]"
            elif arrow["status"] == "differs":
                yield f"[bold red]{escape(where)}: {escape(_difference(arrow['first']))}[/]"
            for survivor in arrow["detail"].get("survivors", ()):
                yield f"[dim]{ledger['subject']}: not noticed: {escape(survivor)}[/]"


def _method(arrow):
    """The method; and which model, for those beyond the RTL."""
    if arrow["to"] not in CHAIN:
        return arrow["method"]
    return f"{arrow['method']}, {arrow['to']}{' ' + arrow['on'] if arrow['on'] else ''}"


def _difference(first):
    """The first difference in words."""
    if first is None:
        return "nothing was compared"
    found, expected = first["found"], first["expected"]
    if isinstance(found, dict) and first["element"] is None:
        found = ", ".join(f"{name} {value}" for name, value in found.items())
    text = f"found {found}" if expected is None else f"expected {expected}, found {found}"
    if first["element"] is None:
        return text
    return f"first at output {first['element']}, cycle {first['cycle']}: {text}"


def _one(ledger, known):
    table = Table(title=f"Ledger of {ledger['subject']}{' (known)' if known else ''}",
                  title_justify="left", **LOOK)
    for name, justify in (("method", "left"), ("what", "left"), ("compared", "right"),
                          ("differ", "right"), ("s", "right"), ("status", "left")):
        table.add_column(name, justify=justify, no_wrap=name != "what")
    for arrow in ledger["arrows"]:
        style = STYLES[arrow["status"]]
        table.add_row(_method(arrow), arrow["what"], f"{arrow['compared']:,}",
                      f"{arrow['mismatches']:,}", f"{arrow['seconds']:.1f}",
                      f"[{style}]{arrow['status']}[/]")
    return table


CHAIN = ("netlist", "routed", "bitstream")  # models beyond the RTL: a column of each
COMPARED = ("exhaustive", "random", "batch", "cocotb", "amaranth", "initial state", "x propagation",
            "reset")
PROOFS = ("sat", "induction", "proof")


def _columns(chain):
    """Which arrows each column of the table of many units adds up."""
    def of(methods, model=None):
        return lambda arrow: arrow["method"] in methods and (
            arrow["to"] == model if model else arrow["to"] not in CHAIN)

    return {
        "rtl" if chain else "compared": of(COMPARED),
        **{model.replace("eam", "."): of(COMPARED, model) for model in CHAIN},
        "proofs": lambda arrow: arrow["method"] in PROOFS, "mutants": of(("mutation",)),
    }


def _many(found):
    chain = any(arrow["to"] in CHAIN for ledger, _ in found for arrow in ledger["arrows"])
    columns = {name: test for name, test in _columns(chain).items()
               if any(test(arrow) for ledger, _ in found for arrow in ledger["arrows"])}
    look = LOOK | ({"padding": 0} if chain else {})
    table = Table(title=f"Ledgers of {len(found)} units", title_justify="left", **look)
    table.add_column("unit", no_wrap=True)
    for name in (*columns, *(() if chain else ("terms",)), "differ", *(() if chain else ("s",))):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("status", no_wrap=True)
    for ledger, known in found:
        seconds = sum(arrow["seconds"] for arrow in ledger["arrows"])
        table.add_row(
            ledger["subject"], *_counts(ledger["arrows"], columns, chain),
            *(() if chain else ("known" if known else f"{seconds:.1f}",)),
            _state(ledger))
    table.add_section()
    every = [arrow for ledger, _ in found for arrow in ledger["arrows"]]
    table.add_row("all", *_counts(every, columns, chain), *(("",) if chain else ("", "")))
    return table


def _state(ledger):
    """The worst status of a unit's arrows, and what was not run."""
    states = {arrow["status"] for arrow in ledger["arrows"]}
    state = next(each for each in ("differs", "not run", "exact") if each in states)
    text = state
    if state == "not run" and not missing(ledger):
        methods = {arrow["method"] for arrow in ledger["arrows"] if arrow["status"] == state}
        text = "not all proved" if methods & {*PROOFS} else "no bitstream"
    return f"[{STYLES[state]}]{text}[/]"


def _short(count):
    """A count in five characters."""
    for unit, letter in (10**9, "G"), (10**6, "M"), (10**3, "k"):
        if count >= unit:
            return f"{count / unit:.{0 if count >= 100 * unit else 1}f}{letter}"
    return str(count)


def _counts(arrows, columns, chain):
    """Counts of a row; with the chain there are many columns, and they are short."""
    for test in columns.values():
        count = sum(arrow["compared"] for arrow in arrows if test(arrow))
        yield "–" if not count else _short(count) if chain else f"{count:,}"
    if not chain:
        yield f"{sum(arrow['detail'].get('terms', 0) for arrow in arrows):,}"
    yield f"{sum(arrow['mismatches'] for arrow in arrows):,}"
