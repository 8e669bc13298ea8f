# SPDX-License-Identifier: Apache-2.0
import random
from fractions import Fraction
from math import inf, log, nan

import numpy as np
import pytest
import torch

from carrysave.quant.formats import OVERFLOWS, ROUNDINGS, Fixed
from carrysave.quant.golden.khot import khot
from carrysave.quant.train.fixed_point import FixedPoint

MODES = [
    (rounding, overflow, signed)
    for rounding in ROUNDINGS.values() for overflow in OVERFLOWS for signed in (True, False)
    if signed or overflow != "WRAP_SM"
]
LN2 = log(2)


def samples(fmt, count, kind, seed=0):
    """Values inside and outside a format, ties and limits among them."""
    generator = torch.Generator().manual_seed(seed)
    size = 2.0 ** (fmt.width + fmt.lsb)
    x = (torch.rand(count, generator=generator, dtype=torch.float64) - 0.5) * 3 * size
    ties = torch.arange(-20, 21) * 2.0 ** (fmt.lsb - 1)
    limits = torch.tensor([low + d for low in (fmt.min, fmt.max, -fmt.max, size, -size)
                           for d in (-(2.0**fmt.lsb), -(2.0 ** (fmt.lsb - 1)), 0,
                                     2.0 ** (fmt.lsb - 1))], dtype=torch.float64)
    return torch.cat([x, ties.double(), limits]).to(kind)


# Forward.


@pytest.mark.parametrize("rounding, overflow, signed", MODES)
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_forward_is_the_codec(rounding, overflow, signed, kind, fixed_reference, compared):
    rng = random.Random(f"{rounding} {overflow} {signed}")
    for width in 1, 2, 4, 6, 8, 13, 24:
        f = rng.uniform(-9, 14)
        module = FixedPoint(width, signed=signed, rounding=rounding, overflow=overflow, fraction=f)
        fmt = Fixed(width, width - round(f), signed, rounding, overflow)
        assert module.format == fmt
        x = samples(fmt, 300, kind)
        y = module.to(kind)(x)
        assert y.dtype == kind
        assert np.array_equal(y.detach().double().numpy(), fmt.values(fmt.encode(x.numpy())))
        exact = [fixed_reference(Fraction(value), fmt) for value in x.tolist()]
        assert module.integers(x).tolist() == exact
        assert y.tolist() == [float(n * Fraction(2) ** fmt.lsb) for n in exact]
        compared(len(x))


@pytest.mark.parametrize("width", [25, 40, 53])
def test_wide_forward_in_float64(width, compared):
    module = FixedPoint(width, fraction=20).double()
    x = samples(module.format, 500, torch.float64)
    fmt = module.format
    assert np.array_equal(module(x).detach().numpy(), fmt.values(fmt.encode(x.numpy())))
    compared(len(x))


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("signed", [True, False])
def test_forward_with_few_ones(k, signed, compared):
    module = FixedPoint(7, signed=signed, khot=k, fraction=4)
    fmt = module.format
    x = samples(fmt, 500, torch.float32)
    integers = torch.from_numpy(fmt.decode(fmt.encode(x.numpy())))
    expected = khot(integers, k, limit=fmt.limits[1])
    assert torch.equal(module.integers(x), expected)
    assert torch.equal(module(x), (expected / 16).float())
    assert {abs(n).bit_count() for n in expected.tolist()} == set(range(k + 1))
    assert np.array_equal(fmt.decode(fmt.encode(module(x).detach().numpy())), expected)
    compared(len(x))


@pytest.mark.parametrize("f, rounded", [
    (2.3, 2), (2.5, 2), (3.5, 4), (-1.7, -2), (-0.5, 0), (0, 0), (100, 100), (-100, -100),
])
def test_binary_point_is_rounded(f, rounded):
    assert FixedPoint(6, fraction=f).format == Fixed(6, 6 - rounded, True, "half_even", "SAT")


def test_kept_as_it_is():
    """By ``.double()``, by a state dictionary, by evaluation."""
    module = FixedPoint(6)
    module(torch.tensor([0.7, -0.2]))
    again = FixedPoint(6)
    again.load_state_dict(module.state_dict())
    before = module.format
    assert again(torch.tensor([100.0])) == before.max and again.format == before
    assert module.double().eval().format == before
    assert repr(module) == f"FixedPoint({before.name})" and repr(FixedPoint(6)) == "FixedPoint(6)"


# Gradients.


@pytest.mark.parametrize("rounding, overflow, signed", MODES)
def test_gradients(rounding, overflow, signed, compared):
    module = FixedPoint(
        4, signed=signed, rounding=rounding, overflow=overflow, fraction=2.25
    ).double()
    fmt = module.format
    low = -fmt.max if signed and overflow == "SAT_SYM" else fmt.min
    for value in samples(fmt, 60, torch.float64).tolist():
        x = torch.tensor([value], dtype=torch.float64, requires_grad=True)
        y = module(x)
        found = [grad.item() for grad in torch.autograd.grad(3 * y, [x, module.f])]
        if low <= value <= fmt.max:
            assert found == [3, 3 * ((value - y.item()) * LN2)]
        else:
            assert found == [0, 3 * (-(fmt.max if value > fmt.max else low) * LN2)]
        compared(2)


