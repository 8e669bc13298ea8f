# SPDX-License-Identifier: Apache-2.0
"""What a unit is made of, before any technology: bits, operators, and what feeds what."""

import dataclasses
import graphlib
import math

__all__ = ["BLOCKS", "Structure", "passes", "structure"]

HARD = "product"  # a multiplication that stays whole
#: Multiplications that Yosys gives to the blocks of a family: widths of each operand and of the
#: result at least, and the widest operand that one block takes.
BLOCKS = {"ecp5": (2, 2, 18), "ice40": (2, 11, 16), "gowin": (4, 4, 18)}
CELLS = ("$alu", "$fa", "$mem_v2", HARD)
GATES = {"AND", "OR", "XOR", "NOT", "MUX", "NAND", "NOR", "XNOR", "ANDNOT", "ORNOT", "BUF"}


def passes(families=()):
    """Yosys passes from ``top.il`` to ``logic.json``: gates, adders, registers, memories.

    Nothing is mapped to a technology, and no logic is restructured: the passes take what is
    constant, unused or twice there out of the design, and spell its words out as bits.

    Parameters
    ----------
    families : iterable of str
        Of `BLOCKS`: for each another file, such as ``ecp5.json``, in which the multiplications for
        its blocks stay whole. In ``logic.json`` they are partial products and adders.

    Returns
    -------
    list of str
    """
    found = [
        "read_rtlil top.il", "hierarchy -top top", "proc", "flatten",
        "opt_expr", "opt_clean", "opt -nodffe -nosdff", "fsm", "opt", "wreduce", "peepopt",
        "opt_clean", "techmap -map +/cmp2lut.v -D LUT_WIDTH=4", "memory -nordff -nomap",
        "opt -full", "delete t:$scopeinfo", "design -save whole",
    ]
    for name in ("logic", *families):
        found += ["design -load whole"]
        if name in BLOCKS:
            operand, result, _ = BLOCKS[name]
            found += [f"chtype -set {HARD} t:$mul r:A_WIDTH>={operand} %i r:B_WIDTH>={operand} %i "
                      f"r:Y_WIDTH>={result} %i"]
        found += [
            "alumacc", "opt", "maccmap", "opt_clean",
            "techmap t:$shl t:$shr t:$sshl t:$sshr t:$shift t:$shiftx t:$pmux t:$lut",
            "simplemap", "opt", f"write_json {name}.json",
        ]
    return found


@dataclasses.dataclass
class Structure:
    """Single bits of a netlist. A bit is a number or a tuple; constants are left out.

    Members
    -------
    inputs : dict of bit to list of bits
        What each bit that is not a register or a port is computed from.
    kinds : dict of bit to str
        ``gate``; ``full`` for an output of a full adder; ``site`` for the carry of one bit of an
        adder, from the bit below; ``sum``, ``carry`` for an adder's outputs, from their site;
        ``product``, ``memory``, and ``wire`` from one of those.
    ends : list of bits
        That registers, ports, adders, products or memories need.
    adders : list of (list of bits, list of (bit, bit, bit))
        Of each adder: what it adds; its sites, each with sum and carry.
    ff, products, memory : int
        Registers; bits that join the blocks of multiplications which are wider than one; bits of
        memories, for each port that reads.
    """

    inputs: dict
    kinds: dict
    ends: list
    adders: list
    ff: int = 0
    products: int = 0
    memory: int = 0

    def add(self, bit, kind, inputs):
        """Say how a bit is computed."""
        self.kinds[bit] = kind
        self.inputs[bit] = _bits(inputs)

    def order(self):
        """Every bit that an end depends on and that is computed, after its inputs."""
        live, todo = {}, [bit for bit in self.ends if bit in self.kinds]
        while todo:
            bit = todo.pop()
            if bit not in live:
                live[bit] = [each for each in self.inputs[bit] if each in self.kinds]
                todo += live[bit]
        return list(graphlib.TopologicalSorter(live).static_order())


def structure(netlist, *, block=18):
    """Structure of a netlist.

    Parameters
    ----------
    netlist : dict
        Of :func:`passes`.
    block : int
        The widest operand of a multiplier block.

    Returns
    -------
    Structure

    Raises
    ------
    ValueError
        If there is a cell of another kind than those passes leave.
    """
    found = Structure({}, {}, [], [])
    module = netlist["modules"]["top"]
    for port in module["ports"].values():
        if port["direction"] == "output":
            found.ends += _bits(port["bits"])
    for place, cell in enumerate(module["cells"].values()):
        kind, pins = cell["type"], cell["connections"]
        numbers = cell["parameters"]
        if kind[2:-1] in GATES:
            (output,) = pins["Y"]
            found.add(output, "gate", [bit for pin in pins if pin != "Y" for bit in pins[pin]])
        elif "DFF" in kind:
            found.ff += len(pins["Q"])
            found.ends += [bit for pin in "DER" for bit in _bits(pins.get(pin, []))]
        elif kind == "$alu":
            _adder(found, place, pins, numbers)
        elif kind == "$fa":
            for a, b, c, x, y in zip(*(pins[pin] for pin in "ABCXY"), strict=True):
                found.add(x, "full", [a, b, c])
                found.add(y, "full", [a, b, c])
        elif kind == HARD:
            sizes = [len(pins[pin]) for pin in "AB"]
            found.products += (math.prod(-(-size // block) for size in sizes) - 1) * sum(sizes)
            _block(found, "product", place, pins["A"] + pins["B"], pins["Y"])
        elif kind == "$mem_v2":
            size, width, ports = (int(numbers[name], 2) for name in ("SIZE", "WIDTH", "RD_PORTS"))
            found.memory += size * width * ports
            _block(found, "memory", place,
                   [bit for pin in ("RD_ADDR", "RD_EN", "WR_ADDR", "WR_DATA", "WR_EN")
                    for bit in pins[pin]], pins["RD_DATA"])
        else:
            raise ValueError(f"Cell must be a gate, a register or one of {', '.join(CELLS)}, "
                             f"not {kind!r}")
    return found


def _bits(bits):
    """Those that are no constants."""
    return [bit for bit in bits if not isinstance(bit, str)]


def _adder(found, place, pins, numbers):
    """A word's sites, each with its sum and carry."""
    width = len(pins["Y"])
    a, b = (_extended(pins[pin], width, int(numbers[f"{pin}_SIGNED"], 2)) for pin in "AB")
    below, sites = pins["CI"][0], []
    for k in range(width):
        inputs = [a[k], b[k], pins["BI"][0], below]
        below = (place, k)
        sites.append(below)
        found.add(below, "site", inputs)
        found.add(pins["Y"][k], "sum", [below])
        found.add(pins["CO"][k], "carry", [below])
        found.add(pins["X"][k], "gate", inputs[:3])
    found.adders.append((list(dict.fromkeys(_bits([*a, *b, *pins["BI"], *pins["CI"]]))),
                         list(zip(sites, pins["Y"], pins["CO"], strict=True))))


def _extended(word, width, signed):
    return (word + (word[-1:] if signed else ["0"]) * width)[:width]


def _block(found, kind, place, inputs, outputs):
    """Outputs that all depend on all inputs."""
    found.add((place,), kind, inputs)
    for bit in outputs:
        found.add(bit, "wire", [(place,)])
