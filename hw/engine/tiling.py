# SPDX-License-Identifier: Apache-2.0
"""GEMMs to programs: the order of the loops that takes the fewest cycles."""

from itertools import permutations, product
from typing import NamedTuple

from .gemm_config import Layer
from .program import DoesNotFit
from .schedule import schedule

__all__ = ["Gemm", "array_latency", "plan", "tilings"]

FINALISTS = 6  # tilings of each GEMM whose cycles are counted exactly
LIMIT = 65535  # steps that a descriptor holds


class Gemm(NamedTuple):
    """``C[m, n] = sum_k A[m, k] * B[n, k]``."""

    name: str
    m: int
    n: int
    k: int


def array_latency(config):
    """Cycles from the end of a group to its first sums, see `PEArray`."""
    hops = config.rows + config.columns - 2 if config.systolic else 0
    return 2 + config.kind.element.latency + hops


def tilings(config, gemm):
    """All ways in which an engine can compute a GEMM, as far as its memories allow.

    Yields
    ------
    Layer
    """
    lanes = config.kind.lanes
    unit = min(config.kind.group or lanes, -(-gemm.k // lanes) * lanes)
    steps_of_unit = unit // lanes
    units = -(-gemm.k // unit)
    most = min(config.a_lines, config.w_lines, LIMIT) // steps_of_unit
    if config.kind.group:
        most = min(most, config.scale_lines)
    if not most:
        return
    blocks = {-(-units // min(units, max(most // share, 1))) for share in (1, 2, 3, 4)}
    tiles = {"m": -(-gemm.m // config.rows), "n": -(-gemm.n // config.columns)}
    seen = set()
    for k_tiles, a_resident, w_resident, order in product(
            sorted(blocks), (True, False), (True, False), permutations("mnk")):
        per_panel = -(-units // k_tiles)
        steps = per_panel * steps_of_unit
        if k_tiles == 1:  # the last group may be shorter
            steps = -(-gemm.k // lanes)
        counts = tuple(k_tiles if name == "k" else tiles[name] for name in order)
        layer = Layer(gemm.m, gemm.n, gemm.k, order, counts, steps,
                      steps_of_unit if config.kind.group else steps,
                      a_resident, w_resident, gemm.name)
        same = (counts, steps, layer.a_reuse, layer.w_reuse, layer.k_level,
                tuple(name for name, count in zip(order, counts, strict=True) if count > 1))
        if same not in seen and fits(config, layer):
            seen.add(same)
            yield layer


def fits(config, layer):
    """Whether the panels that a layer keeps, and its sums under way, fit the memories."""
    if layer.partial > config.partial_tiles or max(layer.counts) >> 32:
        return False
    capacity = {"a": config.a_lines, "w": config.w_lines}
    return all(layer.live(operand) * lines <= capacity.get(name, config.scale_lines)
               for operand in ("a", "w") for name, lines, _ in config.segments(layer, operand))


def least_cycles(config, layer):
    """Cycles that a layer cannot do without: the most of computing, loading, and sending."""
    group = max(layer.group, config.spacing)
    compute = layer.visits * max(layer.steps, (layer.groups - 1) * group + config.spacing)
    words = 0
    for operand, other in ("a", "n"), ("w", "m"):
        panels = layer.visits
        if getattr(layer, f"{operand}_resident"):
            panels //= layer.counts[layer.order.index(other)]
        words += panels * sum(count * beats
                              for _, count, beats in config.segments(layer, operand))
    return max(compute, words, layer.tiles * config.chain * config.result_beats), words


def plan(config, gemms):
    """Programs of the fewest cycles for the given memories.

    Every order of the loops, panels of K of several lengths, and for each operand keeping or
    loading anew are tried; those with the best lower bounds are counted exactly, each GEMM after
    the ones before it.

    Parameters
    ----------
    config : GemmConfig
    gemms : list of Gemm

    Returns
    -------
    list of Layer

    Raises
    ------
    DoesNotFit
        Naming the GEMM.
    """
    latency, chosen = array_latency(config), []
    best_of = {}
    for gemm in gemms:
        if gemm.k > config.k_max:
            raise DoesNotFit(f"Layer {gemm.name}: K is {gemm.k}; the engine sums up to "
                             f"k_max = {config.k_max}")
        size = gemm[1:]
        if size not in best_of:
            ranked = sorted(tilings(config, gemm), key=lambda layer: least_cycles(config, layer))
            if not ranked:
                raise DoesNotFit(
                    f"Layer {gemm.name} ({gemm.m} x {gemm.n} x {gemm.k}): no tiling fits a_lines = "
                    f"{config.a_lines}, w_lines = {config.w_lines}, scale_lines = "
                    f"{config.scale_lines} and partial_tiles = {config.partial_tiles}")
            best_of[size] = min(
                ranked[:FINALISTS], key=lambda layer: schedule(config, latency, [layer]).total)
        best = best_of[size]
        chosen.append(best if best.name == gemm.name else
                      Layer(**{**best.__dict__, "name": gemm.name}))
    return chosen
