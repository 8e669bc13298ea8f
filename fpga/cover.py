# SPDX-License-Identifier: Apache-2.0
"""A rough cover of a unit's logic with LUTs of four inputs: how many, and how many in a row.

Cuts of at most four leaves with the least area flow [1]_, nothing restructured. What ABC makes of
the same logic is smaller by a share that a fit to measured units finds.

.. [1] A. Mishchenko et al., "Combinational and sequential mapping with priority cuts", ICCAD 2007.
"""

import collections
import importlib.metadata
import inspect
import json
import re

from ..hw.cache import cached, digest
from ..hw.yosys import run_yosys
from . import structure
from .characterise import unit_rtlil

__all__ = ["COUNTS", "PATH", "count", "cover", "dependencies"]

INPUTS, KEPT = 4, 6  # of a LUT; cuts of a bit
SHORT = 2  # an adder of no more bits is no chain
COUNTS = ("lut", "full", "site", "chain", "ff", "product")
PATH = ("path_lut", "path_site", "path_chain", "path_product", "path_memory")
# Of the path that is taken for the longest, in levels of LUTs.
LOGIC, BLOCKS = ("gate", "full"), ("product", "memory")
DELAYS = {"site": 0.1, "sum": 0.5, "carry": 0.5, "product": 4.0, "memory": 1.0, "wire": 0.0}


def dependencies(unit):
    """All that the counts of a unit depend on, ready to be hashed."""
    return _dependencies(unit_rtlil(unit))


def _dependencies(text):
    return {"rtlil": digest(text), "script": structure.passes(_families(text)),
            "pyosys": importlib.metadata.version("pyosys"),
            "source": [digest(inspect.getsource(module))
                       for module in (structure, inspect.getmodule(cover))]}


def count(unit, *, timeout=600, cache=None):
    """Numbers of a unit.

    Parameters
    ----------
    unit : wiring.Component
        With streams ``i`` and ``o``.
    timeout : float
        Seconds for Yosys.
    cache : path, optional

    Returns
    -------
    dict of str to dict
        Under ``logic`` what :func:`cover` finds; under each family the same with the blocks of
        that family, if the unit multiplies.

    Raises
    ------
    YosysError
    """
    text = unit_rtlil(unit)

    def produce(folder):
        (folder / "top.il").write_text(text)
        run_yosys(structure.passes(_families(text)), cwd=folder, timeout=timeout)
        counts = {}
        for name in ("logic", *_families(text)):
            path = folder / f"{name}.json"
            block = structure.BLOCKS.get(name, (0, 0, 1))[2]
            counts[name] = cover(structure.structure(json.loads(path.read_text()), block=block))
            path.unlink()
        (folder / "top.il").unlink()
        (folder / "counts.json").write_text(json.dumps(counts))

    folder, _ = cached("cover", _dependencies(text), produce, root=cache)
    return json.loads((folder / "counts.json").read_text())


def _families(text):
    """Those whose blocks a unit may use."""
    return tuple(structure.BLOCKS) if re.search(r"^ +cell \$mul ", text, re.MULTILINE) else ()


def cover(found):
    """Numbers of a structure.

    Parameters
    ----------
    found : Structure
        Adders that turn out to be functions of four bits become gates in it.

    Returns
    -------
    dict of str to int
        ``lut``, of gates and for the bits of memories; ``full``, of outputs of full adders;
        ``site``, bits of adders' carry chains, and ``chain``, the chains; ``ff``; ``product``,
        bits that join blocks of a multiplication. On the longest path: ``path_lut``;
        ``path_site`` and ``path_chain``; ``path_product``, ``path_memory``.
    """
    supports = _supports(found)
    _collapse(found, supports)
    order = found.order()
    cuts = _cuts(found, order, supports)
    used = _used(found, cuts)
    counts = dict.fromkeys(COUNTS + PATH, 0)
    for bit in used:
        kind = found.kinds[bit]
        if kind in LOGIC or kind == "site":
            counts["lut" if kind == "gate" else kind] += 1
    counts["chain"] = sum(any(site in used for site in sites) for _, sites in found.adders)
    counts["lut"] += found.memory >> INPUTS
    counts |= {"ff": found.ff, "product": found.products}
    for kind in _path(found, [bit for bit in order if bit in used], cuts):
        counts[f"path_{kind}"] += 1
    return counts


def _supports(found):
    """Of each bit the bits that it is a function of, of registers and blocks, if four at most."""
    supports = {}
    for bit in found.order():
        parts = [supports.get(each, {each}) for each in found.inputs[bit]]
        if found.kinds[bit] in BLOCKS:
            supports[bit] = {bit}
        elif None in parts or len(union := set().union(*parts)) > INPUTS:
            supports[bit] = None
        else:
            supports[bit] = union
    return supports


def _collapse(found, supports):
    """Make gates of adders that are short, or functions of four bits."""
    chains = []
    for inputs, sites in found.adders:
        parts = [supports.get(bit, {bit}) for bit in inputs]
        few = None not in parts and len(set().union(*parts)) <= INPUTS
        if few or len(inputs) <= INPUTS or len(sites) <= SHORT:
            for site, total, carry in sites:
                found.add(total, "gate", found.inputs[site])
                found.add(carry, "gate", [site])
                found.kinds[site] = "gate"
        else:
            chains.append((inputs, [site for site, _, _ in sites]))
    found.adders = chains


def _cuts(found, order, supports):
    """The leaves of the LUT that each bit of logic would be."""
    kept, flow, fans = {}, {}, collections.Counter(
        bit for bits in [found.ends, *(found.inputs[bit] for bit in order)] for bit in bits)
    for bit in order:
        if found.kinds[bit] not in LOGIC:
            continue
        cuts = {frozenset()}
        for each in dict.fromkeys(found.inputs[bit]):
            choices = [frozenset([each]), *kept.get(each, ())]
            cuts = {joint for cut in cuts for choice in choices
                    if len(joint := cut | choice) <= INPUTS}
        if supports[bit] is not None:
            cuts.add(frozenset(supports[bit]))
        # Least area, then fewest leaves; by name, so that no hash decides.
        ranked = sorted((sum(flow.get(leaf, 0) for leaf in cut), len(cut),
                         sorted(map(str, cut)), cut) for cut in cuts)[:KEPT]
        kept[bit] = [cut for *_, cut in ranked]
        flow[bit] = (1 + ranked[0][0]) / fans[bit]
    return {bit: cuts[0] for bit, cuts in kept.items()}


def _used(found, cuts):
    """Bits that exist once LUTs cover the logic."""
    used, todo = set(), [bit for bit in found.ends if bit in found.kinds]
    while todo:
        bit = todo.pop()
        if bit not in used:
            used.add(bit)
            todo += [each for each in cuts.get(bit, found.inputs[bit]) if each in found.kinds]
    return used


def _path(found, order, cuts):
    """What lies on the longest path: of `PATH`, without ``path_``."""
    arrivals, befores, last = {}, {}, None
    for bit in order:
        kind = found.kinds[bit]
        before = max((each for each in cuts.get(bit, found.inputs[bit]) if each in arrivals),
                     key=lambda each: (arrivals[each], str(each)), default=None)
        arrivals[bit] = arrivals.get(before, 0) + DELAYS.get(kind, 1)
        befores[bit] = before
        if last is None or arrivals[bit] > arrivals[last]:
            last = bit
    while last is not None:
        kind = found.kinds[last]
        if kind in LOGIC:
            yield "lut"
        elif kind in ("sum", "carry"):
            yield "chain"
        elif kind != "wire":
            yield kind
        last = befores[last]
