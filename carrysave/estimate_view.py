# SPDX-License-Identifier: Apache-2.0
"""What ``carrysave estimate`` shows: a table, and a roofline."""

import os

from rich import box
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from .errors import BadInput

__all__ = ["plot", "show"]

TONES = {"compute": "green", "activation load": "yellow", "weight load": "yellow",
         "results": "magenta", "drain": "blue"}


def show(found):
    """An estimate as `.estimate.estimate` gives it, for the terminal."""
    config = found["config"]
    title = (f"{found['name']}: {config['activations']} × {config['weights']} on "
             f"{config['rows']} × {config['columns']} {config['element']}, "
             f"{config['bus']}-bit streams")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name, justify in (("layer", "left"), ("m × n × k", "right"), ("times", "right"),
                          ("cycles", "right"), ("used", "right"), ("bound", "left"),
                          ("streams", "right")):
        table.add_column(name, justify=justify, no_wrap=name != "layer")
    for layer in found["layers"]:
        table.add_row(
            escape(layer["name"]), f"{layer['m']} × {layer['n']} × {layer['k']}",
            f"{layer['repeat']:,}", f"{layer['cycles']:,}", f"{100 * layer['utilisation']:.1f} %",
            f"[{TONES[layer['bound']]}]{layer['bound']}[/]", size(sum(layer["traffic"].values())))
    table.add_section()
    table.add_row("all", "", "", f"{found['cycles']:,}", f"{100 * found['utilisation']:.1f} %", "",
                  size(sum(found["traffic"].values())))
    streams = ", ".join(f"{name.replace('_', ' ')} {size(value)}"
                        for name, value in found["traffic"].items())
    memories = ", ".join(f"{name.replace('_', ' ')} {memory['kib']:g} KiB"
                         for name, memory in config["memories"].items())
    rate = found["macs"] / found["cycles"]
    return Group(
        title, table,
        f"{found['macs']:,} multiply-accumulates, {rate:.2f} of "
        f"{config['peak_macs_per_cycle']} per cycle",
        f"[dim]streams: {streams}[/]", f"[dim]memories: {memories}[/]")


def size(count):
    """Bytes, three digits of them."""
    for unit in "B", "kB", "MB", "GB":
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB" if count < 999.5 else f"{count:,.0f} TB"


def plot(found, path):
    """Write the roofline of an estimate: SVG."""
    from .roofline import roofline, standalone

    try:
        part = path.with_name(f".{path.name}.part")
        part.write_text(standalone(roofline(found)), encoding="utf-8")
        os.replace(part, path)
    except (OSError, ValueError) as error:  # no name at all, such as "/"
        raise BadInput(f"--plot: {path} cannot be written: "
                       f"{getattr(error, 'strerror', None) or error}") from None
