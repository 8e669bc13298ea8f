# SPDX-License-Identifier: Apache-2.0
import re

import pytest
from amaranth.hdl import Module, Signal, unsigned
from amaranth.sim import Simulator

from carrysave.hw.pe import bitserial_mac as hw_bitserial_mac
from carrysave.hw.pe.bitserial_mac import BitSerialMAC, popcount
from carrysave.quant.formats import Int

from ..units import cells
from .elements import proved, simulate, vectors

UNITS = {
    "uint1 x uint1": {"group": 3, "lanes": 19, "activation": Int(1, signed=False),
                      "weight": Int(1, signed=False)},
    "int3 x uint5": {"group": 5, "lanes": 3, "activation": Int(5, signed=False), "weight": Int(3)},
    "uint2 x int7": {"group": 1, "lanes": 1, "activation": Int(7),
                     "weight": Int(2, signed=False), "registers": 0},
    "narrow": {"group": 4, "lanes": 5, "activation": Int(4, narrow=True),
               "weight": Int(2, narrow=True), "registers": 2},
}


@pytest.mark.parametrize("name", UNITS)
def test_vectors(name, compared):
    compared(vectors(BitSerialMAC(**UNITS[name])))


@pytest.mark.parametrize("registers", range(4))
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_registers(registers, stall, compared):
    unit = BitSerialMAC(4, lanes=3, registers=registers)
    assert unit.latency == registers
    compared(simulate(unit, stall=stall))


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 8, 11])
def test_count(width, compared):
    m, bits, count = Module(), Signal(width), Signal(8)
    value = popcount(list(bits))
    assert value.shape() == unsigned(value.shape().width)
    m.d.comb += count.eq(value)

    async def bench(ctx):
        for number in range(1 << width):
            ctx.set(bits, number)
            assert ctx.get(count) == number.bit_count()

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()
    compared(1 << width)


def test_no_multiplier(compared):
    found = cells(BitSerialMAC(4, lanes=5))
    assert "$mul" not in found
    assert found["$and"] >= 5 * 2 * 8
    compared(found.total())


@pytest.mark.parametrize("activation, weight", [
    (Int(8), Int(4)), (Int(4, signed=False), Int(6)), (Int(5, signed=False), Int(3, signed=False)),
])
def test_proofs(activation, weight, compared):
    compared(proved(BitSerialMAC(activation=activation, weight=weight)))


@pytest.mark.parametrize("wrong", [
    lambda terms: terms[:-1],  # without the constant
    lambda terms: [terms[0] << 1, *terms[1:]],
])
def test_wrong_planes_are_found(wrong, monkeypatch):
    sums = hw_bitserial_mac.plane_sums
    monkeypatch.setattr(hw_bitserial_mac, "plane_sums", lambda *args: wrong(sums(*args)))
    with pytest.raises(AssertionError, match=r"^\d+ of \d+ differ; output \d+: "):
        simulate(BitSerialMAC(4, lanes=2))


@pytest.mark.parametrize("kwargs, error, message", [
    ({"lanes": 0}, TypeError, "Lanes must be a positive integer, not 0"),
    ({"group": None}, TypeError, "Group must be a positive integer, not None"),
    ({"activation": 8}, TypeError, "Activation must be an Int, not 8"),
    ({"weight": 2}, TypeError, "Weight must be an Int, not 2"),
    ({"registers": -1}, ValueError, "Registers must be 0 to 3, not -1"),
])
def test_parameters_wrong(kwargs, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        BitSerialMAC(**kwargs)
