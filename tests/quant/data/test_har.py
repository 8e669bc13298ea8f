# SPDX-License-Identifier: Apache-2.0
import gzip
from dataclasses import replace

import numpy as np
import pytest

from carrysave.quant.data import DataError, har, load
from carrysave.quant.data.har import LABELS, windows
from carrysave.quant.data.packages import digest


def by_hand(x, activity):
    """Windows sample by sample: one is full every 64 samples, from the 128th of an activity on."""
    found, labels, run = [], [], []
    for place in range(len(x)):
        if not run or activity[place] != activity[run[-1]]:
            run = []
        run.append(place)
        if len(run) >= 128 and len(run) % 64 == 0 and activity[place] in range(1, 7):
            found.append([x[at].tolist() for at in run[-128:]])
            labels.append(int(activity[place]) - 1)
    return found, labels


@pytest.mark.parametrize("lengths", [
    [(1, 128)], [(1, 127)], [(6, 191), (6, 1)], [(-1, 300), (2, 300), (7, 300), (3, 130)],
    [(5, 128), (4, 128), (5, 256), (12, 1000), (5, 129)], [(0, 500), (1, 640)],
])
def test_windows(lengths, compared):
    activity = np.concatenate([np.full(count, label) for label, count in lengths])
    x = np.random.default_rng(0).normal(size=(len(activity), 6))
    found, labels = windows(x, activity)
    expected = by_hand(x, activity)
    assert found.shape == (len(expected[0]), 128, 6)
    assert (found.tolist(), labels.tolist()) == expected
    compared(len(labels) + 1)


def test_whole(reachable, compared):
    """Against what is published of the people, and what physics says of the telephone."""
    data = reachable(load, "har")
    assert (data.x_train.shape, data.x_test.shape, data.shape) == (
        (7415, 768), (2996, 768), (128, 6)
    )
    assert data.labels == LABELS and data.classes == 6
    everything = np.concatenate([data.y_train, data.y_test])
    assert np.bincount(everything).tolist() == [1722, 1544, 1407, 1801, 1979, 1958]
    # Who stands has gravity along the first axis; who lies does not.
    pull = data.x_train.reshape(-1, 128, 6)[..., 0].mean(axis=1)
    assert (pull[data.y_train == LABELS.index("standing")] > 0.8).all()
    assert np.median(pull[data.y_train == LABELS.index("lying")]) < 0.4
    # 9 of the 30 people: the published features of one of the others fill 347 windows.
    _, _, _, held_out = har.har()
    changes = np.flatnonzero(np.diff(held_out))
    assert held_out.sum() == 2996 and changes[0] + 1 == 347
    compared(data.x_train.size + data.x_test.size)


def test_no_gzipped_pickle(tmp_path, monkeypatch):
    folder = tmp_path / "data" / har.PACKAGE.label
    folder.mkdir(parents=True)
    for content, text in (b"x", "is not a gzipped pickle: "), (gzip.compress(b"x"), "is damaged: "):
        (folder / "HAPT.pkl.gz").write_bytes(content)
        monkeypatch.setattr(har, "PACKAGE", replace(har.PACKAGE, sha256=digest(folder)))
        with pytest.raises(DataError, match=text):
            har.har(root=tmp_path)
