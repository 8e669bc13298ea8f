# SPDX-License-Identifier: Apache-2.0
import brevitas.nn as qnn
import pytest
import torch
from torch import nn

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
