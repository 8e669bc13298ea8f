# SPDX-License-Identifier: Apache-2.0
import gzip

import numpy as np
import pytest

from carrysave.quant.data import DataError, load
from carrysave.quant.data.fashion import fashion, read_idx


def idx(shape, content, kind=8, axes=None):
    """An IDX file by its definition."""
    sizes = b"".join(size.to_bytes(4, "big") for size in shape)
    return bytes([0, 0, kind, len(shape) if axes is None else axes]) + sizes + bytes(content)


@pytest.mark.parametrize("shape", [(5,), (2, 3), (4, 3, 2), (1, 1, 1, 300), (0, 7), ()])
def test_idx(tmp_path, shape, compared):
    expected = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    (tmp_path / "x.gz").write_bytes(gzip.compress(idx(shape, expected.tobytes())))
    found = read_idx(tmp_path / "x.gz")
    assert found.shape == shape and found.tolist() == expected.tolist()
    compared(found.size + 1)


@pytest.mark.parametrize("content", [
    b"", b"\0\0", idx((5,), range(4)), idx((5,), range(6)), idx((5,), range(5), kind=13),
    idx((5,), range(5), axes=9), b"\1" + idx((5,), range(5))[1:], idx((2**32 - 1,) * 3, range(9)),
])
def test_no_idx(tmp_path, content):
    (tmp_path / "x.gz").write_bytes(gzip.compress(content))
    with pytest.raises(DataError, match="x.gz is not an IDX file of bytes$"):
        read_idx(tmp_path / "x.gz")


@pytest.mark.parametrize("damage", [lambda c: c[:-9], lambda c: b"x" + c, lambda c: c[:5],
                                    lambda c: c[:15] + bytes([c[15] ^ 255]) + c[16:]])
def test_no_gzip(tmp_path, damage):
    (tmp_path / "x.gz").write_bytes(damage(gzip.compress(idx((50,), range(50)))))
    with pytest.raises(DataError, match="x.gz is not a gzipped IDX file: "):
        read_idx(tmp_path / "x.gz")


def test_whole(reachable, compared):
    """Against what is published: sizes, classes, mean and deviation of the pixels."""
    data = reachable(load, "fashion", test_fraction=0.5, seed=3)
    assert (data.x_train.shape, data.x_test.shape, data.shape) == (
        (60000, 784), (10000, 784), (28, 28)
    )
    assert data.labels[0] == "T-shirt/top" and data.labels[9] == "Ankle boot"
    assert np.bincount(data.y_train).tolist() == [6000] * 10
    assert np.bincount(data.y_test).tolist() == [1000] * 10
    assert (round(data.x_train.mean() / 255, 4), round(data.x_train.std() / 255, 4)) == (
        0.2860, 0.3530
    )
    x, y, labels, held_out = fashion()
    assert (x[~held_out] == data.x_train.reshape(x[~held_out].shape)).all()
    assert y[held_out].tolist() == data.y_test.tolist() and labels == data.labels
    compared(x.size)
