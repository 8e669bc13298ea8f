# SPDX-License-Identifier: Apache-2.0
import math
import warnings

import numpy as np
import pytest
import torch

from carrysave.quant import formats
from carrysave.quant.accuracy import perplexity as module
from carrysave.quant.accuracy import rounded
from carrysave.quant.accuracy.perplexity import Activations, hadamard, perplexity, smoothing, texts
from carrysave.quant.language import SmolLM2

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of a kernel for GPUs that is not there
    from brevitas.graph.equalize import activation_equalization_mode
    from brevitas.graph.hadamard import matmul_hadU

INT4 = formats.get("int4")


def matrices(k=128):
    """Activations with an outlier in one channel, weights of two matrices; float64."""
    torch.manual_seed(0)
    x = torch.randn(2, 5, k, dtype=torch.float64)
    x[..., 7] *= 50
    return x, torch.randn(12, k, dtype=torch.float64), torch.randn(9, k, dtype=torch.float64)


def test_hadamard_by_its_definition(compared):
    """``R[i, j] = (-1) ** popcount(i & j) / 8``, in powers of two, where sums are exact."""
    signs = [[(-1) ** (i & j).bit_count() for j in range(64)] for i in range(64)]
    found = hadamard(torch.eye(64, dtype=torch.float64) * 8)
    assert found.tolist() == signs
    two = hadamard(torch.eye(128, dtype=torch.float64) * 8)
    assert torch.equal(two, torch.block_diag(found, found))
    assert torch.equal(hadamard(found), torch.eye(64, dtype=torch.float64) * 8)
    compared(found.numel() + two.numel())


def test_hadamard_as_brevitas(compared):
    """Integers, times 8: no sum is rounded, and both divide by 8 at the end."""
    x = torch.randint(-50, 51, (3, 192)).double() * 8
    theirs = matmul_hadU(x.unflatten(-1, (-1, 64))).flatten(-2)
    assert torch.equal(hadamard(x), theirs)
    compared(x.numel())


@pytest.mark.parametrize("alpha", [0.5, 0.75])
def test_smoothing_as_brevitas(alpha, compared):
    """What it multiplies the weights by; float32, and 1 / s where we have s: to 3 last bits."""
    x, weights, _ = (each.float() for each in matrices(64))
    layer = torch.nn.Linear(64, 12, bias=False)
    layer.weight.data = weights.clone()
    model = torch.nn.Sequential(layer).eval()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        with activation_equalization_mode(model, alpha=alpha, layerwise=True, add_mul_node=True):
            model(x)
        theirs = model.get_parameter("0.layer.weight")
        factors = smoothing(x.flatten(0, 1).abs().amax(0), weights.abs().amax(0), alpha=alpha)
    ours = weights * factors
    steps = (ours.view(torch.int32) - theirs.view(torch.int32)).abs()
    assert int(steps.max()) <= 3
    compared(ours.numel())


def test_smoothing_of_what_is_never_there():
    found = smoothing(torch.tensor([0.0, 4, 16]), torch.tensor([1.0, 0, 4]))
    assert found.tolist() == [1, 1, 2]


@pytest.mark.parametrize("transform", module.TRANSFORMS)
def test_activations(transform, compared):
    """Rounded once for the matrices that share them, and nothing else changes."""
    x, first, second = matrices()
    smooth, turned, by = None, x, torch.ones(())
    if transform == "smooth":
        by = smoothing(x.flatten(0, 1).abs().amax(0), first.abs().amax(0))
        smooth, turned = {"blocks.2.qkv": by, "blocks.2.o": torch.ones_like(by)}, x / by
    elif transform == "hadamard64":
        turned = hadamard(x)
    linear = Activations(INT4, "row", transform=transform, smooth=smooth)
    left = torch.from_numpy(rounded(turned.flatten(0, 1).numpy(), INT4, "row")).reshape(x.shape)
    assert not torch.equal(left, turned)
    for part, weights in ("q", first), ("k", second):
        turned = hadamard(weights) if transform == "hadamard64" else weights * by
        found = linear(f"blocks.2.{part}", x, weights)
        assert torch.equal(found, left @ turned.T)
        compared(found.numel())
    # Another input, with factors of its own: here 1.
    other = hadamard(-3 * x) if transform == "hadamard64" else -3 * x
    left = torch.from_numpy(rounded(other.flatten(0, 1).numpy(), INT4, "row")).reshape(x.shape)
    turned = hadamard(first) if transform == "hadamard64" else first
    assert torch.equal(linear("blocks.2.o", -3 * x, first), left @ turned.T)


@pytest.mark.parametrize("transform", module.TRANSFORMS[1:])
def test_a_transform_alone_changes_nothing(transform, compared):
    """Small integers and powers of two: products are exact on either way."""
    x, weights = torch.randint(-8, 9, (2, 4, 128)).double(), torch.randint(-8, 9, (6, 128)).double()
    smooth = {"blocks.0.o": torch.exp2(torch.randint(-3, 4, (128,)).double())}
    linear = Activations(formats.get("fp32"), "none", transform=transform,
                         smooth=smooth if transform == "smooth" else None)
    assert torch.equal(linear("blocks.0.o", x, weights), x @ weights.T)
    compared(x.numel())


@pytest.mark.parametrize("given", [{"transform": "smooth"}, {"smooth": {}}])
def test_smooth_wrong(given):
    with pytest.raises(ValueError, match=r"^Smooth must be given with the transform smooth"):
        Activations(INT4, "row", **given)


def test_transform_wrong():
    with pytest.raises(ValueError, match=r"^Transform must be .*, not 'fourier'$"):
        Activations(INT4, "row", transform="fourier")


@pytest.fixture(scope="module")
def model(reachable):
    return reachable(SmolLM2)


def test_perplexity_of_few_tokens(model, compared):
    """Of fp32 the model's own; of fewer bits more, and rotation helps against outliers."""
    inputs = texts(model, 48)
    with torch.no_grad():
        own = model.perplexity(inputs)
    found = {
        (name, transform): perplexity(formats.get(name), scale, transform=transform, tokens=48)
        for name, scale, transform in (
            ("fp32", "none", "none"), ("int8", "row", "none"), ("int4", "row", "none"),
            ("int4", "row", "hadamard64"))
    }
    assert found["fp32", "none"] == own
    assert own != found["int8", "none"] < found["int4", "hadamard64"] < found["int4", "none"]
    assert all(math.isfinite(value) for value in found.values())
    compared(inputs.numel() * len(found))


def test_texts(model, compared):
    assert texts(model, 1024).shape == (2, 512) and texts(model, 7).shape == (1, 7)
    assert np.array_equal(texts(model, 1024).flatten()[:7], texts(model, 7)[0])
    compared(7)


@pytest.mark.parametrize("tokens", [-512, 0, 1, 513])
def test_tokens_wrong(model, tokens):
    with pytest.raises(ValueError, match=rf"^Tokens must be 2 to 512, or .*, not {tokens}$"):
        texts(model, tokens)


def test_more_tokens_than_the_text_has(model):
    with pytest.raises(ValueError, match=r"^Tokens must be at most \d+, those of the text, not "):
        texts(model, 512 * 1000)
