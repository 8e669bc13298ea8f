# SPDX-License-Identifier: Apache-2.0
from itertools import product

import pytest
import torch
from torch.nn import functional

from carrysave.quant.golden import conv as module
from carrysave.quant.golden.conv import conv


def draw(low, high, *shape, seed=0):
    return torch.randint(low, high, shape, generator=torch.Generator().manual_seed(seed))


def python_conv(x, weights, *, kernel, stride, padding, groups):
    """Loops over every product, in Python integers."""
    samples, *size, channels = x.shape
    counts = [(sum(p) + n - k) // s + 1
              for n, k, s, p in zip(size, kernel, stride, padding, strict=True)]
    outputs, part = len(weights), channels // groups
    result = []
    for n, place, o in product(range(samples), product(*map(range, counts)), range(outputs)):
        first, total = o // (outputs // groups) * part, 0
        for k, (tap, c) in enumerate(product(product(*map(range, kernel)), range(part))):
            at = [p * s + t - b for p, s, t, (b, _)
                  in zip(place, stride, tap, padding, strict=True)]
            if all(0 <= i < m for i, m in zip(at, size, strict=True)):
                total += int(x[(n, *at, first + c)]) * int(weights[o, k])
        result.append(total)
    return result


def torch_conv(x, weights, *, kernel, stride, padding, groups):
    """By torch in float64, channels first."""
    x = functional.pad(x.double().movedim(-1, 1), [n for p in reversed(padding) for n in p])
    w = weights.double().reshape(len(weights), *kernel, -1).movedim(-1, 1)
    run = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}[len(kernel)]
    return run(x, w, stride=stride, groups=groups).movedim(1, -1).long()


CASES = [
    ((2, 7, 3), 4, (3,), (1,), ((1, 1),), 1),
    ((2, 9, 4), 6, (2,), (3,), ((0, 1),), 2),
    ((2, 6, 5, 4), 6, (3, 2), (2, 1), ((1, 0), (0, 3)), 2),
    ((1, 5, 5, 6), 6, (3, 3), (1, 1), ((1, 1), (1, 1)), 6),
    ((1, 4, 4, 3), 6, (3, 3), (2, 2), ((1, 1), (1, 1)), 3),
    ((3, 3, 2, 5), 2, (1, 1), (1, 1), ((0, 0), (0, 0)), 1),
    ((1, 3, 4, 2, 2), 3, (2, 2, 2), (1, 2, 1), ((0, 0), (1, 1), (0, 0)), 1),
]


@pytest.mark.parametrize("shape, outputs, kernel, stride, padding, groups", CASES)
def test_small(shape, outputs, kernel, stride, padding, groups, compared):
    k = int(torch.tensor(kernel).prod()) * shape[-1] // groups
    x, w = draw(-128, 128, *shape), draw(-8, 8, outputs, k, seed=1)
    options = {"kernel": kernel, "stride": stride, "padding": padding, "groups": groups}
    found = conv(x.to(torch.int8), w.to(torch.int8), **options)
    assert found.dtype == torch.int64
    assert found.flatten().tolist() == python_conv(x, w, **options)
    assert torch.equal(found, torch_conv(x, w, **options))
    compared(found.numel())


@pytest.mark.parametrize("elements", [1, 10_000, 1 << 24])
def test_batches(monkeypatch, elements, compared):
    monkeypatch.setattr(module, "ELEMENTS", elements)
    x, w = draw(-128, 128, 50, 14, 14, 16), draw(-2040, 2041, 32, 144, seed=1)
    options = {"kernel": (3, 3), "stride": (2, 2), "padding": ((1, 1),) * 2, "groups": 1}
    found = conv(x, w, **options)
    assert torch.equal(found, torch_conv(x, w, **options))
    compared(found.numel())


def test_extremes(compared):
    """Sums that float32 does not hold."""
    x, w = torch.full((1, 5, 256), -128), torch.full((2, 5 * 256), -(1 << 22))
    w[1, 0] += 1
    found = conv(x, w, kernel=(5,), stride=(1,), padding=((2, 2),))
    taps = torch.tensor([3, 4, 5, 4, 3]) * 256 * 128 << 22
    assert found[0, :, 0].tolist() == taps.tolist()
    assert found[0, :, 1].tolist() == (taps - torch.tensor([0, 0, 128, 128, 128])).tolist()
    compared(found.numel())


def test_no_samples():
    found = conv(torch.zeros(0, 5, 2).long(), torch.zeros(3, 4).long(), kernel=(2,), stride=(1,),
                 padding=((0, 0),))
    assert found.shape == (0, 4, 3)


@pytest.mark.parametrize(
    "channels, outputs, k, groups, text",
    [
        (4, 6, 8, 4, "Groups must divide 4 input and 6 output channels, not 4"),
        (3, 6, 8, 2, "Groups must divide 3 input and 6 output channels, not 2"),
        (4, 6, 8, 0, "Groups must divide 4 input and 6 output channels, not 0"),
        (4, 6, 9, 1, "Weights must have a K of 2 taps times 4 channels, 8, not 9"),
        (4, 6, 8, 2, "Weights must have a K of 2 taps times 2 channels, 4, not 8"),
    ],
)
def test_shapes_wrong(channels, outputs, k, groups, text):
    with pytest.raises(ValueError) as caught:
        conv(torch.zeros(1, 5, channels).long(), torch.zeros(outputs, k).long(), kernel=(2,),
             stride=(1,), padding=((0, 0),), groups=groups)
    assert str(caught.value) == text


@pytest.mark.parametrize("name", ["Activations", "Weights"])
def test_floats_are_refused(name):
    x, w = torch.zeros(1, 5, 1).long(), torch.zeros(1, 2).long()
    x, w = (x.double(), w) if name == "Activations" else (x, w.double())
    with pytest.raises(TypeError, match=f"^{name} must be integers, not torch.float64$"):
        conv(x, w, kernel=(2,), stride=(1,), padding=((0, 0),))
