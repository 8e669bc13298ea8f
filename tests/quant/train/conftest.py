# SPDX-License-Identifier: Apache-2.0
import warnings

import brevitas.nn as qnn
import numpy as np
import pytest
import torch
from torch import nn

from carrysave.quant.formats import Log2
from carrysave.quant.train.quantisers import Int4GroupWeight, Int8Act


@pytest.fixture
def linear():
    """Call ``linear(inputs, outputs)`` for a layer with grouped weights."""

    def make(inputs, outputs, *, size=4, bias=True, **kwargs):
        return qnn.QuantLinear(
            inputs,
            outputs,
            bias=bias,
            weight_quant=Int4GroupWeight,
            weight_group_size=size,
            **kwargs,
        )

    return make


@pytest.fixture
def activation():
    """Call ``activation(kind)`` for an 8-bit activation of Brevitas."""

    def make(kind=qnn.QuantIdentity, act_quant=Int8Act):
        return kind(act_quant=act_quant)

    return make


@pytest.fixture
def calibrated():
    """Call ``calibrated(*modules)`` for a model whose activation scales have been initialised."""

    def make(*modules, features=6, deviation=1.0):
        model = nn.Sequential(*modules).train()
        with torch.no_grad():
            for _ in range(Int8Act.collect_stats_steps + 2):
                model(deviation * torch.randn(32, features))
        return model.eval()

    return make


@pytest.fixture(scope="session")
def calibration_mode():
    """Brevitas' calibration_mode, whose import warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from brevitas.graph.calibrate import calibration_mode
    return calibration_mode


def neighbours(fmt):
    """Neighbouring values of a scalar format, two arrays: all, or of more than 8 bits some."""
    rng = np.random.default_rng(0)
    if fmt.bits > 16:
        top = fmt.max_code
        some = np.r_[0:3, 1 << 23, (1 << 23) - 1, top - 2 : top, rng.integers(0, top, 200)]
        low, high = fmt.values(some.astype(np.uint32)), fmt.values((some + 1).astype(np.uint32))
        return np.r_[low, -high], np.r_[high, -low]
    values = fmt.values(fmt.codes())
    values = np.unique(values[np.isfinite(values)])
    low, high = values[:-1], values[1:]
    if fmt.bits > 8:
        middle, last = np.searchsorted(values, 0), len(low)
        some = np.r_[0:3, middle - 3 : middle + 3, last - 3 : last, rng.integers(0, last, 200)]
        low, high = low[some], high[some]
    return low, high


@pytest.fixture(scope="session")
def points():
    """Call ``points(fmt)`` for every value, midpoint and both float neighbours of each.

    Of formats of more than 8 bits there are some of each, and both ends. For powers of two the
    geometric mean is a midpoint too.
    """

    def make(fmt):
        low, high = neighbours(fmt)
        middles = [low / 2 + high / 2]
        if isinstance(fmt, Log2):
            middles.append(np.sqrt(low * high))
        middles = np.concatenate(middles)
        around = [np.nextafter(middles, side) for side in (-np.inf, np.inf)]
        return np.unique(np.concatenate([low, high, middles, *around]))

    return make


@pytest.fixture(scope="session")
def implied():
    """Call ``implied(fmt, values)`` for the codes of exact values, looked up without `encode`."""

    def look_up(fmt, values):
        values = np.asarray(values, np.float64)
        if fmt.bits > 16:  # fp32: its codes are the bit patterns
            assert (values.astype(np.float32) == values).all()
            return values.astype(np.float32).view(np.uint32)
        codes = {}
        for code, value in zip(fmt.codes().tolist(), fmt.values(fmt.codes()), strict=True):
            codes.setdefault(value.tobytes(), code)
        found = [codes[value.tobytes()] for value in values.ravel()]
        return np.array(found).reshape(values.shape)

    return look_up
