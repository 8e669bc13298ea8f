# SPDX-License-Identifier: Apache-2.0
import pytest

from carrysave.hw.pe.mixpe import MixPE
from carrysave.sim import mutate as sim_mutate
from carrysave.sim import units
from carrysave.sim.batch import BatchSimulator, SimulationError
from carrysave.sim.equivalent import equivalent
from carrysave.sim.mutate import SELECT, make, mutate
from carrysave.sim.verilog import from_component

GROUPED = {"latency": 2, "grouped": True}


def test_a_unit_s_vectors_catch_its_mutants(compared):
    report = units.mutation(MixPE(4, lanes=2))
    assert report.mutants == 200 and report.score >= 0.98
    assert report.caught + report.equivalent + len(report.survivors) == 200
    compared(report.mutants)


def test_poor_vectors_let_mutants_live(compared):
    unit = MixPE(4, lanes=1)

    def check(simulator, constants):
        run = simulator.run([{"activations": [0], "weights": [0], "clear": 0, "last": 1}] * 3,
                            outputs=3, constants=constants, max_cycles=10)
        return any(run.outputs.tolist())

    report = mutate(from_component(unit), [check], count=20, **GROUPED)
    assert report.score < 0.7 and len(report.survivors) > 5
    assert all(survivor.startswith("mode ") for survivor in report.survivors)
    compared(report.mutants)


def test_a_unit_that_is_wrong_already():
    with pytest.raises(ValueError, match="^top is wrong without any mutant$"):
        mutate(from_component(MixPE(4)), [lambda simulator, constants: True], count=5,
               **GROUPED)


def test_no_mutant_is_both_noticed_and_proved_equivalent(compared):
    unit = MixPE(2)
    mutants = make(from_component(unit), count=12)
    simulator = BatchSimulator(mutants.design)
    stimulus = units.stimuli(unit, 2000)[0]
    expected = units.pack_outputs(unit, stimulus.inputs)

    def wrong(number):
        try:
            run = simulator.run(stimulus.inputs, outputs=len(expected),
                                max_cycles=2 * len(stimulus), constants={SELECT: number})
        except SimulationError:
            return True
        return units.compare(unit.o.p.shape(), expected, run.outputs)[0] > 0

    found = [(wrong(number), equivalent(mutants.design, SELECT, number, **GROUPED))
             for number in range(1, 13)]
    assert (True, False) in found and (True, True) not in found
    compared(12)


def test_the_design_itself_is_equivalent(compared):
    assert equivalent(make(from_component(MixPE(2)), count=5).design, SELECT, 0, **GROUPED)
    compared(1)


def test_seeds_choose_other_mutants(compared):
    design = from_component(MixPE(2))
    first, again, other = (make(design, count=30, seed=seed) for seed in (1, 1, 2))
    assert first == again and first.faults != other.faults
    assert sim_mutate.SELECT in {port.name for port in first.design.ports}
    compared(30)
