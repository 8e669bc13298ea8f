# SPDX-License-Identifier: Apache-2.0
import torch

from carrysave.quant.golden.planes import planes


def test_planes_make_up_the_value(compared):
    for bits in range(1, 9):
        for signed in True, False:
            values = torch.arange(1 << bits) - (1 << (bits - 1) if signed else 0)
            found, weights = planes(values, bits=bits, signed=signed)
            assert set(found.unique().tolist()) <= {0, 1}
            assert sum(w * p for w, p in zip(weights, found, strict=True)).tolist() == (
                values.tolist())
            compared(len(values))
