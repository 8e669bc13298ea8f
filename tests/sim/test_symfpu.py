# SPDX-License-Identifier: Apache-2.0
import operator
import re

import numpy as np
import pytest

from carrysave.quant.formats import Minifloat, get
from carrysave.sim import symfpu
from carrysave.sim.batch import BatchSimulator


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div"])
def test_codes_and_rounding_are_ours(name, compared):
    """Every pair of codes of a small format, against float64 and the format's own encoder."""
    fmt = Minifloat(3, 3, specials="ieee")
    a, b = (x.reshape(-1) for x in np.meshgrid(fmt.codes(), fmt.codes()))
    found = BatchSimulator(symfpu.design(name, fmt)).run({"a": a, "b": b}, outputs=len(a)).outputs
    operate = {"add": operator.add, "sub": operator.sub, "mul": operator.mul,
               "div": operator.truediv}[name]
    with np.errstate(all="ignore"):
        values = operate(fmt.values(a), fmt.values(b))
    expected = np.where(np.isnan(values), fmt.nan_code, fmt.encode(values, overflow="ieee"))
    assert (found == expected).all()
    compared(len(a))


@pytest.mark.parametrize("operation, fmt, message", [
    ("sqrt", get("fp32"), "Operation must be one of add, sub, mul, div, not 'sqrt'"),
    ("add", get("e5m2"), "Format must have at least 3 mantissa bits, not e5m2"),
    ("add", get("e4m3"), "Format must be an IEEE format, not e4m3"),
    ("add", Minifloat(3, 4, 4, "ieee"), "Format must be an IEEE format, not e3m4b4"),
])
def test_arguments_wrong(operation, fmt, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        symfpu.commands(operation, fmt)
