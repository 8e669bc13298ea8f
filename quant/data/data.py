# SPDX-License-Identifier: Apache-2.0
"""Loading, checking and splitting of labelled data."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .errors import DataError
from .fashion import fashion
from .har import har

__all__ = ["SOURCES", "Data", "load", "read_npz"]


@dataclass(frozen=True)
class Data:
    """Labelled vectors, split.

    Attributes
    ----------
    x_train, x_test : float64 arrays, shape (samples, features)
    y_train, y_test : int64 arrays, 0 to ``classes - 1``
    labels : list of str
        What each class is called in the source.
    shape : tuple of int
        Shape of one sample in the source, for pictures.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    labels: list
    shape: tuple

    @property
    def features(self):
        return self.x_train.shape[1]

    @property
    def classes(self):
        return len(self.labels)


def _digits():
    from sklearn.datasets import load_digits

    digits = load_digits()
    return digits.images, digits.target, None, None


# Samples, classes; then, where known, what classes 0 … are called and which samples are held out.
SOURCES = {"digits": _digits, "fashion": fashion, "har": har}


def read_npz(path, *, need, may=()):
    """Arrays of an ``.npz`` file by name; those in ``need`` must be there, those in ``may`` can.

    Raises
    ------
    DataError
        The file is missing, damaged, or holds something else than plain arrays.
    """
    try:
        content = io.BytesIO(Path(path).read_bytes())
        arrays = np.load(content, allow_pickle=False)
        if not isinstance(arrays, np.lib.npyio.NpzFile):
            raise DataError(f"{path} is a single array, not an .npz file of arrays")
        with arrays:
            missing = sorted(set(need) - set(arrays.files))
            if missing:
                raise DataError(
                    f"{path} must hold array{'s' if len(need) > 1 else ''} {' and '.join(need)}; "
                    f"it has {', '.join(arrays.files) or 'none'}"
                )
            found = {name: arrays[name] for name in (*need, *may) if name in arrays.files}
    except FileNotFoundError:
        raise DataError(f"{path} is not there") from None
    except DataError:
        raise
    # Damage shows in many ways: zipfile, zlib, tokenize and NumPy each raise their own errors.
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"{path} is not an .npz file of plain arrays: {reason}") from None
    for name, array in found.items():
        if not isinstance(array, np.ndarray):
            raise DataError(f"{path}: {name} must be an array, not {type(array).__name__}")
    return found


def load(source, *, test_fraction=0.2, seed=0):
    """Load and split: as the source is published, otherwise stratified by class.

    ``fashion`` and ``har`` have a split of their own, and are fetched once into the user's cache.

    Parameters
    ----------
    source : str or Path
        A name in `SOURCES`, or the path of an ``.npz`` file with ``x`` (samples, …) and ``y``.
    test_fraction : float
        Share held out, where the source has no split.
    seed : int
        Seed of the split, likewise.

    Returns
    -------
    Data
    """
    if str(source) in SOURCES:
        x, y, names, held_out = SOURCES[str(source)]()
    elif Path(source).suffix == ".npz":
        arrays = read_npz(source, need=("x", "y"))
        x, y, names, held_out = arrays["x"], arrays["y"], None, None
    else:
        raise DataError(
            f"source must be one of {', '.join(SOURCES)} or the path of an .npz file, "
            f"not {str(source)!r}"
        )
    if x.ndim < 2 or y.ndim != 1 or len(x) != len(y):
        raise DataError(
            f"{source}: x must be (samples, features…) and y (samples,), "
            f"not {x.shape} and {y.shape}"
        )
    if x.dtype.kind not in "biuf" or y.dtype.kind not in "biuUS":
        raise DataError(
            f"{source}: x must hold numbers and y integers or names, not {x.dtype} and {y.dtype}"
        )
    if not len(x) or not x[0].size:
        raise DataError(f"{source}: x must not be empty, but has shape {x.shape}")
    shape, x = x.shape[1:], x.reshape(len(x), -1).astype(np.float64)
    if not np.isfinite(x).all():
        count = int((~np.isfinite(x)).sum())
        raise DataError(f"{source}: x must be finite; {count} values are not")
    labels, y, counts = np.unique(y, return_inverse=True, return_counts=True)
    if len(labels) < 2:
        raise DataError(f"{source}: y must hold at least two classes, not {len(labels)}")
    if counts.min() < 2:
        raise DataError(
            f"{source}: each class needs at least two samples; {labels[counts.argmin()]} has one"
        )
    y = y.astype(np.int64)
    if held_out is None:
        train, test = _stratified(source, y, test_fraction=test_fraction, seed=seed)
    else:
        train, test = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    if names is None:
        names = [label.decode("utf-8", "replace") if isinstance(label, bytes) else str(label)
                 for label in labels.tolist()]
    return Data(x[train], y[train], x[test], y[test], names, shape)


def _stratified(source, y, *, test_fraction, seed):
    """Indices of the samples to train with, and of those held out."""
    from sklearn.model_selection import train_test_split

    try:
        return train_test_split(
            np.arange(len(y)), test_size=test_fraction, random_state=seed, stratify=y
        )
    except ValueError as error:
        raise DataError(f"{source}: {error}") from None
