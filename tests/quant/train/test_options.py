# SPDX-License-Identifier: Apache-2.0
from typing import Any

import brevitas.nn as qnn
import pytest
import torch

from carrysave.quant.formats import Codebook, Int, get, names
from carrysave.quant.train.quantisers import activation_quantiser, codes, weight_quantiser

INT4 = "Scale must be one of max, power_of_two, learned, not "
GROUP = (
    "Format must not be a group for activations: in int4g128 the scales of a sample would follow "
    "the other samples"
)


def refused(error, text, function, *args, **kwargs):
    with pytest.raises(error) as caught:
        function(*args, **kwargs)
    assert str(caught.value) == text


@pytest.mark.parametrize("quantiser", [weight_quantiser, activation_quantiser])
@pytest.mark.parametrize(
    "fmt, scale, error, text",
    [
        (4, None, TypeError, "Format must be a number format or its name, not 4"),
        (Int, None, TypeError, "Format must be a number format or its name, not "
         "<class 'carrysave.quant.formats.integer.Int'>"),
        ("int4", "maximum", ValueError, INT4 + "'maximum'"),
        ("int4", "learnt", ValueError, "Scale must be one of learned, max, power_of_two, "
         "not 'learnt'"),
        ("int4", "search", ValueError, INT4 + "'search'"),
        ("olive4", "find", ValueError, "Scale must be one of max, power_of_two, learned, search, "
         "not 'find'"),
        ("int4", [1.0], TypeError, "Scale must be a number or one of max, power_of_two, learned, "
         "not [1.0]"),
        ("int4", True, TypeError, "Scale must be a number or one of max, power_of_two, learned, "
         "not True"),
        ("int4", 0, ValueError, "Scale must be a positive number, not 0"),
        ("int4", -0.5, ValueError, "Scale must be a positive number, not -0.5"),
        ("int4", float("inf"), ValueError, "Scale must be a positive number, not inf"),
        ("int4", float("nan"), ValueError, "Scale must be a positive number, not nan"),
        ("mxfp4", "max", ValueError, "Scale must be None, not 'max': mxfp4 has scales of its own"),
        ("bfp8", 1.0, ValueError, "Scale must be None, not 1.0: bfp8 has scales of its own"),
        ("nvfp4", "learned", ValueError, "Scale must be one of max, not 'learned'"),
        ("nvfp4", 0.1, ValueError, "Scale must be an fp32 number for nvfp4, not 0.1"),
    ],
)
def test_wrong(quantiser, fmt, scale, error, text):
    refused(error, text, quantiser, fmt, scale=scale)


@pytest.mark.parametrize("quantiser", [weight_quantiser, activation_quantiser])
def test_unknown_name(quantiser):
    with pytest.raises(ValueError, match=r"^Format must be .*olive8, .*, not 'olive5'$") as one:
        quantiser("olive5")
    with pytest.raises(ValueError) as other:
        get("olive5")
    assert str(one.value) == str(other.value)


@pytest.mark.parametrize("name", ["uint4", "log2_4", "logsqrt2_4", "e8m0", "uq8.3"])
def test_weights_need_negative_values(name):
    text = f"Format must have negative values for weights; {name} has none"
    refused(ValueError, text, weight_quantiser, name)
    activation_quantiser(name)


def test_wrong_weights():
    refused(ValueError, "Per must be one of channel, tensor, not 'row'", weight_quantiser, "int4",
            per="row")
    for name in ("mxfp4", "nvfp4", "int4g128"):
        refused(ValueError, f"Per must be None, not 'channel': {name} has scales of its own",
                weight_quantiser, name, per="channel")
    refused(ValueError, "Scale must be None, not 'max': int4g128 has scales of its own",
            weight_quantiser, "int4g128", scale="max")
    negative = Codebook((-2.0, -1.0), "negative")
    refused(TypeError, "Scale must be a number for negative, not 'max'", weight_quantiser, negative,
            scale="max")
    layer: Any = qnn.QuantLinear(4, 2, weight_quant=weight_quantiser(negative))
    assert layer.weight_quant.scale().item() == 1 and bool((layer.quant_weight() == -1).all())


def test_wrong_activations():
    refused(ValueError, GROUP, activation_quantiser, "int4g128")
    refused(TypeError, "Axis must be an integer, not 1.5", activation_quantiser, "int4", axis=1.5)
    refused(ValueError, "Axis must be -8 to 7, not 9", activation_quantiser, "int4", axis=9)
    refused(ValueError, "Collect_stats_steps must be 1 to 2147483648, not 0",
            activation_quantiser, "int4", collect_stats_steps=0)


def test_wrong_override():
    """Options may be given to the layer as well, as elsewhere in Brevitas, and are checked."""
    layer: Any = qnn.QuantLinear(4, 2, weight_quant=weight_quantiser("int4"), weight_scale=0.5,
                            weight_fmt="e2m1")
    assert layer.weight_quant.scale() == 0.5
    assert layer.weight_quant.tensor_quant.fmt == get("e2m1")
    refused(ValueError, INT4 + "'maximum'", qnn.QuantLinear, 4, 2,
            weight_quant=weight_quantiser("int4"), weight_scale="maximum")
    refused(ValueError, GROUP, qnn.QuantIdentity, act_quant=activation_quantiser("int4"),
            fmt="int4g128")


def test_wrong_codes():
    layer: Any = qnn.QuantLinear(4, 2, weight_quant=weight_quantiser("int4"))
    activation = qnn.QuantReLU(act_quant=activation_quantiser("int4"))
    refused(TypeError, "x must be None for a layer: its weight is encoded", codes, layer,
            torch.ones(4))
    refused(TypeError, "x must be a tensor for an activation, not None", codes, activation)
    text = "Module must have a weight_quantiser or an activation_quantiser, not "
    for module in (torch.nn.Linear(4, 2), qnn.QuantLinear(4, 2, weight_quant=None),
                   qnn.QuantLinear(4, 2), qnn.QuantReLU(), qnn.QuantReLU(act_quant=None), "int4"):
        refused(TypeError, text + type(module).__name__, codes, module)


def test_defaults(compared):
    for name in names():
        fmt = get(name)
        for given in (name, fmt):
            if not name.startswith(("int4g", "uint4g")):
                activation: Any = qnn.QuantIdentity(act_quant=activation_quantiser(given))
                quantiser = activation.act_quant.fused_activation_quant_proxy.tensor_quant
                assert quantiser.fmt == fmt and quantiser.axis == -1
                scaling = quantiser.scaling
                if name.startswith("q") or name in ("fp16", "bf16", "fp32", "e8m0"):
                    assert activation.act_quant.scale() == 1
                elif name.startswith(("mx", "bfp")):
                    assert scaling is None and activation.act_quant.scale() is None
                else:
                    assert scaling.rule == "search" if name.startswith("olive") else "max"
                    assert scaling.collect_stats_steps == 30
                assert activation.act_quant.bit_width() == fmt.bits
                assert activation.act_quant.zero_point() == 0
                compared(1)
    layer: Any = qnn.QuantLinear(4, 2, weight_quant=weight_quantiser("int4"))
    assert layer.weight_quant.scale().shape == (2, 1)
    assert (layer.weight_quant.bit_width(), layer.weight_quant.zero_point()) == (4, 0)
    layer.weight_quant.disable_quant = True
    assert layer.weight_quant.scale() is None and torch.equal(layer.quant_weight(), layer.weight)
