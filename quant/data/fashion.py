# SPDX-License-Identifier: Apache-2.0
"""Fashion-MNIST: pictures of clothes."""

import gzip
import zlib

import numpy as np

from .errors import DataError
from .packages import Package, fetch

__all__ = ["LABELS", "PACKAGE", "fashion", "read_idx"]

PACKAGE = Package(
    "debian", "dataset-fashion-mnist", None, "usr/share/datasets/fashion-mnist/*.gz",
    "f6e3961e62c940a92bccb34c8dd4eef53f625fc0bef89b7271a4fda0ed79ce47",
)
LABELS = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker",
          "Bag", "Ankle boot"]


def read_idx(path):
    """Bytes of a gzipped IDX file: uint8 array, of the shape that the file says [1]_.

    .. [1] LeCun, Cortes, Burges, The MNIST database: the IDX file format.
    """
    try:
        with gzip.open(path) as file:
            content = file.read()
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path} is not a gzipped IDX file: {error}") from None
    zeros, kind, axes = content[:2], content[2:3], int.from_bytes(content[3:4])
    start = 4 + 4 * axes
    shape = tuple(np.frombuffer(content[4:start].ljust(4 * axes, b"\0"), ">u4").tolist())
    if (zeros, kind) != (b"\0\0", b"\x08") or len(content) - start != np.prod(shape, dtype=int):
        raise DataError(f"{path} is not an IDX file of bytes")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def fashion(*, root=None, system="/"):
    """60 000 pictures to train with and 10 000 held out, 28 by 28 bytes, of 10 classes [1]_.

    Parameters
    ----------
    root, system : path
        As `fetch` has them.

    Returns
    -------
    x : uint8 array, shape (70000, 28, 28)
    y : uint8 array, shape (70000,)
        Indices of labels.
    labels : list of str
    held_out : bool array, shape (70000,)

    .. [1] Xiao, Rasul, Vollgraf, Fashion-MNIST: a novel image dataset for benchmarking machine
       learning algorithms. arXiv:1708.07747 (2017).
    """
    folder = fetch(PACKAGE, root=root, system=system)
    x, y = (
        [read_idx(folder / f"{part}-{kind}-ubyte.gz") for part in ("train", "t10k")]
        for kind in ("images-idx3", "labels-idx1")
    )
    held_out = np.repeat([False, True], [len(part) for part in y])
    return np.concatenate(x), np.concatenate(y), LABELS, held_out
