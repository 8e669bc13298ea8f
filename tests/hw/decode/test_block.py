# SPDX-License-Identifier: Apache-2.0
import re

import numpy as np
import pytest

from carrysave.hw.decode import block as hw_block
from carrysave.hw.decode.block import BlockDecoder
from carrysave.quant import formats
from carrysave.quant.formats import Block, BlockCodes, Exponent, Int, Minifloat
from carrysave.sim.prove import prove
from carrysave.sim.reference import reference
from carrysave.sim.reference.block import expected
from carrysave.sim.units import run_vectors

MXFP4 = formats.get("mxfp4")
FORMATS = [
    *map(formats.get, ("mxfp4", "mxfp8_e4m3", "mxint8", "nvfp4", "nvint4", "bfp6")),
    Block(Minifloat(5, 2, specials="ieee"), Minifloat(3, 4, specials="ieee"), 7),
    Block(Int(5), Exponent(5), 3),
]
named = {"ids": lambda fmt: fmt.name}


@pytest.mark.parametrize("fmt", FORMATS[-2:], **named)
def test_every_code(fmt, compared):
    arrows = run_vectors(BlockDecoder(fmt, lanes=3, registers=1))
    assert [arrow.mismatches for arrow in arrows] == [0, 0]
    compared(sum(arrow.compared for arrow in arrows))


@pytest.mark.parametrize("fmt", FORMATS[-4:], **named)
def test_proved(fmt, compared):
    unit = BlockDecoder(fmt)
    assert [prove(core).status for core in reference(unit).cores(unit)] == ["proved"] * 2
    compared((1 << fmt.element.bits) + (1 << fmt.scale.bits))


@pytest.mark.parametrize("fmt", FORMATS, **named)
def test_values_are_those_of_the_format(fmt, compared):
    """What comes out is, put together, what `Block.values` says."""
    rng, size = np.random.default_rng(0), fmt.size
    codes = rng.integers(1 << fmt.element.bits, size=(200, size))
    scales = rng.integers(1 << fmt.scale.bits, size=200)
    found = expected(BlockDecoder(fmt), {"codes": codes, "scale": scales})
    elements, scale = found["elements"], found["scale"]
    integers = np.where(elements["sign"], -elements["integer"], elements["integer"])
    values = np.ldexp((integers << elements["exponent"]) * 1.0 * scale["integer"][:, None],
                      scale["exponent"][:, None])
    finite = np.isfinite(fmt.element.values(codes)) & np.isfinite(fmt.scale.values(scales))[:, None]
    wanted = fmt.values(BlockCodes(codes, scales[:, None], size))
    assert (values[finite] == wanted[finite]).all()
    assert (found["nan"] == np.isnan(fmt.scale.values(scales))).all()
    compared(int(finite.sum()))


def test_a_wrong_unit_of_the_scale_is_found(monkeypatch, compared):
    right = hw_block.block_scale
    monkeypatch.setattr(hw_block, "block_scale", lambda fmt, code: right(fmt, code)._replace(
        exponent=right(fmt, code).exponent + 1))
    arrows = run_vectors(BlockDecoder(MXFP4, lanes=2))
    assert all(arrow.mismatches == arrow.compared for arrow in arrows)
    compared(arrows[0].compared)


@pytest.mark.parametrize("kwargs, error, message", [
    ({"fmt": Int(4)}, TypeError, f"Format must be a Block, not {Int(4)!r}"),
    ({"fmt": MXFP4, "lanes": 0}, TypeError, "Lanes must be a positive integer, not 0"),
    ({"fmt": MXFP4, "lanes": 33}, ValueError, "Lanes must be at most 32, a block, not 33"),
    ({"fmt": MXFP4, "registers": 2}, ValueError, "Registers must be 0 to 1, not 2"),
])
def test_parameters_wrong(kwargs, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        BlockDecoder(**kwargs)
