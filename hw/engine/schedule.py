# SPDX-License-Identifier: Apache-2.0
"""Every cycle of a matrix engine, without simulation."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .collector import LATENCY
from .gemm_config import LEVELS, NEVER

__all__ = ["LayerCycles", "Schedule", "schedule"]


@dataclass(frozen=True)
class LayerCycles:
    """Where the cycles of a GEMM go.

    Attributes
    ----------
    cycles : int
        From the last step of the GEMM before, or the start, to its own last step.
    steps : int
        In which the array computes.
    useful : float
        Multiply-accumulates that are not padding, in steps of the whole array.
    loading, waiting, draining : int
        Cycles without a step: a panel was not there yet; there was no room for results; the sums of
        the group before were still on their way out.
    a_words, w_words, results : int
        Words of the streams.
    """

    name: str
    cycles: int
    steps: int
    useful: float
    loading: int
    waiting: int
    draining: int
    a_words: int
    w_words: int
    results: int

    @property
    def utilisation(self):
        """Share of the peak."""
        return self.useful / self.cycles

    @property
    def bound(self):
        """What takes most of the cycles beyond the useful ones."""
        parts = {"weight load" if self.w_words > self.a_words else "activation load": self.loading,
                 "results": self.waiting, "drain": self.draining}
        worst = max(parts, key=lambda part: parts[part])
        return worst if parts[worst] * 20 > self.cycles else "compute"


@dataclass(frozen=True)
class Schedule:
    """Cycles of a program, counted from its ``start``.

    Attributes
    ----------
    total : int
        Cycles up to and with the last word of results.
    """

    layers: list
    total: int

    @property
    def useful(self):
        return sum(layer.useful for layer in self.layers)

    @property
    def utilisation(self):
        """Share of the peak over the whole program: loads, fill and drain included."""
        return self.useful / self.total


def schedule(config, array_latency, layers):
    """Cycles of a program, exactly as the engine takes them where its streams never wait.

    Parameters
    ----------
    config : GemmConfig
    array_latency : int
        ``PEArray.latency``.
    layers : list of Layer

    Returns
    -------
    Schedule

    Raises
    ------
    ValueError
        If a panel does not fit its memory.
    """
    table = np.array([_row(config, layer) for layer in layers], np.int64)
    capacities = np.array([config.a_lines, config.scale_lines, config.w_lines, config.scale_lines,
                           config.scale_lines], np.int64)
    found = np.zeros((len(layers), 6), np.int64)
    visits = sum(layer.visits for layer in layers)
    total = _run()(table, capacities, np.array([
        config.spacing, config.chain, array_latency, config.result_lines,
        config.chain * config.result_beats, LATENCY], np.int64), np.zeros((visits, 6), np.int64),
        np.zeros(visits, np.int64), found)
    if total < 0:
        raise ValueError(f"Layer {layers[-total - 1].name}: a panel does not fit the memories")
    peak = config.rows * config.columns * config.kind.lanes
    result, before = [], 0
    for layer, (end, loading, waiting, draining, a, w) in zip(layers, found.tolist(), strict=True):
        result.append(LayerCycles(
            name=layer.name, cycles=end - before, steps=layer.visits * layer.steps,
            useful=layer.m * layer.n * layer.k / peak, loading=loading, waiting=waiting,
            draining=draining, a_words=a, w_words=w,
            results=layer.tiles * config.chain * config.result_beats))
        before = end
    return Schedule(result, total)


def _row(config, layer):
    """Numbers of a layer: loops, steps, then for each operand reuse, words and lines."""
    words, lines = [], []
    for operand, places in (("a", ("a", "a_scale")), ("w", ("w", "w_scale", "bias"))):
        parts = {name: (count, beats) for name, count, beats in config.segments(layer, operand)}
        words.append(sum(count * beats for count, beats in parts.values()))
        lines += [parts.get(name, (0, 0))[0] for name in places]
    return [*layer.counts, layer.steps, layer.group, layer.a_reuse, layer.w_reuse, layer.k_level,
            *words, *lines]


@lru_cache(maxsize=1)
def _run():
    try:
        import numba
    except ImportError:  # slower, and the same
        return _cycles
    return numba.njit(cache=True)(_cycles)


def _cycles(table, capacities, numbers, freed, ends, found):
    """Fill ``found``; the total number of cycles, or minus the layer that does not fit.

    ``freed`` gets the cycle in which each tile gives back its panels and their lines of each
    memory, ``ends`` that in which its results have been sent.
    """
    spacing, chain, latency, result_lines, words, after = numbers
    room = capacities.copy()
    first_freed, last_freed = 0, 0
    check = 1  # cycle in which the loader looks at the next place
    free_results = result_lines
    sent, taken_back = 0, 0
    take, step_end, group_end = 0, 0, -spacing
    sending = -2
    index = np.zeros(LEVELS + 1, np.int64)
    last = np.zeros(LEVELS + 1, np.bool_)
    for n in range(len(table)):
        counts, steps, group = table[n, :LEVELS], table[n, 3], table[n, 4]
        reuse, k_level, load = table[n, 5:7], table[n, 7], table[n, 8:10]
        lines = table[n, 10:15]
        loading, waiting, draining, loaded_words = 0, 0, 0, np.zeros(2, np.int64)
        for _ in range(counts[0] * counts[1] * counts[2]):
            for level in range(LEVELS):
                last[level] = index[level] == counts[level] - 1
            last[NEVER] = True
            # Loader: the panel of A, then that of W.
            there = 0
            for operand in range(2):
                if index[reuse[operand]] == 0:
                    start, stop = 2 * operand, 2 + 3 * operand
                    while True:
                        # What has been given back by now, and as much more as is needed.
                        while first_freed < last_freed and freed[first_freed, 0] < check:
                            for k in range(5):
                                room[k] += freed[first_freed, 1 + k]
                            first_freed += 1
                        enough = True
                        for k in range(start, stop):
                            enough = enough and room[k] >= lines[k]
                        if enough:
                            break
                        if first_freed == last_freed:
                            return -n - 1
                        check = freed[first_freed, 0] + 1
                    for k in range(start, stop):
                        room[k] -= lines[k]
                    check += load[operand]
                    there = check + 1
                    loaded_words[operand] += load[operand]
                check += 1
            # Sequencer: the place is chosen, taken, and its steps follow.
            choose = max(take, 1)
            ready = max(choose, there)
            if last[k_level]:
                now = ready
                while free_results < chain:
                    if taken_back == sent:
                        return -n - 1
                    now = max(now, ends[taken_back] + 1)
                    free_results += chain
                    taken_back += 1
                # Tiles that were sent before are room as well.
                while taken_back < sent and ends[taken_back] < now:
                    free_results += chain
                    taken_back += 1
                free_results -= chain
            else:
                now = ready
            soonest = max(choose + 1, step_end)
            take = max(now + 1, step_end)
            loading += max(ready + 1, step_end) - soonest
            waiting += take - max(ready + 1, step_end)
            left, cycle = steps, take
            while left > 0:
                size = min(group, left)
                end = max(cycle + size, group_end + spacing)
                draining += end - cycle - size
                cycle = group_end = end
                left -= size
            step_end = cycle
            # Collector: results are written, memory is given back.
            drained = step_end + latency + chain
            entry = freed[last_freed]
            entry[0] = drained
            for k in range(5):
                entry[1 + k] = lines[k] if last[reuse[0 if k < 2 else 1]] else 0
            last_freed += 1
            if last[k_level]:
                sending = max(drained + after + 2, sending + 2) + words - 1
                ends[sent] = sending
                sent += 1
            # Next place.
            for level in range(LEVELS):
                if last[level]:
                    index[level] = 0
                else:
                    index[level] += 1
                    break
        found[n, 0], found[n, 1], found[n, 2], found[n, 3] = step_end, loading, waiting, draining
        found[n, 4], found[n, 5] = loaded_words[0], loaded_words[1]
    return sending + 1
