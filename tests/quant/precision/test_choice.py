# SPDX-License-Identifier: Apache-2.0
"""The solver against every choice there is."""

import itertools

import numpy as np
import pytest

from carrysave.quant.precision.choice import BUDGETS, Engine, Infeasible, choose, front

WIDTHS = (2, 3, 5, 8)


def problem(seed, *, layers=4):
    rng = np.random.default_rng(seed)
    costs = np.sort(rng.integers(0, 50, (layers, len(WIDTHS))) / 16, axis=1)[:, ::-1]
    engines = [
        Engine(name, {bits: int(rng.integers(100, 300)) * bits for bits in WIDTHS},
               int(rng.integers(1000, 9000)), int(rng.integers(1000, 9000)),
               tuple(int(n) for n in rng.integers(100, 2000, layers)))
        for name in ("small", "large")
    ]
    return costs, engines


def every(costs, engines):
    """Loss, memory, LUTs, cycles, widths and engine of every choice."""
    for engine in engines:
        for widths in itertools.product(WIDTHS, repeat=len(costs)):
            loss = sum(cost[WIDTHS.index(bits)] for cost, bits in zip(costs, widths, strict=True))
            memory = engine.other_bits + sum(map(int.__mul__, engine.bits, widths))
            # The array may be wider than any layer needs, where that is cheaper.
            lut4 = min(count for bits, count in engine.lut4.items() if bits >= max(widths))
            yield loss, memory, lut4, engine.cycles, widths, engine.name


@pytest.mark.parametrize("seed", range(12))
def test_the_best_of_all(seed, compared):
    costs, engines = problem(seed)
    rng = np.random.default_rng(seed)
    choices = list(every(costs, engines))
    totals = {"memory_bits": 1, "lut4": 2, "cycles": 3}
    for _ in range(4):
        budgets = {name: int(np.quantile([each[at] for each in choices], rng.uniform(0.05, 0.9)))
                   if rng.integers(2) else None for name, at in totals.items()}
        within = [each for each in choices if all(
            most is None or each[totals[name]] <= most for name, most in budgets.items())]
        if not within:
            with pytest.raises(Infeasible, match="^no choice stays within "):
                choose(costs, engines, widths=WIDTHS, **budgets)
            continue
        loss, memory, lut4 = min(within)[:3]
        found = choose(costs, engines, widths=WIDTHS, **budgets)
        assert (found.loss, found.memory_bits, found.lut4) == (loss, memory, lut4)
        assert (loss, memory, found.lut4, found.cycles, found.widths, found.engine.name) in choices
        compared(len(within))


def test_a_front_is_not_beaten(compared):
    costs, engines = problem(99)
    found = front(costs, engines, widths=WIDTHS, points=9, lut4=1600)
    assert len(found) > 3
    memories = [choice.memory_bits for choice in found]
    assert memories == sorted(set(memories), reverse=True)
    losses = [choice.loss for choice in found]
    assert losses == sorted(losses)
    others = [each for each in every(costs, engines) if each[2] <= 1600]
    for choice in found:
        assert not any(loss < choice.loss and memory <= choice.memory_bits
                       for loss, memory, *_ in others)
    assert memories[-1] == min(memory for _, memory, *_ in others)
    compared(len(found) * len(others))


def test_nothing_fits():
    costs, engines = problem(3)
    least = {name: min(each[at] for each in every(costs, engines))
             for name, at in (("lut4", 2), ("cycles", 3), ("memory_bits", 1))}
    with pytest.raises(Infeasible) as caught:
        choose(costs, engines, widths=WIDTHS, lut4=3)
    assert str(caught.value) == "no choice stays within lut4 3; alone, the least are " + ", ".join(
        f"{name} {least[name]}" for name in BUDGETS)


def test_many_layers():
    costs, engines = problem(5, layers=50)
    found = choose(costs, engines, widths=WIDTHS, memory_bits=int(
        5 * sum(engines[0].bits)))
    assert len(found.widths) == 50 and 2 <= min(found.widths) < max(found.widths) <= 8
