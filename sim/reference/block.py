# SPDX-License-Identifier: Apache-2.0
"""The decoder of blocks against the operands of elements and scales."""

import numpy as np
from amaranth.hdl import unsigned

from ...hw.decode.block import block_scale
from ...hw.decode.operand import is_nan
from ..prove import Core
from .decoder import operands, scalar_cores, table

__all__ = ["cores", "expected"]


def _scale(fmt, codes):
    """Exponent and integer of scales, and which are NaN."""
    found = operands(fmt.scale, codes)
    integer = np.where(found["sign"], -found["integer"], found["integer"])
    return found["exponent"] + fmt.scale.lsb + fmt.element.lsb, integer, found["nan"]


def expected(unit, inputs):
    exponent, integer, nan = _scale(unit.fmt, inputs["scale"])
    return {"elements": operands(unit.fmt.element, inputs["codes"]),
            "scale": {"exponent": exponent, "integer": integer}, "nan": nan}


def cores(unit):
    fmt = unit.fmt
    yield from scalar_cores(fmt.element, "element")
    rows = dict(zip(("exponent", "integer", "nan"), _scale(fmt, fmt.scale.codes()), strict=True))
    yield Core(
        "scale", {"code": unsigned(fmt.scale.bits)},
        lambda code: {**block_scale(fmt, code)._asdict(), "nan": is_nan(fmt.scale, code)},
        lambda code: {key: table(row, code) for key, row in rows.items()},
        says="the scale that the format gives each code",
    )
