# SPDX-License-Identifier: Apache-2.0
from itertools import product

import pytest
import torch

from carrysave.quant.golden.windows import positions, windows


def python_windows(x, *, kernel, stride, padding, fill):
    """The same by loops over every position, tap and channel."""
    size, channels = x.shape[1:-1], x.shape[-1]
    counts = [positions(n, kernel=k, stride=s, padding=p)
              for n, k, s, p in zip(size, kernel, stride, padding, strict=True)]
    result = []
    for sample in x:
        for place in product(*map(range, counts)):
            for tap in product(*map(range, kernel)):
                at = [p * s + t - before for p, s, t, (before, _)
                      in zip(place, stride, tap, padding, strict=True)]
                inside = all(0 <= i < n for i, n in zip(at, size, strict=True))
                result += sample[tuple(at)].tolist() if inside else [fill] * channels
    return result


CASES = [
    ((4, 3), (), (), ()),
    ((5, 9, 2), (3,), (1,), ((1, 1),)),
    ((2, 8, 1), (2,), (3,), ((0, 2),)),
    ((2, 5, 6, 3), (3, 2), (2, 1), ((1, 0), (0, 3))),
    ((2, 4, 4, 2), (4, 4), (1, 1), ((0, 0), (0, 0))),
    ((1, 3, 3, 1), (1, 1), (2, 2), ((2, 2), (2, 2))),
    ((1, 3, 4, 2, 2), (2, 2, 1), (1, 2, 1), ((0, 0), (1, 1), (0, 0))),
]


@pytest.mark.parametrize("shape, kernel, stride, padding", CASES)
@pytest.mark.parametrize("fill", [0, -7])
def test_windows(shape, kernel, stride, padding, fill, compared):
    x = torch.randint(-128, 128, shape, generator=torch.Generator().manual_seed(0))
    options = {"kernel": kernel, "stride": stride, "padding": padding, "fill": fill}
    found = windows(x, **options)
    assert found.ndim == len(kernel) + 3
    assert found.shape[-2:] == (int(torch.tensor(kernel).prod()), shape[-1])
    assert found.flatten().tolist() == python_windows(x, **options)
    compared(found.numel())


def test_no_window_fits():
    with pytest.raises(ValueError) as caught:
        windows(torch.zeros(1, 4, 1), kernel=(6,), stride=(1,), padding=((1, 0),))
    assert str(caught.value) == "Kernel must fit into the 5 elements of its axis, not 6"


def test_axes_wrong():
    with pytest.raises(ValueError) as caught:
        windows(torch.zeros(1, 4, 1), kernel=(2, 2), stride=(1,), padding=((0, 0),))
    assert str(caught.value) == (
        "X must have 4 axes (samples, 2 of positions, channels) with as many strides and paddings, "
        "not 3, 1 and 1"
    )
