# SPDX-License-Identifier: Apache-2.0
import re

import pytest

from carrysave.hw.pe import lut_mac as hw_lut_mac
from carrysave.hw.pe.lut_mac import LUTMAC
from carrysave.quant.formats import Int

from ..units import cells
from .elements import proved, simulate, vectors

UINT1, UINT3 = Int(1, signed=False), Int(3, signed=False)
UNITS = {
    "unsigned": {"group": 4, "lanes": 7, "columns": 2, "activation": Int(4, signed=False),
                 "weight": UINT3},
    "one bit, one lane": {"group": 1, "lanes": 1, "columns": 1, "weight": UINT1, "registers": 0},
    "int8": {"group": 3, "lanes": 8, "columns": 1, "activation": Int(6), "weight": Int(8),
             "registers": 3},
    "narrow": {"group": 5, "lanes": 5, "columns": 3, "activation": Int(4, narrow=True),
               "weight": Int(3, narrow=True), "registers": 2},
}


@pytest.mark.parametrize("name", UNITS)
def test_vectors(name, compared):
    compared(vectors(LUTMAC(**UNITS[name]), terms=4000))


@pytest.mark.parametrize("registers", range(4))
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_registers(registers, stall, compared):
    unit = LUTMAC(4, lanes=6, columns=2, registers=registers)
    assert unit.latency == registers
    compared(simulate(unit, 30, stall=stall))


def test_no_multiplier_and_one_table_for_all_columns(compared):
    one, four = (cells(LUTMAC(4, lanes=8, columns=columns)) for columns in (1, 4))
    assert "$mul" not in four
    # Per column 3 adders for each of 2 groups, 2 for the tree, 1 that accumulates.
    assert four["$add"] - one["$add"] <= 3 * (2 * 3 + 2 + 1)
    compared(four.total())


@pytest.mark.parametrize("kwargs", [
    {"activation": Int(5), "weight": Int(5)},
    {"activation": Int(3, signed=False), "weight": UINT1},
])
def test_proofs(kwargs, compared):
    compared(proved(LUTMAC(**kwargs)))


@pytest.mark.parametrize("name, wrong", [
    ("table", lambda table: lambda a: [table(a)[0], *table(a)[:7]]),
    ("planes", lambda planes: lambda w: [*planes(w)[:-1], [~bit for bit in planes(w)[-1]]]),
    ("look_up", lambda find: lambda *args: (find(*args)[0], find(*args)[1] & 0)),
])
def test_a_wrong_step_is_found(name, wrong, monkeypatch):
    monkeypatch.setattr(hw_lut_mac, name, wrong(getattr(hw_lut_mac, name)))
    with pytest.raises(AssertionError, match=r"^\d+ of \d+ differ; output \d+: "):
        simulate(LUTMAC(4, lanes=4, columns=1), 20)


@pytest.mark.parametrize("kwargs, error, message", [
    ({"lanes": 0}, TypeError, "Lanes must be a positive integer, not 0"),
    ({"columns": 1.0}, TypeError, "Columns must be a positive integer, not 1.0"),
    ({"activation": 8}, TypeError, "Activation must be an Int, not 8"),
    ({"registers": 4}, ValueError, "Registers must be 0 to 3, not 4"),
])
def test_parameters_wrong(kwargs, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        LUTMAC(**kwargs)