def test_gradient_of_the_binary_point_is_that_of_the_steps(compared):
    """Of ``n * 2 ** -f`` where saturated, of ``(n - x * 2 ** f) * 2 ** -f`` between the steps."""
    module = FixedPoint(4, fraction=2).double()
    f = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    for value in 5.0, -5.0, 0.3, -0.7, 1.1, 0.25:
        (found,) = torch.autograd.grad(module(torch.tensor(value, dtype=torch.float64)), [module.f])
        n = module.integers(torch.tensor(value)).item()
        inside = abs(value) < 1.75
        step = torch.exp2(-f)
        surrogate = (n - value / step.detach() * inside) * step
        (expected,) = torch.autograd.grad(surrogate, [f])
        assert found == expected
        compared(1)


def test_gradients_add_up(compared):
    module = FixedPoint(4, fraction=2).double()
    x = samples(module.format, 100, torch.float64).reshape(-1, 1).requires_grad_()
    passed, total = torch.autograd.grad(module(x).sum(), [x, module.f])
    slopes = torch.cat([torch.stack(torch.autograd.grad(module(value), [module.f]))
                        for value in x.detach().ravel()])
    assert total == slopes.sum()
    assert set(passed.ravel().tolist()) == {0.0, 1.0}
    compared(len(slopes))


@pytest.mark.parametrize("x, y, grad, slope", [
    (3.0, 2, 1, 1), (7.0, 4, 1, 3), (7.5, 4, 0, -7), (-7.0, -4, 1, -3), (-8.0, -4, 0, 7),
])
def test_gradient_with_few_ones(x, y, grad, slope, compared):
    """As of a rounding; the range is symmetric."""
    module = FixedPoint(4, khot=1, fraction=0).double()
    x = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    found = module(x)
    grads = [grad.item() for grad in torch.autograd.grad(found, [x, module.f])]
    assert (found.item(), grads) == (y, [grad, slope * LN2])
    compared(3)


# The binary point.


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("width", [2, 3, 4, 6, 8, 12])
def test_start_has_the_least_error(width, signed, compared):
    generator = torch.Generator().manual_seed(width)
    for scale in 1e-3, 0.3, 1.0, 1e4:
        x = torch.randn(500, generator=generator, dtype=torch.float64) * scale
        x = x if signed else x.abs()
        module = FixedPoint(width, signed=signed).double()
        module(x)
        errors = {}
        for f in range(-30, 40):
            fmt = Fixed(width, width - f, signed, "half_even", "SAT")
            errors[f] = np.square(fmt.values(fmt.encode(x.numpy())) - x.numpy()).sum()
        assert round(module.f.item()) == min(errors, key=errors.__getitem__)
        compared(len(errors))


def test_start_follows_the_first_batch_only():
    module = FixedPoint(6)
    module(torch.ones(5) * 3.9)
    before = module.format
    assert before.max == 3.875
    module(torch.ones(5) * 1000)
    assert module.format == before


def test_start_of_nothing():
    for x in torch.zeros(3), torch.zeros(0):
        module = FixedPoint(6)
        assert torch.equal(module(x), x)


@pytest.mark.parametrize("start", [9, -3, 3])
def test_binary_point_is_learned(start, compared):
    """From far too fine and far too coarse to where the error is least, and about there."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1000, generator=generator, dtype=torch.float64)
    best = FixedPoint(6).double()
    best(x)
    module, steps = FixedPoint(6, fraction=start).double(), []
    optimiser = torch.optim.Adam(module.parameters(), 0.1, betas=(0.9, 0.95))
    for _ in range(400):
        optimiser.zero_grad()
        error = (module(x) - x).square().mean()
        error.backward()
        steps.append((module.format, error.item()))
        optimiser.step()
    formats = [fmt for fmt, _ in steps[-100:]]
    assert formats.count(best.format) > 80
    assert start == 3 or steps[-1][1] < steps[0][1] / 100
    compared(len(steps))


# Errors.


@pytest.mark.parametrize("options, error, text", [
    ({"width": 0}, ValueError, "Width must be 1 to 53, not 0"),
    ({"width": 6.0}, TypeError, "Width must be an integer, not 6.0"),
    ({"width": 6, "signed": None}, TypeError, "Signed must be True or False, not None"),
    ({"width": 6, "overflow": "CLIP"}, ValueError,
     "Overflow must be one of WRAP, SAT, SAT_ZERO, SAT_SYM, WRAP_SM, not 'CLIP'"),
    ({"width": 6, "khot": 0}, ValueError, "Khot must be 1 to 62, not 0"),
    ({"width": 6, "khot": "2"}, TypeError, "Khot must be an integer, not '2'"),
    ({"width": 6, "fraction": inf}, ValueError, "Fraction must be a number, not inf"),
])
def test_options_refused(options, error, text):
    with pytest.raises(error) as caught:
        FixedPoint(**options)
    assert str(caught.value) == text


def test_no_format_before_data():
    with pytest.raises(ValueError) as caught:
        _ = FixedPoint(6).format
    assert str(caught.value) == "Binary point must be set first: call the module on data"


def test_diverged():
    module = FixedPoint(6, fraction=3)
    with pytest.raises(ValueError, match="^Values must be numbers: q6.3 has no NaN or Inf$"):
        module(torch.tensor([nan]))
    with torch.no_grad():
        module.f.fill_(nan)
    with pytest.raises(ValueError) as caught:
        module(torch.ones(1))
    assert str(caught.value) == "Binary point must be a number, not nan: did the training diverge?"
