# SPDX-License-Identifier: Apache-2.0
"""Widths of weights for each layer, and the engine for them, by integer linear programming.

One binary variable stands for each engine with the width that its array is built for, and one for
each layer, width and engine. Of the engines one is chosen; each layer has one width, which the
array must hold; the sums of LUTs, cycles and memory stay within their budgets, and the sum of
sensitivities is the least possible [1]_. HiGHS solves it to the optimum.

References
----------
.. [1] Yao et al., "HAWQ-V3: Dyadic Neural Network Quantization", ICML 2021, section 3.4.
.. [2] Huangfu and Hall, "Parallelizing the dual revised simplex method", 2018 (HiGHS).
"""

import time
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

__all__ = ["BUDGETS", "Choice", "Engine", "Infeasible", "choose", "front"]

BUDGETS = ("lut4", "cycles", "memory_bits")


class Infeasible(ValueError):
    """No choice stays within the budgets."""


@dataclass(frozen=True)
class Engine:
    """What an engine costs.

    Attributes
    ----------
    name : str
    lut4 : dict of int to int
        Of the engine whose array multiplies by weights of so many bits; what is not measured is
        not chosen.
    cycles : int
        For one sample.
    other_bits : int
        Of all memories but those of weights.
    bits : tuple of int
        For each layer, what one bit more of its weights adds to the memory.
    """

    name: str
    lut4: dict
    cycles: int
    other_bits: int
    bits: tuple


@dataclass(frozen=True)
class Choice:
    """An optimum: ``widths`` of the layers on an ``engine``, what they cost, and the ``seconds``
    that the solver took."""

    engine: Engine
    widths: tuple
    loss: float
    lut4: int
    cycles: int
    memory_bits: int
    seconds: float


def choose(costs, engines, *, widths, lut4=None, cycles=None, memory_bits=None):
    """The widths and the engine of the least loss within budgets.

    Parameters
    ----------
    costs : float array, shape (layers, widths)
        Sensitivities.
    engines : list of Engine
    widths : sequence of int
        Bits, rising.
    lut4, cycles, memory_bits : int, optional
        Budgets; None: any.

    Returns
    -------
    Choice
        Among equals that of the least memory.

    Raises
    ------
    Infeasible
        The message says what would be the least of each budget.
    """
    problem = _Problem(np.asarray(costs, float), engines, tuple(widths))
    return problem.solve({"lut4": lut4, "cycles": cycles, "memory_bits": memory_bits})


def front(costs, engines, *, widths, points, **budgets):
    """Choices that no other beats in both memory and loss, the greatest memory first.

    Parameters as of `choose`, and ``points``, budgets of memory evenly between the least possible
    and what the best choice takes: there are as many choices, or fewer where some are the same.
    """
    problem = _Problem(np.asarray(costs, float), engines, tuple(widths))
    most = problem.solve(budgets)
    least = problem.least("memory_bits", {**budgets, "memory_bits": None})
    found = {most.widths: most}
    for memory in np.linspace(most.memory_bits, least, points):
        choice = problem.solve({**budgets, "memory_bits": int(memory)})
        found[choice.widths] = choice
    return sorted(found.values(), key=lambda choice: -choice.memory_bits)


class _Problem:
    """The variables: first engines with the widths of their arrays, then layers' widths on each."""

    def __init__(self, costs, engines, widths):
        self.engines, self.widths = engines, widths
        self.arrays = [(e, bits) for e, engine in enumerate(engines) for bits in sorted(engine.lut4)
                       if bits in widths]
        self.parts = [(e, layer, place) for e in range(len(engines))
                      for layer in range(len(costs)) for place in range(len(widths))]
        self.count = len(self.arrays) + len(self.parts)
        self.loss = self._vector(lambda e, bits: 0, lambda e, la, place: costs[la, place])
        self.totals = {
            "lut4": self._vector(lambda e, bits: engines[e].lut4[bits], lambda *_: 0),
            "cycles": self._vector(lambda e, bits: engines[e].cycles, lambda *_: 0),
            "memory_bits": self._vector(lambda e, bits: engines[e].other_bits,
                                        lambda e, la, place: engines[e].bits[la] * widths[place]),
        }
        self.rules = self._rules(len(costs))

    def _vector(self, of_array, of_part):
        return np.array([*(of_array(*each) for each in self.arrays),
                         *(of_part(*each) for each in self.parts)], float)

    def _rules(self, layers):
        one = LinearConstraint(self._vector(lambda *_: 1, lambda *_: 0), 1, 1)
        rows = []
        for e in range(len(self.engines)):
            for layer in range(layers):
                # A width for each layer on the engine that is chosen, none on others.
                rows.append((self._vector(
                    lambda n, _, e=e: -(n == e),
                    lambda n, la, _, e=e, layer=layer: (n, la) == (e, layer)), 0, 0))
                for place, bits in enumerate(self.widths):
                    rows.append((self._vector(
                        lambda n, array, e=e, bits=bits: -(n == e and array >= bits),
                        lambda *each, e=e, layer=layer, place=place: each == (e, layer, place)),
                        -np.inf, 0))
        matrix, low, high = zip(*rows, strict=True)
        return [one, LinearConstraint(np.array(matrix), low, high)]

    def least(self, name, budgets):
        """The least of a total within budgets."""
        best = self._milp(self.totals[name], self._limits(budgets))
        return round(best @ self.totals[name])

    def _limits(self, budgets):
        return [LinearConstraint(self.totals[name], -np.inf, most)
                for name, most in budgets.items() if most is not None]

    def solve(self, budgets):
        limits = self._limits(budgets)
        started = time.perf_counter()
        best = self._milp(self.loss, limits)
        if best is None:
            least = {name: self.least(name, {}) for name in budgets}
            raise Infeasible("no choice stays within "
                             + ", ".join(f"{name} {most}" for name, most in budgets.items()
                                         if most is not None)
                             + "; alone, the least are "
                             + ", ".join(f"{name} {value}" for name, value in least.items()))
        # Among the best, the least memory; then the least LUTs.
        loss = best @ self.loss
        same = LinearConstraint(self.loss, -np.inf, loss + 1e-9 * max(1, abs(loss)))
        scale = 1 + self.totals["lut4"].max()
        smaller = self._milp(self.totals["memory_bits"] + self.totals["lut4"] / scale,
                             [*limits, same])
        best = best if smaller is None else smaller
        seconds = time.perf_counter() - started
        widths = {layer: self.widths[place] for (_, layer, place), used in
                  zip(self.parts, best[len(self.arrays):], strict=True) if used > 0.5}
        (number,) = np.flatnonzero(best[:len(self.arrays)] > 0.5)
        total = {name: round(best @ self.totals[name]) for name in BUDGETS}
        return Choice(self.engines[self.arrays[number][0]],
                      tuple(widths[layer] for layer in sorted(widths)), float(best @ self.loss),
                      **total, seconds=seconds)

    def _milp(self, objective, limits):
        found = milp(objective, integrality=np.ones(self.count), bounds=Bounds(0, 1),
                     constraints=[*self.rules, *limits], options={"mip_rel_gap": 0})
        return None if found.x is None else np.round(found.x)
